"""The workflow converter gives what ComfyUI's own front end gives, over our examples and a broad choice of its templates."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from host.browser import ComfyPage
from host.handmade_workflows import HANDMADE
from host.server import ComfyServer

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "example_workflows").glob("*.json"))
HOW_MANY = 24  # with which the whole file takes about a minute; all of them agreed when this was written
MADE_BY_THE_PAGE = {"Load3D", "Load3DAdvanced", "Preview3DAdvanced", "WebcamCapture", "RecordAudio"}
KNOWN_FAULTS = {
    # Front end 1.47.12 moves the old promoted PrimitiveNodes of this one by stale socket numbers and ends with a model name
    # in `aspect_ratio`; the converter keeps the saved "16:9".
    "templates_graphic_design_recomposer.json",
}

Workflow = dict[str, Any]


def nodes_of(workflow: Workflow) -> Iterator[dict[str, Any]]:
    yield from workflow["nodes"]
    for definition in (workflow.get("definitions") or {}).get("subgraphs") or ():
        yield from nodes_of(definition)


def features(workflow: Workflow, object_info: dict[str, Any]) -> set[str]:
    """What a workflow has that a conversion can get wrong: node types, and how they are put together."""
    definitions = {d["id"]: d for d in (workflow.get("definitions") or {}).get("subgraphs") or ()}
    found = set()
    for node in nodes_of(workflow):
        kind = "subgraph" if node["type"] in definitions else node["type"]
        found |= {kind, f"{kind} in mode {node['mode']}" if node.get("mode") else kind}
        if (node.get("properties") or {}).get("proxyWidgets"):
            found.add("old promoted widgets")
        inputs = (object_info.get(kind) or {}).get("input") or {}
        found |= {str(raw[0]) for section in ("required", "optional") for raw in (inputs.get(section) or {}).values()}
    if any(node["type"] in definitions for d in definitions.values() for node in d["nodes"]):
        found.add("nested subgraph")
    return found


@pytest.fixture(scope="session")
def object_info(comfy_server: ComfyServer) -> dict[str, Any]:
    return comfy_server.object_info()


@pytest.fixture(scope="session")
def templates(object_info: dict[str, Any]) -> dict[str, Workflow]:
    """Of ComfyUI's own templates, those that together have the most features, greedily."""
    import comfyui_workflow_templates_json

    known = {*object_info, "Reroute", "PrimitiveNode", "Note", "MarkdownNote"}
    pool: dict[str, tuple[Workflow, set[str]]] = {}
    for path in sorted((Path(comfyui_workflow_templates_json.__file__).parent / "templates").glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if path.name in KNOWN_FAULTS or not isinstance(workflow, dict) or "nodes" not in workflow:
            continue
        subgraphs = {d["id"] for d in (workflow.get("definitions") or {}).get("subgraphs") or ()}
        types = {node["type"] for node in nodes_of(workflow)}
        if types - subgraphs <= known and not types & MADE_BY_THE_PAGE:
            pool[path.name] = (workflow, features(workflow, object_info))
    chosen: dict[str, Workflow] = {}
    covered: set[str] = set()
    while len(chosen) < HOW_MANY and pool:
        name = max(pool, key=lambda n: (len(pool[n][1] - covered), n))
        workflow, has = pool.pop(name)
        chosen[name] = workflow
        covered |= has
    assert {"subgraph", "nested subgraph", "old promoted widgets", "Reroute", "PrimitiveNode", "COMFY_AUTOGROW_V3",
            "COMFY_DYNAMICCOMBO_V3", "COMFY_MATCHTYPE_V3", "subgraph in mode 4"} <= covered  # fmt: skip
    return chosen


def plain(value: Any) -> Any:
    """Numbers as JavaScript has them: 1.0 is 1, and integers beyond 2^53 lose their last digits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def differences(name: str, page: ComfyPage, workflow: Workflow, object_info: dict[str, Any]) -> list[str]:
    """Where our prompt and the front end's differ, title aside (the front end translates it)."""
    page.load(workflow)
    theirs, ours = page.prompt(), to_api(workflow, object_info)
    found = [f"{name}: node {key} only in {'ours' if key in ours else 'theirs'}" for key in theirs.keys() ^ ours.keys()]
    for key in theirs.keys() & ours.keys():
        for part in ("class_type", "inputs"):
            one, other = plain(theirs[key][part]), plain(ours[key][part])
            if one != other:
                found.append(f"{name}: node {key} has {part} {one}, ours {other}")
    return found


def disturbed(workflow: Workflow, seed: int) -> Workflow:
    """The workflow with a fifth of its nodes muted or bypassed, inside subgraphs too."""
    workflow, chance = copy.deepcopy(workflow), random.Random(seed)
    for node in nodes_of(workflow):
        if chance.random() < 0.2:
            node["mode"] = chance.choice((2, 4, 4))
    return workflow


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_our_example_agrees(comfy_page: ComfyPage, object_info: dict[str, Any], path: Path):
    assert differences(path.name, comfy_page, json.loads(path.read_text(encoding="utf-8")), object_info) == []


def test_handmade_workflows_agree(comfy_page: ComfyPage, object_info: dict[str, Any]):
    found = [text for name, workflow in HANDMADE.items() for text in differences(name, comfy_page, workflow, object_info)]
    assert found == []


def test_templates_agree(comfy_page: ComfyPage, object_info: dict[str, Any], templates: dict[str, Workflow]):
    found = [text for name, workflow in templates.items() for text in differences(name, comfy_page, workflow, object_info)]
    assert found == []


def test_muted_and_bypassed_nodes_agree(comfy_page: ComfyPage, object_info: dict[str, Any], templates: dict[str, Workflow]):
    found = []
    for seed, (name, workflow) in enumerate(list(templates.items())[:8]):
        found += differences(name, comfy_page, disturbed(workflow, seed), object_info)
    assert found == []


def test_version_1_of_the_format_agrees(comfy_page: ComfyPage, object_info: dict[str, Any], templates: dict[str, Workflow]):
    found = []
    for name, workflow in list(templates.items())[:5]:
        comfy_page.load(workflow)
        as_version_1 = comfy_page.page.evaluate("() => JSON.parse(JSON.stringify(window.app.graph.asSerialisable()))")
        assert as_version_1["version"] == 1
        found += differences(name, comfy_page, as_version_1, object_info)
    assert found == []
