"""One index over several kinds finds what comparing with every vector finds, whatever the weights and whatever an image lacks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diffusion_toolkit.db.filters import Filter
from diffusion_toolkit.db.hybrid.build import _least, _without_loss, build_hybrid
from diffusion_toolkit.db.hybrid.candidates import ready_hybrid, statement
from diffusion_toolkit.db.hybrid.check import GOOD_MEAN, GOOD_WORST, Check, mix_of
from host.hybrid_library import DIMS, asked, best_of, parts_of
from pgvector import HalfVector
from psycopg import sql


@pytest.mark.parametrize(
    "weights",
    [
        {"prompt": 0.4, "image": 0.3, "clip_g": 0.3},
        {"prompt": 1.0, "image": -0.3},
        {"prompt": 0.5, "image": 0.5, "clip_g": -0.5},
        {"image": -1.0, "clip_g": -1.0},
    ],
    ids=str,
)
def test_one_index_serves_any_weights(library, fill, weights):
    ids, vectors = fill(600)
    build_hybrid(library)
    parts = parts_of(weights)
    with library.connection() as conn:
        found = asked(conn, parts)
    assert len(found.ids) == ready_compared(library) < len(ids)
    assert set(best_of(ids, vectors, parts)) <= set(found.ids)
    assert found.method == f"hybrid index, {len(found.ids)} candidates compared exactly"


def ready_compared(library) -> int:
    with library.connection() as conn:
        return ready_hybrid(conn, 1)["compared"]


def test_images_that_lack_a_kind_are_found_by_the_others(library, fill):
    ids, vectors = fill(300)
    for seed, lacking in enumerate([("prompt",), ("image",), ("clip_g",)], 2):
        more, of_more = fill(100, seed, lacking)
        ids += more
        vectors = {kind: np.concatenate([vectors[kind], of_more[kind]]) for kind in vectors}
    build_hybrid(library)
    with library.connection() as conn:
        lengths = conn.execute("SELECT min(l2_norm(embedding)), max(l2_norm(embedding)) FROM hybrid_vectors").fetchone()
        assert lengths == pytest.approx((3**0.5, 3**0.5), rel=1e-3)
        for weights in ({"prompt": 1.0, "image": -0.5}, {"image": 1.0, "clip_g": 1.0, "prompt": -1.0}):
            parts = parts_of(weights)
            assert set(best_of(ids, vectors, parts)) <= set(asked(conn, parts).ids)


def test_what_having_a_kind_adds_counts_in_the_index(library, fill):
    fill(400)
    without, _ = fill(60, 2, ("image",))
    build_hybrid(library)
    parts = parts_of({"prompt": 1.0, "image": 1.0})
    with library.connection() as conn:
        assert set(without) <= set(asked(conn, parts, constants=[0.0, -50.0]).ids)
        assert not set(without) & set(asked(conn, parts, constants=[0.0, 50.0]).ids)


def test_projected_kinds_are_compared_by_what_is_left_of_them(library, fill):
    ids, vectors = fill(600)
    details = build_hybrid(library, dims=18)
    assert details["kept"] == (5, 5, 5)
    with library.connection() as conn:
        parts = parts_of({"prompt": 1.0, "image": 0.5, "clip_g": -0.5})
        found = asked(conn, parts)
        assert conn.execute("SELECT DISTINCT vector_dims(embedding) FROM hybrid_vectors").fetchall() == [(18,)]
    assert len(set(best_of(ids, vectors, parts)) & set(found.ids)) >= 16


def test_the_index_is_what_a_search_reads(library, fill):
    fill(2000)
    build_hybrid(library)
    with library.connection() as conn:
        ready, query = ready_hybrid(conn, 10), np.ones(27, np.float16)
        plan = conn.execute(
            sql.SQL("EXPLAIN {}").format(statement(ready["id"], 27)), {"query": HalfVector(query), "compared": 100, "tail": 10}
        ).fetchall()
    assert any("Index Scan using hybrid_vectors_hnsw" in line for (line,) in plan)


def test_more_are_compared_where_more_are_wanted(library, fill):
    fill(900)
    build_hybrid(library)
    with library.connection() as conn:
        assert len(asked(conn, parts_of({"prompt": 1, "image": 1}), n=200).ids) == 400


def test_a_filter_is_kept_in_the_index_and_beside_it(library, fill):
    ids, _ = fill(400)
    build_hybrid(library)
    more, _ = fill(100, 2)
    even = Filter(sql.SQL("i.id %% %(two)s = 0"), {"two": 2})
    with library.connection() as conn:
        found = asked(conn, parts_of({"prompt": 1, "image": 1}), filter=even)
    assert {n for n in ids + more if n % 2 == 0} >= set(found.ids) >= {n for n in more if n % 2 == 0}
    assert len(found.ids) >= 140 and "filtered as it goes" in found.method


def test_of_a_filtered_search_all_is_compared_that_is_found(library, fill):
    fill(1000)
    build_hybrid(library)
    even, parts = Filter(sql.SQL("i.id %% %(two)s = 0"), {"two": 2}), parts_of({"prompt": 1, "image": 1})
    with library.connection() as conn:
        conn.execute("""UPDATE hybrids SET details = details || '{"efforts": {"even": 400}, "compared": {"even": 200}}'""")
        assert len(asked(conn, parts).ids) == 200
        assert len(asked(conn, parts, filter=even).ids) > 300  # the graph is followed for as long as more are wanted


def test_an_index_whose_check_did_not_tell_how_many_to_compare_is_not_asked(library, fill):
    fill(50)
    build_hybrid(library)
    with library.connection() as conn:
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is not None
        conn.execute("UPDATE hybrids SET details = details - 'compared'")
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is None


def test_without_an_index_over_the_kinds_there_are_no_candidates_and_a_reason(library, fill):
    fill(50)
    parts = parts_of({"prompt": 1, "clip_g": 1})
    with library.connection() as conn:
        assert asked(conn, parts).ids is None
    build_hybrid(library, ["prompt", "image"])
    with library.connection() as conn:
        found = asked(conn, parts)
    assert found.ids is None and "over prompt, image, without clip_g" in found.note


def test_an_index_of_another_encoder_is_not_asked(library, fill, encoder):
    fill(50)
    build_hybrid(library)
    with library.connection() as conn:
        encoder(conn, "clip_g", "bb", dims=DIMS)
        assert asked(conn, parts_of({"prompt": 1, "clip_g": 1})).ids is None


def test_an_index_that_finds_too_little_is_not_trusted(library, fill):
    fill(50)
    build_hybrid(library)
    with library.connection() as conn:
        conn.execute("""UPDATE hybrids SET details = details || '{"recalls": {"even": 0.7, "uneven": 0.99}}'""")
        found = asked(conn, parts_of({"prompt": 1, "image": 1}))
        assert asked(conn, parts_of({"prompt": 1, "image": -0.3})).ids is not None  # where one kind decides it finds enough
    assert found.ids is None and found.better_exact and "only 70%" in found.note


def test_the_check_takes_more_candidates_until_enough_are_found(library, fill):
    fill(3000)
    sure, poor = build_hybrid(library), build_hybrid(library, dims=6)
    assert sure["efforts"] == {"even": 100, "uneven": 100} and sure["recall"] >= 0.99
    assert poor["efforts"]["even"] > 100 and poor["recall"] < sure["recall"]


def test_as_many_are_compared_as_the_check_found_to_be_needed(library, fill):
    """A short projection puts the best behind others: then more of what is found are compared, and the graph is searched no farther."""
    fill(3000)
    made = build_hybrid(library, dims=6)
    for mix, effort in made["efforts"].items():
        of_effort, compared, tried = made["tried"][mix][effort], made["compared"][mix], made["tried"][mix]
        assert 2 * compared >= effort == max(of_effort) and made["recalls"][mix] == of_effort[compared][1]  # of the worst mix
        assert np.all(np.subtract(of_effort[compared], of_effort[effort]) >= -0.001)
        assert all(of[n][0] < GOOD_MEAN or of[n][1] < GOOD_WORST for n, of in tried.items() if n < effort)


def test_the_worst_mix_counts_in_whatever_the_check_chooses():
    assert _without_loss(200, {100: (0.9950, 0.9870), 150: (0.9958, 0.9872), 200: (0.9963, 0.9902)}) == 200
    assert _without_loss(200, {100: (0.9960, 0.9900), 200: (0.9963, 0.9902)}) == 100
    tried = {200: {200: (0.9700, 0.9480)}, 300: {300: (0.9690, 0.9500)}, 400: {400: (0.9710, 0.9530)}, 500: {500: (0.9712, 0.9532)}}
    assert _least(tried) == 400  # of which none is good
    assert _least({100: {100: (0.97, 0.90)}, 200: {200: (0.95, 0.93)}}) == 200  # neither as good as the other: the most
    assert _least({100: {100: (0.997, 0.989)}, 200: {200: (0.996, 0.99)}, 300: {300: (1.0, 1.0)}}) == 200


def test_a_mix_that_is_found_too_seldom_is_not_hidden_by_the_others():
    """Of three even mixes one is found in part: the mean alone would not tell."""
    vectors = np.random.default_rng(1).normal(size=(3, 300, DIMS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    check = Check(list(vectors[:, :100]), np.random.default_rng(2))
    check.see(list(vectors))
    scores = check.compare(list(vectors))
    found = {question: np.sort(scores[question])[::-1][: 40 if question % 4 == 0 else 50] for question in check.of("even")}
    assert check.recall(found, "even", 50) == pytest.approx((14 / 15, 0.8), abs=1e-3)
    assert check.recall(found, "even", 25) == pytest.approx((0.5, 0.5))  # of what is compared alone


@pytest.mark.parametrize(("weights", "mix"), [((1, -0.3), "uneven"), ((0.4, 0.3, 0.3), "even"), ((0.5, 0.5, -0.5), "even"), ((3, 0.1, 0.1), "uneven")])
def test_a_mix_in_which_one_kind_decides_has_its_own_number_of_candidates(library, fill, weights, mix):
    assert mix_of(weights) == mix
    fill(700)
    build_hybrid(library)
    with library.connection() as conn:
        told = {"efforts": {"even": 80, "uneven": 400}, "compared": {"even": 80, "uneven": 200}}
        conn.execute("UPDATE hybrids SET details = details || %s::jsonb", [json.dumps(told)])
        found = asked(conn, parts_of(dict(zip(("prompt", "image", "clip_g"), weights))))
    assert len(found.ids) == {"even": 80, "uneven": 200}[mix]  # of 400 that the graph is searched for
