"""One index over several kinds finds what comparing with every vector finds, whatever the weights and whatever an image lacks."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters import Filter
from diffusion_toolkit.db.hybrid import candidates as asking
from diffusion_toolkit.db.hybrid import held
from diffusion_toolkit.db.hybrid.build import build_hybrid
from diffusion_toolkit.db.hybrid.check import COMPARED, sort_of
from diffusion_toolkit.db.hybrid.projection import Projection
from diffusion_toolkit.db.hybrid.refresh import refresh_hybrid
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


def test_new_images_are_candidates_of_a_filtered_search_too(library, fill):
    fill(400)
    build_hybrid(library)
    new, _ = fill(3, 2)
    with library.connection() as conn:
        assert set(new) <= set(asked(conn, parts_of({"prompt": 1, "image": 1}), filter=Filter.of_ids(new), passing=3).ids)


def test_of_a_filter_that_few_of_the_nearest_pass_the_others_are_asked_too(library, fill):
    ids, vectors = fill(400)
    build_hybrid(library)
    parts = parts_of({"prompt": 1, "image": 1})
    farthest = best_of(ids, {kind: -of for kind, of in vectors.items()}, parts, 90)
    with library.connection() as conn:
        assert set(asked(conn, parts, filter=Filter.of_ids(farthest), passing=400).ids) < set(farthest)
        assert set(asked(conn, parts, filter=Filter.of_ids(farthest[:30]), passing=400).ids) == set(farthest[:30])


def test_a_filter_that_passes_few_of_the_images_that_have_what_is_asked_for_gives_all_of_these(library, fill):
    ids, _ = fill(60)
    fill(300, 2, ("prompt",))
    build_hybrid(library)
    with library.connection() as conn:
        found = asked(conn, parts_of({"prompt": 1.0}), filter=Filter.of_ids(ids[:40]), passing=400)
    assert found.ids is not None and set(found.ids) == set(ids[:40])


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
        conn.execute("UPDATE hybrids SET details = jsonb_set(details, '{recalls,two}', '0.7')")
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
    fill(1, 2)
    assert refresh_hybrid(library) == "1 image added to the hybrid index"  # others may have more memory


@pytest.fixture
def large(monkeypatch):
    """Searches take what there is for a library for which an index pays."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0)


def test_removed_images_leave_room_for_others(library, fill, large, monkeypatch):
    """What lies in memory is not told of images that are gone: it forgets them when a search finds that, and as many are compared as before."""
    ids, vectors = fill(600)
    build_hybrid(library)
    parts = tuple(db.Part(kind, of[0].astype(np.float32), weight) for (kind, of), weight in zip(vectors.items(), (1, 0.9, 0.8)))
    with library.connection() as conn:
        gone = asked(conn, parts).ids
        conn.execute("DELETE FROM images WHERE id = ANY(%s)", [gone])
        assert set(asked(conn, parts).ids) == set(gone)
    monkeypatch.setattr(held, "read_rows", None)  # nothing is read again
    left = [image_id for image_id in ids if image_id not in gone]
    of_left = {kind: of[[ids.index(image_id) for image_id in left]] for kind, of in vectors.items()}
    with library.connection() as conn:
        for _ in range(2):
            answer = db.search(conn, db.Question(parts=parts, k=20))
            assert answer.method == f"hybrid index, {COMPARED[0]} candidates compared exactly"
            assert [hit.image_id for hit in answer.hits] == best_of(left, of_left, parts)


def test_images_that_lack_all_that_is_asked_for_are_no_candidates(library, fill):
    """By a score of 0 they would stand before all that are unlike."""
    ids, _ = fill(100)
    fill(200, 2, ("prompt",))
    build_hybrid(library)
    with library.connection() as conn:
        for constants in ([0.0], [-50.0]):
            assert set(asked(conn, parts_of({"prompt": -1.0}), constants=constants).ids) <= set(ids)
        assert conn.execute("SELECT details->'recalls'->'one prompt' FROM hybrids").fetchone() == (1.0,)


def test_an_index_that_is_being_replaced_gives_no_candidates(library, fill):
    fill(50)
    build_hybrid(library)
    with library.connection() as conn:
        asked(conn, parts_of({"prompt": 1, "image": 1}))
        held._held.clear()
        conn.execute("TRUNCATE hybrid_vectors")
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is None


def test_weights_that_float32_can_not_hold_count_by_their_ratio(library, fill):
    fill(300)
    build_hybrid(library)
    with library.connection() as conn:
        usual, small, great = (asked(conn, parts_of({"prompt": 1 * scale, "image": 0.5 * scale})).ids for scale in (1, 1e-50, 1e45))
    assert set(usual) == set(small) == set(great)


def test_an_index_made_by_a_former_version_is_not_asked_and_is_made_anew(library, fill):
    """Such a ComfyUI may still be running when the library has been brought up to date."""
    fill(50)
    build_hybrid(library)
    with library.connection() as conn:
        conn.execute("UPDATE hybrids SET details = details - 'candidates' || '{\"compared\": {\"even\": 100}}'")
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is None
    assert "hybrid index made" in refresh_hybrid(library)
    with library.connection() as conn:
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is not None
        conn.execute("UPDATE hybrids SET details = details - 'last'")  # which images came since its making
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is not None
    assert "hybrid index made" in refresh_hybrid(library)


def test_a_library_that_took_the_place_of_another_is_not_searched_by_its_memory(library, fill):
    """As after a dump was restored: the same number and time, in another table."""
    first, _ = fill(60)
    build_hybrid(library)
    parts = parts_of({"prompt": 1, "image": 1})
    with library.connection() as conn:
        asked(conn, parts)
        conn.execute("ALTER TABLE hybrid_vectors RENAME TO former")
        conn.execute("CREATE TABLE hybrid_vectors (LIKE former INCLUDING ALL)")
        conn.execute("INSERT INTO hybrid_vectors (image_id, hybrid_id, embedding) SELECT image_id, hybrid_id, embedding FROM former ORDER BY place LIMIT 9")
        assert set(asked(conn, parts).ids) == set(first[:9])
        conn.rollback()


NAMES = ("prompt", "image", "clip_g")


@pytest.mark.parametrize(
    ("weights", "sort"),
    [
        ((1, -0.3), "uneven prompt"), ((0.4, 0.3, 0.3), "several"), ((0.5, 0.5, -0.5), "several"), ((0.3, 1, 0.1), "uneven image"),
        ((1, -0.9), "two"), ((2,), "one prompt"), ((0.1, 1), "one image"),
    ],
)  # fmt: skip
def test_the_fewer_kinds_decide_the_more_are_compared(library, fill, weights, sort):
    assert sort_of(weights, NAMES) == sort
    fill(700)
    made = build_hybrid(library)["candidates"]
    compared = dict(zip(made, range(80, 80 + 40 * len(made), 40)))
    with library.connection() as conn:
        conn.execute("UPDATE hybrids SET details = details || %s::jsonb", [json.dumps({"candidates": compared})])
        found = asked(conn, parts_of(dict(zip(NAMES, weights))))
    assert len(found.ids) == compared[sort]


def test_a_question_for_one_kind_that_its_graph_would_miss_is_answered_by_the_short_vectors(library, fill, large, monkeypatch):
    ids, vectors = fill(600)
    build_hybrid(library)
    monkeypatch.setattr(Direction, "index", property(lambda direction: "hnsw"))
    parts = parts_of({"image": -1.0})
    with library.connection() as conn:
        answer = db.search(conn, db.Question(parts=parts, k=20))
    assert answer.method == f"hybrid index, {COMPARED[0]} candidates compared exactly"
    assert [hit.image_id for hit in answer.hits] == best_of(ids, vectors, parts)


def test_what_is_added_is_read_on_and_what_is_written_anew_stands_once(monkeypatch):
    """Blocks of memory are joined so that each is at least twice the next, and of an image the newest row counts."""
    rows = held.Held(Projection((2, 2), (None, None)), 35)
    written = [(place, image_id) for place, image_id in enumerate([*range(1, 41), 7, 8, 41], 1)]
    last = 0

    def read(conn, query, parameters, columns, batch):
        after, most = (int(query.as_string().split(word)[1].split()[0]) for word in ("place > ", "LIMIT "))
        new = [(place, image_id) for place, image_id in written[:last] if place > after][:most]
        for start in range(0, len(new), 3):
            some = new[start : start + 3]
            out = np.zeros(len(some), np.dtype([(name, kind) for name, kind in columns.items()]))
            out["place"], out["id"] = zip(*some)
            out["row"]["numbers"] = [[place, 0, 1, 0, 0, 0] for place, _ in some]  # so the newest is the best
            yield out

    class Conn:
        def execute(self, statement, values):
            return SimpleNamespace(fetchone=lambda: [sum(place > values[1] for place, _ in written[:last])])

    told = []
    monkeypatch.setattr(held, "read_rows", read)
    monkeypatch.setattr(rows.whole, "forget", lambda ids: told.append((len(ids), rows.is_read(last))))
    for last in (30, 30, 35, 40, 43):
        assert rows.read_on(Conn(), 1, last) and rows.is_read(last)
    assert told == [(30, False), (5, False), (5, False), (3, False)]  # nobody takes them for read before that
    sizes = [len(block.ids) for block in rows._blocks]
    assert all(large >= 2 * small for large, small in zip(sizes, sizes[1:])) and len(rows) == 41
    assert rows.added.tolist() == [7, 8, 36, 37, 38, 39, 40, 41]  # since the making, which ended with the 35th
    query = {0: np.array([1, 0], np.float32)}
    assert rows.nearest(query, {0: 0.0}, {}, 4)[0].tolist() == [41, 8, 7, 40]
    rows.forget([8, 40])
    assert rows.added.tolist() == [7, 36, 37, 38, 39, 41]
    assert rows.nearest(query, {0: 0.0}, {}, 3)[0].tolist() == [41, 7, 39] and len(rows) == 39
    known = {0: (np.array([5, 50, 41]), np.array([99, 999, 0], np.float32))}
    assert rows.nearest(query, {0: 0.0}, known, 3)[0].tolist() == [5, 7, 39]  # 50 is none of the images


def test_of_one_database_only_the_newest_index_is_kept(library, fill):
    fill(60)
    held._held.clear()
    for kinds in (None, ["prompt", "image"]):
        build_hybrid(library, kinds)
        with library.connection() as conn:
            asked(conn, parts_of({"prompt": 1, "image": 1}))
    [(_, kept)] = held._held.values()
    assert len(kept.projection.sizes) == 2
