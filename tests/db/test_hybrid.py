"""One index over several kinds finds what comparing with every vector finds, whatever the weights and whatever an image lacks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters import Filter
from diffusion_toolkit.db.hybrid.build import build_hybrid, drop_hybrid
from diffusion_toolkit.db.hybrid.candidates import candidates, ready_hybrid, statement
from diffusion_toolkit.db.hybrid.check import mix_of
from diffusion_toolkit.db.hybrid.tail import refresh_hybrid
from diffusion_toolkit.db.refresh import refresh_search
from diffusion_toolkit.db.search.kinds import directions_of, sources_of, state_of
from pgvector import HalfVector
from psycopg import sql

DIMS = 8
FAMILIES = {"prompt": "text", "image": "image", "clip_g": "clip_g"}


@pytest.fixture
def encoders(library, encoder):
    with library.connection() as conn:
        return {family: encoder(conn, family, dims=DIMS) for family in FAMILIES.values()}


@pytest.fixture
def fill(library, encoders, image):
    """Adds images with random vectors, some without a kind; returns ids and vectors [n, dims] by kind, zeros for what is missing."""

    def add(count: int, seed: int = 1, lacking: tuple[str, ...] = ()) -> tuple[list[int], dict[str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        with library.connection() as conn:
            root, first = db.ensure_root(conn, "output", "/pictures"), db.counts(conn).images
            texts = [None if "prompt" in lacking else db.TextPair(f"text {n}", "") for n in range(first, first + count)]
            ids = db.write_images(conn, root, [image(first + n, prompt=text) for n, text in enumerate(texts)])
            text_ids = [] if "prompt" in lacking else [db.find_text(conn, text) for text in texts]
            vectors = {}
            for kind, family in FAMILIES.items():
                units = rng.normal(size=(count, DIMS))
                units /= np.linalg.norm(units, axis=1, keepdims=True)
                there = kind not in lacking and (kind == "image" or "prompt" not in lacking)
                vectors[kind] = units * there
                if there and kind == "image":
                    db.write_image_vectors(conn, encoders[family], ids, units * 7)
                elif there:
                    db.write_text_vectors(conn, encoders[family], text_ids, units)
        return ids, vectors

    return add


def parts_of(weights: dict[str, float], seed: int = 9) -> tuple[db.Part, ...]:
    rng = np.random.default_rng(seed)
    return tuple(db.Part(kind, rng.normal(size=DIMS).astype(np.float32), weight) for kind, weight in weights.items())


def asked(conn, parts, n=20, filter=None, constants=None):
    sources = sources_of(state_of(conn), parts)
    directions = directions_of(parts, sources, [part.weight for part in parts], constants or [0.0] * len(parts))
    found = candidates(conn, directions, n, filter)
    ids = [row[0] for row in conn.execute(found.statement, found.parameters)] if found.statement is not None else None
    return SimpleNamespace(ids=ids, method=found.method.format(count=len(ids or ())), note=found.note, better_exact=found.better_exact)


def best_of(ids, vectors, parts, n=20) -> list[int]:
    scores = sum(part.weight * vectors[part.kind] @ (part.vector / np.linalg.norm(part.vector)) for part in parts)
    return [ids[place] for place in np.argsort(-scores)[:n]]


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
    assert len(found.ids) == ready_effort(library) < len(ids)
    assert set(best_of(ids, vectors, parts)) <= set(found.ids)
    assert found.method == f"hybrid index, {len(found.ids)} candidates compared exactly"


def ready_effort(library) -> int:
    with library.connection() as conn:
        return ready_hybrid(conn, 1)["effort"]


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
            sql.SQL("EXPLAIN {}").format(statement(ready["id"], 27)), {"query": HalfVector(query), "effort": 100, "tail": 10}
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


@pytest.mark.parametrize(("weights", "mix"), [((1, -0.3), "uneven"), ((0.4, 0.3, 0.3), "even"), ((0.5, 0.5, -0.5), "even"), ((3, 0.1, 0.1), "uneven")])
def test_a_mix_in_which_one_kind_decides_has_its_own_number_of_candidates(library, fill, weights, mix):
    assert mix_of(weights) == mix
    fill(700)
    build_hybrid(library)
    with library.connection() as conn:
        conn.execute("""UPDATE hybrids SET details = jsonb_set(details, '{efforts}', '{"even": 150, "uneven": 300}')""")
        found = asked(conn, parts_of(dict(zip(("prompt", "image", "clip_g"), weights))))
    assert len(found.ids) == {"even": 150, "uneven": 300}[mix]


def test_a_new_image_is_found_at_once_and_folded_in_later(library, fill):
    fill(300)
    build_hybrid(library)
    [new], vectors = fill(1, 2)
    parts = tuple(db.Part(kind, vectors[kind][0].astype(np.float32)) for kind in ("prompt", "image"))
    with library.connection() as conn:
        assert new in asked(conn, parts).ids
    assert refresh_search(library) == "1 images added to the hybrid index"
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (0,)
        assert new in asked(conn, parts).ids
    assert refresh_search(library) == ""


def test_a_changed_prompt_moves_its_image(library, fill, encoders):
    ids, _ = fill(300)
    build_hybrid(library)
    with library.connection() as conn:
        other = db.TextPair("other", "")
        db.update_readings(conn, {ids[0]: db.Reading(prompt=other)})
        db.write_text_vectors(conn, encoders["text"], [db.find_text(conn, other)], np.eye(1, DIMS))
    refresh_hybrid(library)
    with library.connection() as conn:
        part = db.Part("prompt", np.eye(1, DIMS, dtype=np.float32)[0])
        top = conn.execute("SELECT count(*) FROM hybrid_vectors WHERE image_id = %s", [ids[0]]).fetchone()
        assert top == (1,)
        assert ids[0] in asked(conn, (part, db.Part("image", part.vector, 0.01))).ids


def test_a_texts_later_vector_is_noted_for_all_its_images(library, fill, encoders, encoder):
    fill(20, 1, ("clip_g",))
    fill(20, 2)
    build_hybrid(library)
    with library.connection() as conn:
        text_ids = [row[0] for row in conn.execute("SELECT prompt_id FROM images ORDER BY id LIMIT 5")]
        db.write_text_vectors(conn, encoders["clip_g"], text_ids, np.eye(5, DIMS))
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (5,)


def test_nothing_is_noted_without_an_index(library, fill):
    fill(5)
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (0,)


def test_a_library_that_doubled_is_fitted_anew(library, fill):
    fill(300)
    build_hybrid(library, m=12)
    fill(300, 2)
    assert "made over prompt, image, clip_g" in refresh_hybrid(library)
    with library.connection() as conn:
        assert conn.execute("SELECT fitted_on, ready, (details->>'m')::int FROM hybrids").fetchall() == [(600, True, 12)]
        assert conn.execute("SELECT count(*) FROM hybrid_vectors").fetchone() == (600,)


def test_images_without_any_of_the_kinds_do_not_make_it_look_small(library, fill, image):
    fill(100)
    with library.connection() as conn:
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(1000, 1300)])
    made = build_hybrid(library)
    assert made["images"] == 100
    assert refresh_hybrid(library) == ""


def test_small_libraries_get_no_index_by_themselves(library, fill):
    fill(100)
    assert refresh_hybrid(library) == ""


def test_a_large_library_gets_one_unless_a_person_said_none(library, fill, monkeypatch):
    from diffusion_toolkit.db.hybrid import tail

    monkeypatch.setattr(tail, "AUTOMATIC_FROM", 50)
    fill(100)
    assert "hybrid index made" in refresh_hybrid(library)
    drop_hybrid(library, wanted=False)
    assert refresh_hybrid(library) == ""
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM hybrid_vectors").fetchone() == (0,)


def test_a_build_that_was_broken_off_is_not_used_and_made_anew(library, fill):
    fill(100)

    def stop(stage, done, total):
        if stage.startswith("Indexing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_hybrid(library, progress=stop)
    with library.connection() as conn:
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is None
    assert "hybrid index made" in refresh_hybrid(library)


def test_a_build_that_was_broken_off_is_made_anew_as_it_was_wanted(library, fill):
    fill(100)

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_hybrid(library, ["prompt", "image"], stop, m=8, ef_construction=40)
    assert "made over prompt, image (" in refresh_hybrid(library)
    with library.connection() as conn:
        wanted = conn.execute("SELECT kinds, details->'m', details->'ef_construction', details->'chosen' FROM hybrids").fetchone()
    assert wanted == (["prompt", "image"], 8, 40, True)


def test_searches_learn_that_it_was_removed_or_is_being_made(library, fill):
    fill(50)

    def generation() -> str:
        with library.connection() as conn:
            return db.generation(conn)

    seen = [generation()]
    build_hybrid(library, progress=lambda stage, done, total: seen.append(generation()))
    assert seen[0] != seen[1]
    before = generation()
    drop_hybrid(library)
    assert generation() != before


def test_a_search_that_lasts_is_waited_for_in_turns_that_let_others_by(library, fill, monkeypatch):
    from diffusion_toolkit.db.hybrid import build

    fill(50)
    build_hybrid(library)
    monkeypatch.setattr(build, "_PATIENCE", 0.1)
    told = []
    with library.connection() as reader:
        reader.execute("SELECT count(*) FROM hybrid_vectors")

        def tell(stage, done, total):
            told.append(stage)
            if len(told) == 3:
                reader.rollback()

        build_hybrid(library, progress=tell)
    assert told[:4] == ["Waiting for searches to end"] * 3 + ["Fitting the hybrid index"]


def test_the_vectors_are_locked_for_no_longer_than_a_batch(library, fill):
    fill(50)
    held = []

    def tell(stage, done, total):
        with library.connection() as conn:
            locks = "SELECT count(*) FROM pg_locks WHERE relation = 'image_vectors'::regclass AND pid <> pg_backend_pid()"
            held.append((stage, conn.execute(locks).fetchone()[0]))

    build_hybrid(library, progress=tell)
    assert {count for stage, count in held if stage.startswith(("Indexing", "Checking"))} == {0}


def test_progress_is_told(library, fill):
    fill(100)
    stages = []
    build_hybrid(library, progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == [
        "Fitting the hybrid index", "Filling the hybrid index", "Indexing the hybrid vectors", "Checking the hybrid index",
    ]  # fmt: skip


def test_only_one_builds_at_a_time(library, fill):
    fill(10)

    def again(stage, done, total):
        build_hybrid(library)

    with pytest.raises(db.LibraryError, match="Another process is building"):
        build_hybrid(library, progress=again)


def test_one_kind_is_no_hybrid(library, fill):
    fill(10)
    with pytest.raises(db.LibraryError, match="two kinds or more"):
        build_hybrid(library, ["prompt"])
    with pytest.raises(db.LibraryError, match="has no negative vectors"):
        build_hybrid(library, ["prompt", "negative"])


def test_what_was_the_usual_once_is_not_kept(library, fill):
    """A library that a former version made an index of gets today's at the next making."""
    fill(60)
    build_hybrid(library)
    with library.connection() as conn:
        conn.execute("""UPDATE hybrids SET ready = false, details = details - 'given' || '{"m": 24}'""")
    refresh_hybrid(library)
    with library.connection() as conn:
        assert conn.execute("SELECT (details->>'m')::integer FROM hybrids").fetchone() == (16,)
