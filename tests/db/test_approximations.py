"""The library's map of token states: when it is to be fitted, on what, and which stored texts begin alike."""

from __future__ import annotations

import re

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.approximations import write_attempt
from diffusion_toolkit.embedders.conditioning.estimate import VERSION, Estimator
from host.comfy_models import import_comfy
from host.refusing_server import let_the_server_refuse

WIDTH = 8


@pytest.fixture(scope="module")
def nodes():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import approximate

    return approximate


@pytest.fixture
def encoders(conn, encoder) -> dict[str, int]:
    return {family: encoder(conn, family, dims=WIDTH) for family in ("token_states", "clip_l", "clip_g")}


def add(conn, encoders: dict[str, int], *texts: str, states: bool = True, vectors: bool = True) -> list[int]:
    ids = [db.ensure_text(conn, db.TextPair(text, text)) for text in texts]
    if vectors:
        for family in ("clip_l", "clip_g"):
            db.write_text_vectors(conn, encoders[family], ids, np.array([[1, id_, *[0] * (WIDTH - 2)] for id_ in ids], np.float32))
    if states:
        pooled = np.ones(4, np.float16)
        db.write_token_states(conn, encoders["token_states"], {id_: db.TokenStates(np.full((77, WIDTH), id_, np.float16), pooled) for id_ in ids})
    return ids


def made(**details) -> db.Approximation:
    return db.Approximation(b"vectors", b"text", {"fitted_on": 3, **details})


def test_a_fit_is_wanted_once_enough_texts_have_everything(conn, encoders):
    add(conn, encoders, "a", "b")
    add(conn, encoders, "c", states=False)
    add(conn, encoders, "d", vectors=False)
    add(conn, encoders, "")
    assert db.wanted_approximation(conn, 3) is None
    assert db.wanted_approximation(conn, 2).texts == 2


def test_it_is_wanted_again_when_the_texts_are_half_as_many_more(conn, encoders):
    add(conn, encoders, "a", "b", "c", "d")
    db.write_approximation(conn, db.wanted_approximation(conn, 2), made())
    add(conn, encoders, "e")
    assert db.wanted_approximation(conn, 2) is None
    add(conn, encoders, "f")
    assert db.wanted_approximation(conn, 2).texts == 6


def test_a_library_without_the_encoders_wants_none(conn, encoder):
    encoder(conn, "clip_l")
    assert db.wanted_approximation(conn, 0) is None
    assert db.approximation(conn) is None


def test_what_is_written_is_read_back_and_replaces_the_former(conn, encoders):
    add(conn, encoders, "a", "b")
    wanted = db.wanted_approximation(conn, 2)
    before = db.generation(conn)
    db.write_approximation(conn, wanted, made(vectors={"relative": 0.5}))
    db.write_approximation(conn, wanted, made(vectors={"relative": 0.25}))
    assert db.approximation(conn) == made(vectors={"relative": 0.25})
    assert db.approximation(conn, with_text=False).by_text is None
    assert db.generation(conn) != before


def test_a_map_serves_the_encoders_that_it_was_fitted_on_alone(conn, encoders, encoder):
    add(conn, encoders, "a", "b")
    db.write_approximation(conn, db.wanted_approximation(conn, 2), made())
    encoder(conn, "clip_g", "another", dims=WIDTH)
    assert db.approximation(conn) is None


def test_the_map_that_a_caller_has_is_not_read_again(conn, encoders):
    add(conn, encoders, "a", "b")
    wanted = db.wanted_approximation(conn, 2)
    db.write_approximation(conn, wanted, made())
    first = db.approximation(conn)
    again = db.approximation(conn, known=first.version)
    assert (again.by_vectors, again.by_text, again.version, again.details) == (None, None, first.version, first.details)
    db.write_approximation(conn, wanted, made())
    assert db.approximation(conn, known=first.version).by_vectors == b"vectors"


def test_a_map_of_another_version_is_not_taken_and_another_is_wanted(conn, encoders):
    add(conn, encoders, "a", "b")
    db.write_approximation(conn, db.wanted_approximation(conn, 2), made(version=1))
    assert db.approximation(conn, like={"version": 1}) and db.wanted_approximation(conn, 2, {"version": 1}) is None
    assert db.approximation(conn, like={"version": 2}) is None
    assert db.wanted_approximation(conn, 2, {"version": 2}).texts == 2


def test_an_attempt_that_came_to_nothing_waits_for_more_texts_and_keeps_the_map(conn, encoders):
    add(conn, encoders, "a", "b")
    wanted = db.wanted_approximation(conn, 2, {"version": 1})
    write_attempt(conn, wanted)
    assert db.approximation(conn) is None and db.wanted_approximation(conn, 2, {"version": 1}) is None
    assert db.wanted_approximation(conn, 2, {"version": 2}) is not None
    db.write_approximation(conn, wanted, made(version=1))
    add(conn, encoders, "c")
    write_attempt(conn, db.wanted_approximation(conn, 2, {"version": 1}))
    assert db.approximation(conn) == made(version=1) and db.wanted_approximation(conn, 2, {"version": 1}) is None


def test_a_sample_has_texts_vectors_and_states_aligned(conn, encoders):
    ids = add(conn, encoders, *(f"text {n}" for n in range(70)))
    found = list(db.sample_texts(conn, db.wanted_approximation(conn, 2), 66))
    assert len({sample.text.text_g for sample in found}) == 66
    by_text = dict(zip((f"text {n}" for n in range(70)), ids))
    for sample in found:
        text_id = by_text[sample.text.text_g]
        assert (sample.clip_l[1], sample.clip_g[1], sample.states[0, 0]) == (text_id, text_id, text_id)


def test_a_text_with_damaged_states_is_left_out_of_the_sample(conn, encoders):
    damaged, _, _ = add(conn, encoders, "a", "b", "c")
    conn.execute("UPDATE token_states SET checksum = sha256('x') WHERE text_id = %s", [damaged])
    assert {sample.text.text_g for sample in db.sample_texts(conn, db.wanted_approximation(conn, 2), 9)} == {"b", "c"}


def test_a_text_whose_states_the_server_cant_read_is_left_out_of_the_sample(conn, encoders):
    broken, _, _ = add(conn, encoders, "a", "b", "c")
    let_the_server_refuse(conn, broken)
    assert {sample.text.text_g for sample in db.sample_texts(conn, db.wanted_approximation(conn, 2), 9)} == {"b", "c"}


@pytest.mark.parametrize(
    "text, expected",
    [("a fox in the snow", "a fox in the rain"), ("a fox", "a fox in the rain"), ("b", "a tree"), ("A", "a bear"), ("a fox in the rain, oil", "a fox in the rain")],
)
def test_the_text_with_the_longest_common_beginning_is_among_the_two(conn, encoders, text, expected):
    add(conn, encoders, "a bear", "a fox in the rain", "a tree", "zebra")
    add(conn, encoders, "a fox in the snow", states=False)  # has nothing to give
    found = db.texts_that_begin_alike(conn, encoders["token_states"], text, "text_g")
    assert 1 <= len(found) <= 2
    assert expected in [pair.text_g for _, pair in found]


def test_beginnings_are_compared_on_the_side_that_is_asked_for(conn, encoders):
    text_id = db.ensure_text(conn, db.TextPair("zebra stripes", "a fox"))
    db.write_token_states(conn, encoders["token_states"], {text_id: db.TokenStates(np.ones((77, WIDTH), np.float16), np.ones(4, np.float16))})
    add(conn, encoders, "a fog", "a frog")

    def found(side: str) -> list[str]:
        return [pair.text_g for _, pair in db.texts_that_begin_alike(conn, encoders["token_states"], "a fox on ice", side)]

    assert found("text_l") == ["zebra stripes", "a frog"]
    assert found("text_g") == ["a fog", "a frog"]


def test_without_a_map_the_vectors_stand_everywhere_and_that_is_said(conn, encoders, nodes):
    clip_l, clip_g = np.full(768, 2, np.float32), np.full(1280, 3, np.float32)
    found = nodes.approximate(conn, clip_l, clip_g)
    assert found.states.shape == (77, 2048) and set(found.states[:, 0]) == {2} and set(found.states[:, -1]) == {3}
    assert "repeated at every position" in found.said and "16 texts" in found.said and not found.exact


def test_a_damaged_map_is_named_with_what_to_do(conn, encoders, nodes):
    add(conn, encoders, "a", "b")
    db.write_approximation(conn, db.wanted_approximation(conn, 2), made(version=VERSION))
    said = nodes.approximate(conn, np.ones(768, np.float32), np.ones(1280, np.float32)).said
    assert "damaged" in said and "DELETE FROM approximations" in said and "Index Folder" in said


def random_texts(library, encoders: dict[str, int], numbers: range) -> None:
    rng = np.random.default_rng(len(numbers))
    with library.connection() as conn:
        ids = [db.ensure_text(conn, db.TextPair(f"text {n}", f"text {n}")) for n in numbers]
        for family, width in (("clip_l", 768), ("clip_g", 1280)):
            db.write_text_vectors(conn, encoders[family], ids, rng.normal(size=(len(ids), width)))
        states = {id_: db.TokenStates(rng.normal(size=(77, 2048)).astype(np.float16), np.ones(1280, np.float16)) for id_ in ids}
        db.write_token_states(conn, encoders["token_states"], states)


def test_a_library_is_fitted_when_it_has_grown_and_not_before(library, encoder, nodes, monkeypatch):
    monkeypatch.setattr(nodes, "sections_of", lambda text: None)  # as without ComfyUI's tokenizer
    with library.connection() as conn:
        dims = {"token_states": 2048, "clip_l": 768, "clip_g": 1280}
        encoders = {family: encoder(conn, family, dims=width) for family, width in dims.items()}
    random_texts(library, encoders, range(15))
    assert nodes.refresh_approximation(library) == ""
    random_texts(library, encoders, range(15, 18))
    told = []
    assert re.fullmatch(
        r"fitted on 14 texts, relative error \d\.\d\d on 2 held-out texts, cosine -?\d\.\d{3}",
        nodes.refresh_approximation(library, lambda stage, done, total: told.append((stage, done <= total))),
    )
    assert {stage.split()[0] for stage, _ in told} == {"Reading", "Fitting"} and all(within for _, within in told)
    assert nodes.refresh_approximation(library) == ""
    read = []
    monkeypatch.setattr(Estimator, "from_bytes", lambda *parts, make=Estimator.from_bytes: read.append(1) or make(*parts))
    with library.connection() as conn:
        for _ in range(3):
            found = nodes.approximate(conn, np.ones(768, np.float32), np.ones(1280, np.float32), db.TextPair("a", "a"))
    assert read == [1]
    assert found.states.shape == (77, 2048) and found.said.startswith("APPROXIMATION, relative error") and "vectors alone" in found.said


def test_texts_too_short_to_fit_on_are_read_once_and_not_at_every_run(library, encoder, nodes, monkeypatch):
    with library.connection() as conn:
        encoders = {family: encoder(conn, family, dims=2048 if family == "token_states" else WIDTH) for family in ("token_states", "clip_l", "clip_g")}
        ids = add(conn, encoders, *(f"text {n}" for n in range(16)), states=False)
        db.write_token_states(conn, encoders["token_states"], {id_: db.TokenStates(np.ones((2, 2048)), np.ones(4)) for id_ in ids})
    assert nodes.refresh_approximation(library) == ""
    monkeypatch.setattr(db, "sample_texts", None)
    assert nodes.refresh_approximation(library) == ""


def test_a_cancelled_fit_leaves_nothing_and_is_made_the_next_time(library, encoder, nodes, monkeypatch):
    monkeypatch.setattr(nodes, "sections_of", lambda text: None)
    with library.connection() as conn:
        encoders = {family: encoder(conn, family, dims=width) for family, width in {"token_states": 2048, "clip_l": 768, "clip_g": 1280}.items()}
    random_texts(library, encoders, range(16))

    def cancel(stage: str, done: int, total: int) -> None:
        if stage.startswith("Fitting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nodes.refresh_approximation(library, cancel)
    with library.connection() as conn:
        assert db.approximation(conn) is None
    assert nodes.refresh_approximation(library).startswith("fitted on")
