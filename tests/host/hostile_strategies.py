"""What hypothesis draws: JSON, graphs and workflows that look like real ones until one looks closer, bytes under known keys."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

from .hostile_graphs import CLASSES, LINKED, picture
from .hostile_workflows import DEFINITIONS, ui_node, ui_picture
from .sound_files import CARRIERS, GRAPH, PARAMETERS, WORKFLOW, mutated, sound_files

IDS = ["3", "4", "5", "6", "7", "8", "9", "10", "11", "12:1"]
texts = st.sampled_from(["a cat", "blurry", "", " ", "\0", "\ud800", "{a|b}", "<lora:x:1>", "%prompt%", "euler", "(" * 20]) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.sampled_from(["class_type", "inputs", *IDS]), inner, max_size=4),
    max_leaves=12,
)
links = st.tuples(st.sampled_from(IDS), st.integers(-1, 3)).map(list)
_NAMES = [*LINKED, "seed", "steps", "cfg", "guider", "sampler", "sigmas", "noise", "cond1", "cond2", "string_a", "string_b", "find", "replace", "regex_pattern",
          "switch", "on_true", "on_false", "value", "prompt", "filename_prefix", "lora_name", "ckpt_name", "control_net", "width", "strength"]  # fmt: skip
_nodes = st.builds(
    lambda kind, inputs: {"class_type": kind, "inputs": inputs},
    st.sampled_from(CLASSES) | texts,
    st.dictionaries(st.sampled_from(_NAMES), links | links | scalars | json_values, max_size=6),
)
graphs = st.dictionaries(st.sampled_from(IDS), _nodes, max_size=8).map(lambda drawn: {**picture(), **drawn})
"""A sound picture's graph with nodes put in or over it."""

_ui_links = st.integers(-1, 12) | st.none()
_ui_nodes = st.builds(
    lambda number, kind, inputs, outputs, widgets, mode: ui_node(number, kind, inputs, outputs, widgets if isinstance(widgets, list) else [widgets], mode=mode),
    st.integers(3, 12), st.sampled_from([*CLASSES, *DEFINITIONS, "PrimitiveNode", "SetNode", "GetNode", "Note", "sub", "workflow>g"]) | texts,
    st.lists(st.tuples(texts | st.sampled_from(_NAMES), st.sampled_from(["CONDITIONING", "STRING", "*", "MODEL", "IMAGE"]), _ui_links), max_size=3),
    st.lists(st.tuples(texts, st.sampled_from(["CONDITIONING", "STRING", "*", "LATENT"]), st.lists(st.integers(0, 12), max_size=2) | st.none()), max_size=2),
    st.lists(json_values, max_size=4) | st.dictionaries(texts, scalars, max_size=3), st.sampled_from([0, 2, 4, 1, None, "x"]),
)  # fmt: skip
_ui_link_rows = st.tuples(
    st.integers(0, 12),
    st.integers(2, 12),
    st.integers(-1, 2),
    st.integers(2, 12),
    st.integers(-1, 4),
    st.sampled_from(["CONDITIONING", "*", -1]),
).map(list)


def _workflow(nodes: list[Any], rows: list[Any], within: list[Any], odd: dict[str, Any]) -> dict[str, Any]:
    sound = ui_picture()
    replaced = {item["id"]: item for item in [*sound["nodes"], *nodes]}
    sub = {
        "id": "sub",
        "name": "sub",
        "nodes": within,
        "links": rows,
        "inputs": [{"name": "x", "type": "*", "linkIds": [1]}],
        "outputs": [],
        "inputNode": {"id": -10},
        "outputNode": {"id": -20},
    }
    group = {"nodes": within, "links": rows, "external": [], "config": {}}
    return {
        **sound,
        "nodes": list(replaced.values()),
        "links": [*sound["links"], *rows],
        "definitions": {"subgraphs": [sub]},
        "extra": {"groupNodes": {"g": group}},
        **odd,
    }


workflows = st.builds(
    _workflow,
    st.lists(_ui_nodes, max_size=4),
    st.lists(_ui_link_rows | json_values, max_size=5),
    st.lists(_ui_nodes | json_values, max_size=3),
    st.dictionaries(st.sampled_from(["definitions", "extra", "links", "nodes", "version", "groups"]), json_values, max_size=1),
)

KEYS = [*CARRIERS, "UserComment", "ImageDescription", "XPComment", "Software", "Make", "Artist", "xmp", "iptc:caption", "iptc:keywords", "jpeg:comment", "sidecar.txt", "sidecar.json", "sidecar.caption", "stealth",
        "comment", "fooocus_scheme", "dream"]  # fmt: skip
_said = [GRAPH, WORKFLOW, PARAMETERS, "prompt:" + GRAPH, "{}", "[]", '{"prompt": "a cat", "uc": "b"}', '{"sui_image_params": {"prompt": "a"}}', '{"positive_prompt": 1, "model": {}}', "a cat --ar 16:9 --v 6",
         '{"c": "a cat", "uc": "", "seed": 1}', '{"v4_prompt": {"caption": {"base_caption": "a", "char_captions": [{"char_caption": "b"}]}}}']  # fmt: skip
values = (
    st.binary(max_size=60)
    | st.sampled_from(_said).map(str.encode)
    | json_values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | st.builds(lambda said, seed: mutated(said.encode(), random.Random(seed)), st.sampled_from(_said), st.integers(0, 2**32))
)
pieces = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), values, max_size=4)
files = st.builds(
    lambda name, seed: (name, mutated(sound_files()[name], random.Random(seed))),
    st.sampled_from(sorted(sound_files())),
    st.integers(0, 2**32),
)
"""(name, content) of real pictures with bytes changed."""

definitions = st.just({}) | st.just(DEFINITIONS) | st.dictionaries(st.sampled_from(list(DEFINITIONS)), json_values, max_size=3)
