"""The definitions made one by one are those that ComfyUI's `/object_info` gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from host.bootstrap import REPOSITORY
from host.server import ComfyServer

MAKE = """
import asyncio, importlib.util, json, sys
path, target = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import nodes
asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=True))
spec = importlib.util.spec_from_file_location("definitions", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with open(target, "w") as file:
    json.dump(dict(module.node_definitions()), file)
"""


def test_each_entry_is_that_of_object_info(comfy_server: ComfyServer, tmp_path: Path):
    target = tmp_path / "made.json"
    command = [sys.executable, "-c", MAKE, str(REPOSITORY / "nodes" / "definitions.py"), str(target)]
    subprocess.run(command, cwd=comfy_server.comfyui, check=True, capture_output=True, timeout=300)
    made, theirs = json.loads(target.read_text("utf-8")), comfy_server.object_info()
    assert len(made) > 500
    # Combos list files, and this server has folders of its own.
    assert {name: different(made[name], theirs[name]) for name in made if different(made[name], theirs[name])} == {}


def different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    inputs = [("input", without_files(one["input"]), without_files(other["input"]))]
    rest = [(part, value, other.get(part)) for part, value in one.items() if part != "input"]
    return [part for part, ours, theirs in (*inputs, *rest) if ours != theirs]


def without_files(value: Any) -> Any:
    """A definition with the options of its combos left out where they are names of files."""
    if isinstance(value, dict):
        return {key: without_files(item) for key, item in value.items() if key not in ("options", "default")}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "strings"
    return [without_files(item) for item in value] if isinstance(value, list) else value


def test_the_orders_and_collapses_that_are_offered_are_those_that_the_library_takes(comfy_server: ComfyServer) -> None:
    """They stand in the nodes too, which may not import the library for their schema, and in the routes' requests."""
    from diffusion_toolkit.db import listing
    from diffusion_toolkit.db.search import answer
    from diffusion_toolkit.nodes.routes.schema import Search

    def offered(node: str, name: str) -> tuple[str, ...]:
        kind, options = comfy_server.object_info()[node]["input"]["required"][name]
        return tuple(options["options"] if kind == "COMBO" else kind)

    requests = Search.model_json_schema()["properties"]
    for name, taken in {"order": ("score", *answer._ORDERS), "collapse": answer._COLLAPSES}.items():
        assert offered("DiffusionToolkitSearchOptions", name) == taken == tuple(requests[name]["enum"])
    assert offered("DiffusionToolkitListImages", "order") == tuple(listing.ORDERS)
