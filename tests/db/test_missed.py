"""So many candidates are compared that hardly any of the best is missed, however far from all a question lies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.hybrid import candidates, missed
from diffusion_toolkit.db.hybrid.build import build_hybrid
from diffusion_toolkit.db.hybrid.missed import Told
from diffusion_toolkit.db.hybrid.tail import note_images
from diffusion_toolkit.db.search import strategy
from host.hybrid_library import parts_of, read_whole

COMPARED = 75
MIXES = ({"prompt": 1.0, "image": 1.0, "clip_g": 1.0}, {"prompt": 40.0, "image": -20.0}, {"prompt": -0.1, "image": -0.1, "clip_g": -0.1}, {"clip_g": -1.0})


def told(rng: np.random.Generator, off: float, more: float = 0.0, compared: int = 100, count: int = 10_000) -> tuple[Told, dict[int, float]]:
    """What short vectors that are `off` by so much, and by so much `more` for all, tell of as many images, the best first, and the true score of each."""
    short = np.sort(rng.normal(size=count))[::-1]
    ids, true = np.arange(count), short + more + off * rng.normal(size=count)
    return Told(ids[:compared], short[:compared], short[compared:], ids[compared:]), dict(enumerate(true.tolist()))


def count_missed(true: dict[int, float], compared: int, n: int) -> int:
    return sum(image_id >= compared for image_id in sorted(true, key=true.get)[-n:])


@pytest.mark.parametrize("off, more", [(0.1, 0), (0.3, 0), (0.6, 0), (0.3, 1)])
def test_as_many_are_needed_as_leave_one_of_a_hundred_out(off, more):
    rng, few, enough = np.random.default_rng(1), [], []
    for _ in range(60):
        seen, true = told(rng, off, more)
        needed = seen.more_needed({image_id: true[image_id] for image_id in seen.ids.tolist()}.items(), 50)
        few.append(count_missed(true, 100 + max(0, needed // 2 - 20), 50))
        enough.append(count_missed(true, 100 + needed, 50))
    assert np.mean(enough) <= 2 * 0.01 * 50  # twice, since some have nothing to gain
    assert off == 0.1 or np.mean(few) > 2 * np.mean(enough) + 0.2


def test_none_are_needed_where_short_vectors_tell_all():
    """Also of those that are as good as the last."""
    seen, true = told(np.random.default_rng(2), 0.0)
    assert seen.more_needed(true.items(), 100) == 0
    equal = Told(np.arange(100), np.full(100, 0.3), np.full(800, 0.3), np.arange(100, 900))
    assert equal.more_needed([(n, 0.3) for n in range(100)], 50) == 0
    assert Told(seen.ids, seen.scores, seen.rest[:0], seen.following).more_needed([], 50) == 0


def test_all_are_needed_where_too_few_are_there():
    seen, true = told(np.random.default_rng(3), 0.1)
    assert seen.more_needed([(image_id, true[image_id]) for image_id in range(40)], 50) == len(seen.rest)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_scale_of_the_weights_makes_no_difference(scale):
    seen, true = told(np.random.default_rng(4), 0.3)
    scaled = Told(seen.ids, seen.scores * scale, seen.rest * scale, seen.following)
    found = [(image_id, true[image_id] * scale) for image_id in seen.ids.tolist()]
    assert scaled.more_needed(found, 50) == seen.more_needed([(image_id, true[image_id]) for image_id in seen.ids.tolist()], 50) > 100


@pytest.fixture
def library_of_random_vectors(library, fill, monkeypatch):
    """Images near to nothing, whose rows keep six of eight components; so few candidates are compared at first, and the vectors are in memory."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0)
    monkeypatch.setattr(candidates, "_DEARER", 1)
    ids, _ = fill(2000)
    build_hybrid(library, components=6)
    with library.connection() as conn:
        details = conn.execute("SELECT details FROM hybrids").fetchone()[0]
        forced = {"candidates": dict.fromkeys(details["candidates"], COMPARED), "recalls": dict.fromkeys(details["recalls"], 1)}
        conn.execute("UPDATE hybrids SET details = details || %s::jsonb", [json.dumps(forced)])
        conn.execute("UPDATE images SET rating = 1 + id % 3")
        conn.execute("ANALYZE images")
        note_images(conn, ids[::10])  # as if they had another prompt now: they are in the index, and beside it
        db.bump_generation(conn)
    return library


def recall(library, weights: dict[str, float], filter_text: str) -> tuple[float, set[str]]:
    found, methods, chosen = [], set(), db.parse_filter(filter_text)
    for seed in range(12):
        with library.reading() as conn:
            asked = (db.Question(parts=parts_of(weights, seed), k=50, filter=chosen, exact=exact) for exact in (False, True))
            ours, best = (db.search(conn, question) for question in asked)
        methods.add(ours.method)
        assert len({hit.image_id for hit in ours.hits}) == 50
        found.append(np.mean([hit.score >= best.hits[-1].score - 1e-5 for hit in ours.hits]))
    return float(np.mean(found)), methods


@pytest.mark.parametrize("filter_text", ["", "rating:2"], ids=["all", "filtered"])
@pytest.mark.parametrize("told_by", ["postgresql", "memory"])
def test_the_best_are_found_also_where_the_trial_called_for_too_few(library_of_random_vectors, filter_text, told_by, monkeypatch):
    if told_by == "memory":
        read_whole(library_of_random_vectors)
    ours = [recall(library_of_random_vectors, weights, filter_text) for weights in MIXES]
    monkeypatch.setattr(missed, "MISSED", np.inf)
    few = [recall(library_of_random_vectors, weights, filter_text) for weights in MIXES]
    assert all(share >= 0.97 for share, _ in ours) and any(share < 0.9 for share, _ in few)


@pytest.mark.parametrize("filter_text, method", [("", "exact"), ("rating:2", "exact over 667 filtered images")])
def test_all_are_compared_where_too_many_would_be(library_of_random_vectors, monkeypatch, filter_text, method):
    monkeypatch.setattr(candidates, "_DEARER", 10)
    share, methods = recall(library_of_random_vectors, MIXES[3], filter_text)
    assert share >= 0.97 and method in methods
