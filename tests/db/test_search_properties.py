"""What holds of every search, whatever is asked: pages put together are the whole, equals go by id, scores are what they say."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.hybrid import candidates as hybrid
from diffusion_toolkit.db.hybrid.build import build_hybrid
from diffusion_toolkit.db.search import kinds, strategy
from host.lacking_texts import lacking_texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

IMAGES, DIMS = 130, 8
FAMILIES = {"prompt": "text", "negative": "text", "image": "image", "clip_l": "clip_l", "clip_g": "clip_g"}
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def filled(new_database, template, tmp_path_factory, image):
    """A connection to 130 images whose vectors are few and equal often; every third lacks a prompt, others other kinds."""
    with filled_library(new_database(template), tmp_path_factory.mktemp("unused"), image) as (_, conn, ids, vectors):
        yield conn, ids, vectors


@pytest.fixture(scope="module")
def mixed(new_database, template, tmp_path_factory, image):
    """A connection to the same images, with an index over all kinds at once."""
    with filled_library(new_database(template), tmp_path_factory.mktemp("unused"), image) as (library, conn, _, _):
        build_hybrid(library)
        yield conn


@contextmanager
def filled_library(dsn, folder, image):
    """The library, a connection to it, the images' ids [n] and their vectors [n, DIMS] by kind, NaN where an image lacks it."""
    rng = np.random.default_rng(5)
    palette = rng.normal(size=(6, DIMS)).astype(np.float16).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_TOOLKIT_DSN", dsn)
        library = db.open_library("default", folder)
        with library.connection() as conn:
            root = db.ensure_root(conn, "output", "/pictures")
            records = [
                image(
                    n,
                    seed=int(rng.integers(5)),
                    width=64 + n % 3,
                    prompt=db.TextPair(f"p{n % 20}", "") if n % 3 else None,
                    negative=db.TextPair(f"n{n % 4}", "") if n % 2 else None,
                )
                for n in range(IMAGES)
            ]
            ids = db.write_images(conn, root, records)
            encoders = {f: db.ensure_encoder(conn, db.Encoder(f, "aa", f, DIMS)) for f in ("text", "image", "clip_l", "clip_g")}
            db.activate_encoders(conn, list(encoders.values()))
            vectors = {kind: np.full((IMAGES, DIMS), np.nan) for kind in db.KINDS}
            for family in ("text", "clip_l", "clip_g"):
                texts = lacking_texts(conn, encoders[family], root, "")
                drawn = palette[rng.integers(len(palette), size=len(texts))]
                db.write_text_vectors(conn, encoders[family], [text_id for text_id, _ in texts], drawn)
                by_text = {pair.joined: vector for (_, pair), vector in zip(texts, drawn)}
                for n, record in enumerate(records):
                    for kind, text in (("prompt", record.prompt), ("negative", record.negative)):
                        if FAMILIES[kind] == family and text:
                            vectors[kind][n] = by_text[text.joined]
                    if family != "text" and record.prompt:
                        vectors[family][n] = by_text[record.prompt.joined]
            some = np.arange(0, IMAGES, 4)
            vectors["image"][some] = palette[rng.integers(len(palette), size=len(some))]
            db.write_image_vectors(conn, encoders["image"], [ids[n] for n in some], vectors["image"][some].astype(np.float32))
            conn.commit()
            yield library, conn, np.array(ids), vectors
        library.close()


vector = st.lists(st.integers(-3, 3), min_size=DIMS, max_size=DIMS).filter(any).map(lambda v: np.array(v, np.float32))
part = st.builds(db.Part, st.sampled_from(db.KINDS), vector, st.sampled_from([1.0, 0.5, -0.4, 0.3, -1.0, 2.0]))
one_part = st.builds(db.Part, st.sampled_from(db.KINDS), vector)
parts = st.lists(part, min_size=1, max_size=4).map(tuple)


def cosines(vectors: dict[str, np.ndarray], asked: tuple[db.Part, ...]) -> np.ndarray:
    """[images, parts], NaN: has none."""
    columns = []
    for p in asked:
        stored = vectors[p.kind]
        columns.append(stored @ p.vector / np.linalg.norm(stored, axis=1) / np.linalg.norm(p.vector))
    return np.stack(columns, axis=1)


def ask(conn, asked, **more) -> db.Answer | None:
    try:
        return db.search(conn, db.Question(parts=asked, **more))
    except db.LibraryError as error:
        assert "cancel each other out" in str(error)
        return None


@quick
@given(asked=parts)
def test_a_score_is_the_weighted_sum_of_cosines_a_missing_kind_counts_0_and_none_is_missed(filled, asked):
    conn, ids, vectors = filled
    answer = ask(conn, asked, k=IMAGES)
    if answer is None:
        return
    table = cosines(vectors, asked)
    used = [any(d.kind == p.kind for d in asked) for p in asked]
    weights = np.array([p.weight for p in asked])
    scores = np.where(np.isnan(table), 0, table * weights).sum(axis=1)
    hits = {hit.image_id: hit for hit in answer.hits}
    assert all(used) and len(hits) == len(answer.hits)
    for image_id, row, score in zip(ids.tolist(), table, scores):
        if image_id in hits:
            assert hits[image_id].score == pytest.approx(score, abs=2e-3)
            assert sum(hits[image_id].gave) == pytest.approx(score, abs=2e-3)
            assert [np.nan if c is None else c for c in hits[image_id].cosines] == pytest.approx(row, abs=1e-3, nan_ok=True)
    kinds = {p.kind for p in asked}
    whole = {i for i, row in zip(ids.tolist(), table) if not np.isnan(row).all()}
    if len(kinds) == len(asked):  # else a kind may have cancelled itself out
        assert set(hits) == whole


@quick
@given(asked=parts, size=st.integers(15, 60), normalise=st.booleans(), leave_out=st.sets(st.integers(1, IMAGES), max_size=5))
def test_pages_put_together_are_the_whole(filled, asked, size, normalise, leave_out):
    conn, ids, _ = filled
    more = {"normalise": normalise, "exact": True, "leave_out": tuple(leave_out)}
    whole = ask(conn, asked, k=IMAGES, **more)
    if whole is None:
        return
    pages = [hit for offset in range(0, IMAGES, size) for hit in ask(conn, asked, k=size, offset=offset, **more).hits]
    assert pages == whole.hits
    assert not {hit.image_id for hit in pages} & leave_out
    assert [hit.rank for hit in pages] == list(range(1, len(pages) + 1))


@quick
@given(asked=parts, normalise=st.booleans())
def test_the_best_come_first_and_equals_go_by_id(filled, asked, normalise):
    conn, _, _ = filled
    answer = ask(conn, asked, k=IMAGES, normalise=normalise)
    if answer is not None:
        keys = [(-hit.score, hit.image_id) for hit in answer.hits]
        assert keys == sorted(keys)


@quick
@given(asked=one_part, k=st.integers(1, 60))
def test_the_index_gives_scores_and_ties_as_the_exact_search_does(filled, asked, k):
    conn, _, _ = filled
    exactly = ask(conn, (asked,), k=k, exact=True).hits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy, "EXACT_BELOW", 0)
        patch.setattr(strategy, "_SCANNED", 1e9)
        patch.setattr(kinds, "_FEW_TEXTS", 0)  # which autovacuum tells of, where this file takes longer than a minute
        by_index = ask(conn, (asked,), k=k)
    assert by_index.method == ("index" if len(exactly) == k else "exact")  # fewer than asked for are never taken on trust
    assert by_index.hits == exactly


@quick
@given(asked=parts, seeds=st.sets(st.integers(0, 4)), indexed=st.booleans())
def test_a_filter_leaves_exactly_those_that_pass_in_their_order(filled, asked, seeds, indexed):
    conn, _, _ = filled
    only = db.Filter(sql.SQL("i.seed = ANY({}::numeric[])").format(sql.Placeholder("f_seeds")), {"f_seeds": list(seeds)})
    whole = ask(conn, asked, k=IMAGES, exact=True)
    if whole is None:
        return
    passing = {row[0] for row in conn.execute("SELECT id FROM images WHERE seed = ANY(%s::numeric[])", [list(seeds)])}
    with pytest.MonkeyPatch.context() as patch:
        if indexed:
            patch.setattr(strategy, "EXACT_BELOW", 0)
            patch.setattr(strategy, "_SCANNED", 1e9)
            patch.setattr(strategy, "_estimate", lambda *_: 1e9)
        answer = ask(conn, asked, k=IMAGES, filter=only)
    expected = [hit for hit in whole.hits if hit.image_id in passing]
    assert [hit.image_id for hit in answer.hits] == [hit.image_id for hit in expected]
    for hit, same in zip(answer.hits, expected):  # sums of products, in another order
        assert (hit.score, hit.cosines) == (pytest.approx(same.score), pytest.approx(same.cosines))


@quick
@given(asked=parts, k=st.integers(1, 40))
def test_candidates_of_each_kind_give_what_the_exact_search_gives(filled, asked, k):
    conn, _, _ = filled
    exactly = ask(conn, asked, k=k, exact=True)
    if exactly is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy, "EXACT_BELOW", 0)
        patch.setattr(strategy, "_SCANNED", 1e9)
        by_index = ask(conn, asked, k=k)
    kinds = {(p.kind) for p in asked}
    if len(kinds) == len(asked) > 1 and len(exactly.hits) == k:
        assert by_index.method == "candidates of each kind, compared exactly" or (by_index.method == "exact" and may_be_missed(asked))
    assert [(h.image_id, h.rank) for h in by_index.hits] == [(h.image_id, h.rank) for h in exactly.hits]
    for one, other in zip(by_index.hits, exactly.hits):
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert [c if c is None else round(c, 6) for c in one.cosines] == [c if c is None else round(c, 6) for c in other.cosines]


def may_be_missed(asked) -> bool:
    """Whether the kind that decides, if one does, is asked for by being unlike, which an index that was not tried isn't trusted with."""
    return any(abs(part.weight) == max(abs(other.weight) for other in asked) and part.weight < 0 for part in asked)


@quick
@given(asked=parts, k=st.integers(1, 20), normalise=st.booleans(), seeds=st.one_of(st.none(), st.sets(st.integers(0, 4), min_size=1)))
def test_the_hybrid_index_gives_what_the_exact_search_gives(mixed, asked, k, normalise, seeds):
    conn = mixed
    only = seeds and db.Filter(sql.SQL("i.seed = ANY({}::numeric[])").format(sql.Placeholder("f_seeds")), {"f_seeds": list(seeds)})
    more = {"k": k, "normalise": normalise, "filter": only or None}
    exactly = ask(conn, asked, exact=True, **more)
    if exactly is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy, "EXACT_BELOW", 0)
        patch.setattr(strategy, "_SCANNED", 1e9)
        patch.setattr(strategy, "_estimate", lambda *_: 1e9)
        by_index = ask(conn, asked, **more)
    if len({p.kind for p in asked}) == len(asked) > 1 and len(exactly.hits) == k:
        exact = by_index.method == "exact" or (by_index.method.startswith("exact over") and may_be_missed(asked))
        assert by_index.method.startswith("hybrid index") or exact, by_index
    assert [(h.image_id, h.rank) for h in by_index.hits] == [(h.image_id, h.rank) for h in exactly.hits]
    assert [h.score for h in by_index.hits] == pytest.approx([h.score for h in exactly.hits], abs=1e-6)


def test_a_question_of_several_kinds_goes_through_the_hybrid_index(mixed, monkeypatch):
    monkeypatch.setattr(strategy, "EXACT_BELOW", 0)
    monkeypatch.setattr(strategy, "_SCANNED", 1e9)
    asked = tuple(db.Part(kind, np.eye(DIMS, dtype=np.float32)[n], 1.0) for n, kind in enumerate(("prompt", "image", "clip_g")))
    answer = db.search(mixed, db.Question(parts=asked, k=10))
    assert answer.method.startswith("hybrid index, ") and answer.method.endswith("candidates compared exactly")


def test_with_too_many_images_beside_the_hybrid_index_the_kinds_are_searched_one_by_one(mixed, monkeypatch):
    monkeypatch.setattr(strategy, "EXACT_BELOW", 0)
    monkeypatch.setattr(strategy, "_SCANNED", 1e9)
    monkeypatch.setattr(hybrid, "TAIL_MOST", 3)
    mixed.execute("INSERT INTO hybrid_tail SELECT id FROM images ORDER BY id LIMIT 4")  # which the index has too
    asked = tuple(db.Part(kind, np.eye(DIMS, dtype=np.float32)[n], 1.0) for n, kind in enumerate(("prompt", "image", "clip_g")))
    answer = db.search(mixed, db.Question(parts=asked, k=5))
    mixed.rollback()
    assert answer.method == "candidates of each kind, compared exactly" and "not in the hybrid index yet" in answer.note


def test_more_than_the_hybrid_index_can_tell_are_found_exactly(mixed, monkeypatch):
    monkeypatch.setattr(strategy, "EXACT_BELOW", 0)
    monkeypatch.setattr(strategy, "_SCANNED", 1e9)
    asked = tuple(db.Part(kind, np.eye(DIMS, dtype=np.float32)[n], 1.0) for n, kind in enumerate(("prompt", "image", "clip_g")))
    monkeypatch.setattr(hybrid, "_MOST", 1000)
    answer = db.search(mixed, db.Question(parts=asked, k=800))
    assert answer.method == "exact" and "For the hybrid index to tell the best 800 images surely" in answer.note
