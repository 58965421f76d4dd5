"""One index over several kinds finds what comparing with every vector finds, whatever the weights and whatever an image lacks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters import Filter
from diffusion_toolkit.db.hybrid import candidates as asking
from diffusion_toolkit.db.hybrid import held
from diffusion_toolkit.db.hybrid.build import build_hybrid
from diffusion_toolkit.db.hybrid.check import COMPARED, GOOD_MEAN, GOOD_WORST, MIXES, Check, mix_of
from diffusion_toolkit.db.hybrid.projection import Projection, fit
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import Direction
from host.hybrid_library import DIMS, asked, best_of, parts_of
from psycopg import sql


@pytest.mark.parametrize(
    "weights",
    [
        {"prompt": 0.4, "image": 0.3, "clip_g": 0.3},
        {"prompt": 1.0, "image": -0.3},
        {"prompt": 0.5, "image": 0.5, "clip_g": -0.5},
        {"image": -1.0, "clip_g": -1.0},
        {"image": -1.0},
    ],
    ids=str,
)
def test_one_index_serves_any_weights(library, fill, weights):
    ids, vectors = fill(600)
    build_hybrid(library)
    parts = parts_of(weights)
    with library.connection() as conn:
        found = asked(conn, parts)
    assert len(found.ids) == COMPARED[0] < len(ids)  # which do where vectors are so short that nothing of them is left out
    assert set(best_of(ids, vectors, parts)) <= set(found.ids)


def test_images_that_lack_a_kind_are_found_by_the_others(library, fill):
    ids, vectors = fill(300)
    for seed, lacking in enumerate([("prompt",), ("image",), ("clip_g",)], 2):
        more, of_more = fill(100, seed, lacking)
        ids += more
        vectors = {kind: np.concatenate([vectors[kind], of_more[kind]]) for kind in vectors}
    build_hybrid(library)
    with library.connection() as conn:
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
    details = build_hybrid(library, components=5)
    assert details["kept"] == (5, 5, 5)
    with library.connection() as conn:
        parts = parts_of({"prompt": 1.0, "image": 0.5, "clip_g": -0.5})
        found = asked(conn, parts)
        assert conn.execute("SELECT DISTINCT vector_dims(embedding) FROM hybrid_vectors").fetchall() == [(18,)]
    assert len(set(best_of(ids, vectors, parts)) & set(found.ids)) >= 16


def test_more_are_compared_where_more_are_wanted(library, fill):
    fill(900)
    build_hybrid(library)
    with library.connection() as conn:
        assert len(asked(conn, parts_of({"prompt": 1, "image": 1}), n=200).ids) == 4 * COMPARED[0]


def test_more_than_can_be_compared_in_time_are_left_to_comparing_with_all(library, fill):
    fill(50)
    build_hybrid(library)
    with library.connection() as conn:
        found = asked(conn, parts_of({"prompt": 1, "image": 1}), n=50_000)
    assert found.ids is None and found.better_exact and "75,000 would have to be compared" in found.note


def test_a_filter_is_kept_in_the_index(library, fill):
    ids, vectors = fill(400)
    build_hybrid(library)
    parts, even = parts_of({"prompt": 1, "image": 1}), Filter(sql.SQL("i.id %% %(two)s = 0"), {"two": 2})
    passing = [place for place, image_id in enumerate(ids) if image_id % 2 == 0]
    best = best_of([ids[place] for place in passing], {kind: of[passing] for kind, of in vectors.items()}, parts, 50)
    with library.connection() as conn:
        for estimate in (400, 200, 1):  # whatever PostgreSQL thinks
            found = asked(conn, parts, filter=even, passing=estimate).ids
            assert len(found) == COMPARED[0] and set(best) <= set(found) and not any(image_id % 2 for image_id in found)


def test_of_a_filter_that_few_of_the_nearest_pass_the_others_are_asked_too(library, fill):
    ids, vectors = fill(400)
    build_hybrid(library)
    parts = parts_of({"prompt": 1, "image": 1})
    farthest = best_of(ids, {kind: -of for kind, of in vectors.items()}, parts, 90)
    with library.connection() as conn:
        assert set(asked(conn, parts, filter=Filter.of_ids(farthest), passing=400).ids) < set(farthest)
        assert set(asked(conn, parts, filter=Filter.of_ids(farthest[:30]), passing=400).ids) == set(farthest[:30])


def test_a_filter_whose_images_lie_too_far_is_left_to_comparing_with_all(library, fill, monkeypatch):
    ids, vectors = fill(400)
    build_hybrid(library)
    monkeypatch.setattr(asking, "_FARTHEST", 100)
    parts = parts_of({"prompt": 1, "image": 1})
    farthest = best_of(ids, {kind: -of for kind, of in vectors.items()}, parts, 90)
    with library.connection() as conn:
        found = asked(conn, parts, filter=Filter.of_ids(farthest), passing=400)
    assert found.ids is None and found.better_exact


def test_without_an_index_over_the_kinds_there_are_no_candidates_and_a_reason(library, fill):
    fill(50)
    parts = parts_of({"prompt": 1, "clip_g": 1})
    with library.connection() as conn:
        assert asked(conn, parts).ids is None
    build_hybrid(library, ["prompt", "image"])
    with library.connection() as conn:
        found = asked(conn, parts)
    assert found.ids is None and "over prompt, image, without CLIP-G as" in found.note


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
        recalls = json.dumps({"recalls": {**dict.fromkeys(MIXES, 1.0), "two": 0.7}})
        conn.execute("UPDATE hybrids SET details = details || %s::jsonb", [recalls])
        found = asked(conn, parts_of({"prompt": 1, "image": 1}))
        assert asked(conn, parts_of({"prompt": 1, "image": -0.3})).ids is not None  # where one kind decides it finds enough
    assert found.ids is None and found.better_exact and "only 70%" in found.note


def test_an_index_that_is_too_large_for_this_machine_is_not_read(library, fill, monkeypatch):
    fill(50)
    build_hybrid(library)
    monkeypatch.setattr(held, "machine_memory", lambda: 50 * 27 * 4 * 8 - 1)
    with library.connection() as conn:
        found = asked(conn, parts_of({"prompt": 1, "image": 1}))
    assert found.ids is None and "too large for this machine's memory" in found.note and not found.better_exact


@pytest.fixture
def large(monkeypatch):
    """Searches take what there is for a library for which an index pays."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0)


def test_removed_images_leave_room_for_others(library, fill, large):
    """What lies in memory knows nothing of images that are gone: it is read anew, and as many are compared as before."""
    ids, vectors = fill(600)
    build_hybrid(library)
    parts = tuple(db.Part(kind, of[0].astype(np.float32), weight) for (kind, of), weight in zip(vectors.items(), (1, 0.9, 0.8)))
    question = db.Question(parts=parts, k=20)
    with library.connection() as conn:
        gone = asked(conn, parts).ids
        conn.execute("DELETE FROM images WHERE id = ANY(%s)", [gone])
        assert set(asked(conn, parts).ids) == set(gone)
    left = [image_id for image_id in ids if image_id not in gone]
    of_left = {kind: of[[ids.index(image_id) for image_id in left]] for kind, of in vectors.items()}
    with library.connection() as conn:
        answer = db.search(conn, question)
    assert answer.method == f"hybrid index, {COMPARED[0]} candidates compared exactly"
    assert [hit.image_id for hit in answer.hits] == best_of(left, of_left, parts)


def question_check(samples, components: int) -> Check:
    projection = fit(samples, components)
    check = Check([sample[:1000] for sample in samples], projection, np.random.default_rng(2))
    for start in range(0, len(samples[0]), 500):
        some = [sample[start : start + 500] for sample in samples]
        check.see(some, projection.rows(some))
    return check


def drawn(n: int, size: int = DIMS) -> list[np.ndarray]:
    vectors = np.random.default_rng(1).normal(size=(3, n, size)).astype(np.float32)
    return list(vectors / np.linalg.norm(vectors, axis=2, keepdims=True))


def test_the_check_takes_more_candidates_until_enough_are_found():
    samples = drawn(3000, 12)
    sure, poor = question_check(samples, 12).result(), question_check(samples, 10).result()
    assert set(sure["compared"].values()) == {COMPARED[0]} and min(sure["recalls"].values()) == 1
    assert all(poor["compared"][mix] > COMPARED[0] for mix in MIXES)
    assert all(recall >= GOOD_WORST for mix, recall in poor["recalls"].items() if poor["compared"][mix] < COMPARED[-1])


def test_of_what_no_number_finds_the_recall_is_told_as_it_is():
    result = question_check(drawn(COMPARED[-1] + 4000, 12), 2).result()
    assert set(result["compared"].values()) == {COMPARED[-1]}
    assert all(0.2 < recall < GOOD_WORST for recall in result["recalls"].values())


def test_a_mix_that_is_found_too_seldom_is_not_hidden_by_the_others(monkeypatch):
    """Of three mixes of several kinds one is found in part: the mean alone would not tell."""
    check = question_check(drawn(300), DIMS)
    monkeypatch.setattr(check, "_recall", lambda question, found: 0.98 if question % 7 == 0 and len(found) < 150 else 1.0)
    assert 0.98 * 32 / 96 + 64 / 96 < GOOD_MEAN  # by their mean alone it would be a hundredth short, by the worst two
    assert check.result()["compared"] == {"several": 150, "two": 75, "uneven": 75, "one": 75}


@pytest.mark.parametrize(
    ("weights", "mix"),
    [((1, -0.3), "uneven"), ((0.4, 0.3, 0.3), "several"), ((0.5, 0.5, -0.5), "several"), ((3, 0.1, 0.1), "uneven"), ((1, -0.9), "two"), ((2,), "one")],
)
def test_the_fewer_kinds_decide_the_more_are_compared(library, fill, weights, mix):
    assert mix_of(weights) == mix
    fill(700)
    build_hybrid(library)
    compared = {"several": 80, "two": 120, "uneven": 200, "one": 400}
    with library.connection() as conn:
        conn.execute("UPDATE hybrids SET details = details || %s::jsonb", [json.dumps({"compared": compared})])
        found = asked(conn, parts_of(dict(zip(("prompt", "image", "clip_g"), weights))))
    assert len(found.ids) == compared[mix]


def test_a_question_for_one_kind_that_its_graph_would_miss_is_answered_by_the_short_vectors(library, fill, large, monkeypatch):
    ids, vectors = fill(600)
    build_hybrid(library)
    monkeypatch.setattr(Direction, "index", property(lambda direction: "hnsw"))
    parts = parts_of({"image": -1.0})
    with library.connection() as conn:
        answer = db.search(conn, db.Question(parts=parts, k=20))
    assert answer.method == f"hybrid index, {COMPARED[0]} candidates compared exactly"
    assert [hit.image_id for hit in answer.hits] == best_of(ids, vectors, parts)


def test_what_is_added_is_read_on_and_what_is_written_anew_stands_once():
    """Blocks of memory are joined so that each is at least twice the next, and of an image the newest row counts."""
    projection = Projection((2, 2), (None, None))
    rows = held.Held(projection)
    written = [(place, image_id) for place, image_id in enumerate([*range(1, 41), 7, 8, 41], 1)]

    class Conn:
        """Gives the rows that were written after a place, as COPY does."""

    def read(conn, query, parameters, columns, batch):
        after = int(query.as_string().split("place > ")[1].split()[0])
        new = [(place, image_id) for place, image_id in written if place > after]
        for start in range(0, len(new), 3):
            some = new[start : start + 3]
            out = np.zeros(len(some), np.dtype([(name, kind) for name, kind in columns.items()]))
            out["place"], out["id"] = zip(*some)
            out["row"]["numbers"] = [[place, 0, 1, 0, 0, 0] for place, _ in some]  # so the newest is the best
            yield out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "read_rows", read)
        everything, written = written, written[:30]
        rows.read_on(Conn(), 1, 30)
        for last in (35, 40, 43):
            written = everything[:last]
            rows.read_on(Conn(), 1, last)
            rows.read_on(Conn(), 1, last)
    sizes = [len(ids) for ids, _, _ in rows._blocks]
    assert all(large >= 2 * small for large, small in zip(sizes, sizes[1:])) and rows.last == 43
    query = {0: np.array([1, 0], np.float32)}
    assert rows.nearest(query, {}, 4).tolist() == [41, 8, 7, 40]
