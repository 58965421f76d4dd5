"""What is near in one kind alone is found among several, though the short vectors of the index over all tell a part of that nearness."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.hybrid import candidates, held, missed, whole
from diffusion_toolkit.db.hybrid.build import build_hybrid
from diffusion_toolkit.db.hybrid.candidates import ready_hybrid
from diffusion_toolkit.db.hybrid.refresh import refresh_hybrid
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import directions_of, sources_of, state_of
from diffusion_toolkit.db.search.one_kind import nearest_narrowly
from host.hybrid_library import parts_of, read_whole

COMPARED = 25


@pytest.fixture
def shortened(library, fill, three_kinds, monkeypatch):
    """Images whose rows keep two of eight components of a kind, with an index of each kind; returns ids, and vectors by kind. No more candidates
    are compared than the index's trial called for.

    So many that each kind is asked by its own index, also once autovacuum has counted their texts.
    """
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0)
    monkeypatch.setattr(missed, "MISSED", np.inf)
    ids, vectors = fill(1100)
    build_hybrid(library, components=2)
    for encoder in three_kinds.values():
        db.set_index(library, encoder, "hnsw")
    return ids, vectors


@pytest.fixture
def compare_few(library):
    """Call it once the index is there: so few candidates are compared, whatever its trial called for."""

    def few():
        with library.connection() as conn:
            details = conn.execute("SELECT details FROM hybrids").fetchone()[0]
            forced = {"candidates": dict.fromkeys(details["candidates"], COMPARED), "recalls": dict.fromkeys(details["recalls"], 1)}
            conn.execute("UPDATE hybrids SET details = details || %s::jsonb", [json.dumps(forced)])
            db.bump_generation(conn)

    return few


@pytest.fixture(params=["indexes", "memory"])
def looked_at(request, library, monkeypatch):
    """Call it once all is there: the nearest are told by the kinds' own indexes, or by the vectors in memory alone."""
    if request.param == "indexes":
        monkeypatch.setattr(whole, "_ASKED", 10**9)
        return lambda: None

    def in_memory():
        read_whole(library)
        monkeypatch.setattr(strategy, "nearest_narrowly", None)

    return in_memory


@pytest.mark.parametrize(
    "weights", [{"prompt": 1.0, "image": -0.3}, {"image": 1.0, "prompt": 0.5}, {"clip_g": 1.0, "image": 0.1, "prompt": -0.1}], ids=str
)
def test_the_very_prompt_or_picture_is_the_first_hit(library, shortened, compare_few, looked_at, weights):
    ids, vectors = shortened
    compare_few()
    looked_at()
    main, checked = max(weights, key=weights.get), 0
    with library.connection() as conn:
        for place in range(0, len(ids), 20):
            parts = [part if part.kind != main else db.Part(main, vectors[main][place], part.weight) for part in parts_of(weights, place)]
            found, exactly = (db.search(conn, db.Question(parts=tuple(parts), k=5, exact=exact)) for exact in (False, True))
            assert found.method == f"hybrid index, {COMPARED} candidates compared exactly"
            if exactly.hits[0].image_id == ids[place]:  # else another fits both kinds better
                assert found.hits[0].image_id == ids[place]
                assert found.hits[0].score == pytest.approx(exactly.hits[0].score, abs=1e-4)
                checked += 1
    assert checked > 10


def unkept(vectors: np.ndarray) -> np.ndarray:
    """A vector of which the short vectors keep nothing."""
    return np.linalg.eigh(vectors.T @ vectors)[1][:, 0]


def test_of_the_many_images_of_a_prompt_those_that_look_like_the_picture_are_found(library, shortened, compare_few, looked_at, image, three_kinds):
    """None of them is left out for coming late among its equals."""
    _, vectors = shortened
    picture, prompt = vectors["image"][7], unkept(vectors["prompt"])
    with library.connection() as conn:
        root, text = db.ensure_root(conn, "output", "/pictures"), db.TextPair("the same prompt", "")
        same = db.write_images(conn, root, [image(2000 + n, prompt=text) for n in range(60)])
        db.write_text_vectors(conn, three_kinds["text"], [db.find_text(conn, text)], prompt[None])
        looks = np.random.default_rng(5).normal(size=(60, len(picture)))
        looks[-10:] = picture + 0.05 * looks[-10:]
        db.write_image_vectors(conn, three_kinds["image"], same, looks)
    assert refresh_hybrid(library) == "60 images added to the hybrid index"
    compare_few()
    looked_at()
    parts = (db.Part("prompt", prompt, 1.0), db.Part("image", picture, 0.5))
    with library.connection() as conn:
        hits = db.search(conn, db.Question(parts=parts, k=10)).hits
    assert {hit.image_id for hit in hits} == set(same[-10:])


def test_a_near_text_is_told_of_all_its_images(library, fill, image, monkeypatch):
    """Also of those that have no place among the looked at: to short vectors they are all alike."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0)
    ids, vectors = fill(100)
    with library.connection() as conn:
        root, text = db.ensure_root(conn, "output", "/pictures"), db.TextPair("text 7", "")
        more = db.write_images(conn, root, [image(1000 + n, prompt=text) for n in range(200)])
    build_hybrid(library, components=2)
    read_whole(library)
    with library.connection() as conn:
        parts = (db.Part("prompt", vectors["prompt"][7]),)
        [prompt] = directions_of(parts, sources_of(state_of(conn), parts), [1], [0])
        rows = held.held(conn, ready_hybrid(conn))
    matrix, at = rows.projection.matrices[0], np.array([7, 8])
    told = rows.whole.vectors.nearest(prompt, matrix, np.array(ids)[at], vectors["prompt"][at] @ matrix, at)
    cosines = dict(zip(*map(np.ndarray.tolist, told)))
    assert set(cosines) == {ids[7], ids[8], *more} and {image_id for image_id, cosine in cosines.items() if cosine > 0.999} == {ids[7], *more}


def test_what_was_added_since_the_vectors_were_read_is_found_by_the_indexes(library, shortened, compare_few, image, three_kinds):
    _, vectors = shortened
    prompt = unkept(vectors["prompt"])
    compare_few()
    read_whole(library)
    with library.connection() as conn:
        text = db.TextPair("a new prompt", "")
        [new] = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(2000, prompt=text)])
        db.write_text_vectors(conn, three_kinds["text"], [db.find_text(conn, text)], prompt[None])
    assert refresh_hybrid(library) == "1 image added to the hybrid index"
    with library.connection() as conn:
        found = db.search(conn, db.Question(parts=(db.Part("prompt", prompt), db.Part("image", vectors["image"][7], 0.1)), k=10))
    assert found.method == f"hybrid index, {COMPARED} candidates compared exactly" and found.hits[0].image_id == new


@pytest.fixture
def another_sort(library, shortened, compare_few, image, three_kinds):
    """Ids of two images with rating 1 of whose look the short vectors, fitted before they came, keep nothing, and a question for it. In a new process."""
    _, vectors = shortened
    look = unkept(vectors["image"])
    with library.connection() as conn:
        new = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(2000), image(2001)])
        db.write_image_vectors(conn, three_kinds["image"], new, np.stack([look, look]))
        conn.execute("UPDATE images SET rating = CASE WHEN id = ANY(%s) THEN 1 ELSE 2 END", [new])
        conn.execute("ANALYZE images")
    assert refresh_hybrid(library) == "2 images added to the hybrid index"
    compare_few()
    held._held.clear()
    read_whole(library)
    return new, (db.Part("image", look), db.Part("prompt", vectors["prompt"][7], 0.1))


def test_what_came_since_the_index_was_made_is_compared_whatever_its_short_vectors_tell(library, another_sort, monkeypatch):
    monkeypatch.setattr(strategy, "nearest_narrowly", None)
    monkeypatch.setattr(whole, "_LOOKED", 10)
    new, parts = another_sort
    with library.connection() as conn:
        found = db.search(conn, db.Question(parts=parts, k=10))
    assert "hybrid index" in found.method and [hit.image_id for hit in found.hits[:2]] == new


def test_where_much_came_since_or_a_filter_is_asked_the_indexes_tell_what_is_near(library, another_sort, monkeypatch):
    new, parts = another_sort
    with library.connection() as conn:
        passing, others = (db.search(conn, db.Question(parts=parts, k=10, filter=db.parse_filter(f"rating:{rating}"))) for rating in (1, 2))
        assert [hit.image_id for hit in passing.hits] == new
        assert not {hit.image_id for hit in others.hits} & set(new) and "hybrid index" in others.method
        monkeypatch.setattr(candidates, "_FEW_ADDED", 1)
        found = db.search(conn, db.Question(parts=parts, k=10))
        assert [hit.image_id for hit in found.hits[:2]] == new
        monkeypatch.setattr(strategy, "nearest_narrowly", lambda *_: [])
        assert not {hit.image_id for hit in db.search(conn, db.Question(parts=parts, k=10)).hits[:2]} & set(new)  # else this tells nothing


def test_images_that_were_written_anew_are_found_in_memory(library, shortened, compare_few, three_kinds, monkeypatch):
    """Their rows come last in the index, and all others move up."""
    ids, vectors = shortened
    anew = list(range(3, 300, 3))
    for place in anew:
        vectors["image"][place] = -vectors["image"][place]
    with library.connection() as conn:
        conn.execute("DELETE FROM image_vectors WHERE image_id = ANY(%s)", [[ids[place] for place in anew]])
        db.write_image_vectors(conn, three_kinds["image"], [ids[place] for place in anew], vectors["image"][anew])
    refresh_hybrid(library)
    compare_few()
    read_whole(library)
    monkeypatch.setattr(strategy, "nearest_narrowly", None)
    with library.connection() as conn:
        for place in (0, 3, 4, 299, 300, 1000):
            parts = (db.Part("image", vectors["image"][place]), *parts_of({"prompt": 0.01}))
            assert db.search(conn, db.Question(parts=parts, k=5)).hits[0].image_id == ids[place]


def test_each_kind_is_asked_by_its_own_index_and_equals_come_together(library, shortened):
    ids, vectors = shortened
    parts = (db.Part("prompt", vectors["prompt"][3]), db.Part("image", vectors["image"][4]))
    with library.connection() as conn:
        directions = directions_of(parts, sources_of(state_of(conn), parts), [1.0, 1.0], [0.0, 0.0])
        by_prompt, by_image = (nearest_narrowly(conn, direction) for direction in directions)
    assert [by_prompt[0][0], by_image[0][0]] == [ids[3], ids[4]] and by_prompt[0][1] == pytest.approx(1, abs=1e-3)
    cosines = dict(zip(ids, vectors["image"] @ vectors["image"][4]))
    assert [cosine for _, cosine in by_image] == pytest.approx([cosines[image_id] for image_id, _ in by_image], abs=2e-3)
    assert len(by_image) == len(by_prompt) == 16


@pytest.mark.parametrize(
    "weights, asked",
    [
        ({"prompt": 0.4, "image": 0.3, "clip_g": 0.35}, ["prompt", "clip_g"]),
        ({"prompt": 0.3, "image": 1.0}, ["image"]),
        ({"prompt": -1.0, "image": 0.5}, ["image"]),
        ({"prompt": -1.0, "image": 0.4}, []),
    ],
    ids=str,
)
def test_those_that_count_most_are_asked(library, shortened, monkeypatch, weights, asked):
    kinds = []
    monkeypatch.setattr(strategy, "nearest_narrowly", lambda conn, direction: kinds.append(direction.kind) or [])
    with library.connection() as conn:
        assert "hybrid index" in db.search(conn, db.Question(parts=parts_of(weights), k=5)).method
    assert kinds == asked
