"""JSON that PostgreSQL refuses becomes JSON that it takes; all else goes through as it is."""

from __future__ import annotations

import json

import pytest
from diffusion_toolkit.db._clean import MAX_DEPTH, clean_json, json_or_none


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a": [1, 2.5, None, True], "ä": "😀"}, {"a": [1, 2.5, None, True], "ä": "😀"}),
        ({"a": "x\0y"}, {"a": "xy"}),
        ({"x\0y": 1}, {"xy": 1}),
        ({"a": "x\ud800y"}, {"a": "x?y"}),
        ([float("nan"), float("inf"), -float("inf"), 1.0], [None, None, None, 1.0]),
        ({"a": "a backslash and \\u0000"}, {"a": "a backslash and \\u0000"}),
        ((1, (2,)), [1, [2]]),
    ],
)
def test_what_postgresql_refuses_is_replaced_and_nothing_else(given, kept):
    text = clean_json(given)
    assert json.loads(text) == kept and text.isprintable() and text.encode()


def test_a_number_beyond_every_float_becomes_null():
    assert json_or_none(b'{"a": 1e999, "b": NaN}') == '{"a": null, "b": null}'


def test_json_is_refused_from_a_depth_on():
    assert json_or_none(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    assert json_or_none(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)) is None
    with pytest.raises(ValueError, match="too deep"):
        clean_json(json.loads("[" * 500 + "]" * 500))
