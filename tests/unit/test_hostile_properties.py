"""What holds for whatever a file holds: no exception but the promised ones, answers of the types that are stated, text that PostgreSQL takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from diffusion_toolkit.embedders.graph import Settings, trace
from diffusion_toolkit.embedders.metadata import ImageMetadata, Pieces, interpret, read_metadata
from diffusion_toolkit.embedders.pictures.decode import ImageError, decode
from diffusion_toolkit.embedders.workflow import WorkflowError, readable, to_api
from host import hostile_strategies as drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

steady = settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def assert_storable(text: object) -> None:
    assert isinstance(text, str) and "\0" not in text
    text.encode("utf-8")  # raises where there is a lone surrogate


def assert_sound(found: ImageMetadata) -> None:
    """Fields have the types that are stated, and can be stored."""
    for pair in (found.prompt, found.negative):
        if pair is not None:
            assert isinstance(pair, tuple) and len(pair) == 2
            assert_storable(pair[0])
            assert_storable(pair[1])
    for origin in (found.prompt_origin, found.negative_origin, found.settings_origin):
        assert origin.confidence in ("exact", "inferred", "unknown")
        assert_storable(origin.where)
    for text in (
        found.generator,
        found.problem,
        *(getattr(found, name) for name in ("sampler", "scheduler", "checkpoint", "vae")),
    ):
        assert text is None or assert_storable(text) is None
    assert_sound_numbers(found)
    json.dumps({key: value for key, value in asdict(found).items() if key not in ("raw", "created")}, allow_nan=False)


def assert_sound_numbers(found: Settings) -> None:
    for name in ("seed", "steps", "width", "height"):
        value = getattr(found, name)
        assert value is None or (type(value) is int and 0 <= value < 2**64), (name, value)
    for name in ("cfg", "guidance", "denoise"):
        value = getattr(found, name)
        assert value is None or (isinstance(value, (int, float)) and math.isfinite(value)), (name, value)


@steady
@given(
    prompt=drawn.json_values | drawn.graphs,
    types=st.just({}) | st.dictionaries(st.sampled_from(["KSampler", "CLIPTextEncode"]), st.lists(st.text(max_size=4), max_size=3)),
)
def test_any_json_is_traced_or_a_value_error(prompt, types):
    try:
        found = trace(prompt, types=types, saved_as="a_00001_.png")
    except ValueError:  # it holds no nodes
        return
    assert_sound_numbers(found)
    for text in (*found.positive, *found.negative):
        assert len(text) == 2 and all(isinstance(half, str) for half in text)


@steady
@given(pieces=drawn.pieces, definitions=drawn.definitions)
def test_any_pieces_are_interpreted(pieces, definitions):
    assert_sound(interpret(Pieces(raw=dict(pieces), places=dict.fromkeys(pieces, "a test")), name="a.png", definitions=definitions))


@steady
@given(graph=drawn.graphs | drawn.json_values, workflow=drawn.workflows | drawn.json_values, definitions=drawn.definitions)
def test_any_graphs_are_interpreted(graph, workflow, definitions):
    raw = {key: json.dumps(value).encode() for key, value in (("prompt", graph), ("workflow", workflow))}
    assert_sound(interpret(Pieces(raw=raw, places=dict.fromkeys(raw, "a test")), name="a_00001_.png", definitions=definitions))
    del raw["prompt"]
    assert_sound(interpret(Pieces(raw=raw, places=dict.fromkeys(raw, "a test")), name="a_00001_.png", definitions=definitions))


@steady
@given(content=st.binary(max_size=200) | drawn.files.map(lambda drawn_: drawn_[1]))
def test_any_bytes_are_read(content):
    assert_sound(read_metadata(content, path=Path("a.png")))


@settings(steady, max_examples=20)
@given(drawn_=drawn.files)
def test_any_file_is_decoded_or_an_image_error(drawn_):
    try:
        pixels = decode(drawn_[1]).pixels
    except ImageError as error:
        assert_storable(str(error))
    else:
        assert pixels.ndim == 3 and pixels.shape[2] == 3


@steady
@given(workflow=drawn.workflows | drawn.json_values, definitions=drawn.definitions)
def test_any_workflow_is_read_or_a_value_error(workflow, definitions):
    try:
        read = readable(workflow, definitions)
        trace(read.prompt, types=read.types)
    except ValueError:  # no workflow, or one without nodes
        return


@pytest.mark.parametrize("value", [None, "a", 1, [], {}, {"nodes": []}])
def test_what_is_no_workflow_is_a_workflow_error_or_an_empty_prompt(value):
    try:
        assert to_api(value, drawn.DEFINITIONS) == {}
    except WorkflowError as error:
        assert str(error)
