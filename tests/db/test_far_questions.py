"""What lies farther from all than stored vectors lie from one another is searched farther: a graph misses many of its best."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.indexes.effort import try_grown
from diffusion_toolkit.db.records import StoredEncoder
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import SHAPES, Direction, Source, state_of
from diffusion_toolkit.db.search.one_kind import lies_far

DIMS, ROWS = 16, 3000
CENTRES = np.eye(DIMS, dtype=np.float32)[:4]
BETWEEN = db.Part("image", CENTRES.sum(axis=0), fingerprint="aa")  # at a cosine of .5 with each cluster
INSIDE = db.Part("image", CENTRES[0], fingerprint="aa")


@pytest.fixture
def encoder_id(library, encoder, image, monkeypatch):
    """An image encoder with four narrow clusters, whose index was made and tried."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1000)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0.1)
    with library.connection() as conn:
        encoder_id = encoder(conn, "image", dims=DIMS)
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [replace(image(n), steps=n // len(CENTRES) % 2) for n in range(ROWS)])
        noise = np.random.default_rng(1).normal(size=(ROWS, DIMS)) / DIMS**0.5
        db.write_image_vectors(conn, encoder_id, ids, CENTRES[np.arange(ROWS) % len(CENTRES)] + 0.3 * noise)
    db.set_index(library, encoder_id, "hnsw")
    return encoder_id


def source_of(library):
    with library.connection() as conn:
        return next(source for source in state_of(conn).sources)


def effort_for(library, part, filter=None) -> str:
    with library.connection() as conn:
        assert db.search(conn, db.Question(parts=(part,), k=10, filter=filter)).method.startswith("index")
        return conn.execute("SHOW hnsw.ef_search").fetchone()[0]


def test_the_trial_tells_how_near_nearly_all_stored_vectors_are_to_others(library, encoder_id):
    with library.connection() as conn:
        stored = np.array([row[0].to_numpy() for row in conn.execute("SELECT embedding FROM image_vectors")], np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    noise = np.random.default_rng(2).normal(size=(500, DIMS))
    asked = stored[:500] + 0.3 * noise / np.linalg.norm(noise, axis=1, keepdims=True)  # as the trial's questions are
    tenth = np.sort(asked @ stored.T / np.linalg.norm(asked, axis=1, keepdims=True), axis=1)[:, -10]
    assert source_of(library).reached == pytest.approx(np.quantile(tenth, 0.05), abs=0.01)


def test_what_lies_far_from_all_is_searched_farther(library, encoder_id):
    some = db.parse_filter("steps:1")
    efforts = [effort_for(library, part, filter) for filter in (None, some) for part in (INSIDE, BETWEEN)]
    assert efforts == ["100", "400", "100", "400"]


def test_a_trial_by_a_former_version_is_good_until_the_next_run_makes_another(library, encoder_id):
    told = json.dumps({"rows": ROWS, "efforts": dict.fromkeys(SHAPES, 100)})
    with library.connection() as conn:
        conn.execute(f"COMMENT ON INDEX image_vectors_hnsw_{encoder_id} IS '{told}'")
        db.bump_generation(conn)
    assert source_of(library).reached is None and effort_for(library, BETWEEN) == "100"
    assert try_grown(library) == 1 and effort_for(library, BETWEEN) == "400"
    assert try_grown(library) == 0


@pytest.mark.parametrize(
    ("scores", "weight", "constant", "filtered", "far"),
    [
        ([0.49] * 10, 1, 0, False, True),
        ([0.9 - n / 100 for n in range(9)] + [0.51, 0.4], 1, 0, False, False),
        ([0.9 - n / 100 for n in range(9)] + [0.49], 1, 0, False, True),
        ([0.9 - n / 100 for n in range(9)] + [0.49], 1, 0, True, False),  # of a filter it is the nearest that tells
        ([0.49], 1, 0, True, True),
        ([0.9] * 20 + [0.4], 1, 0, False, True),  # twenty images of one text are one vector
        ([0.9] * 20 + [0.8 - n / 100 for n in range(9)] + [0.4], 1, 0, False, False),
        ([1.0], 2, 0.1, False, True),  # a cosine of .45
        ([1.2], 2, 0.1, False, False),
        ([], 1, 0, False, False),
    ],
)
def test_the_tenth_of_the_vectors_found_tells_whether_a_question_lies_far(scores, weight, constant, filtered, far):
    source = Source(StoredEncoder(1, "image", "aa", "a model", DIMS, {}, True), ROWS, "hnsw", reached=0.5)
    direction = Direction("image", source, CENTRES[0].astype(np.float16), weight, constant)
    found = list(enumerate(scores))
    assert lies_far(direction, found, filtered) == far
    assert lies_far(replace(direction, shape="far"), found, filtered) == far
    assert not lies_far(replace(direction, shape="between"), found, filtered)
    assert not lies_far(replace(direction, source=replace(source, reached=None)), found, filtered)
