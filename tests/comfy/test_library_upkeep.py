"""Library Upkeep in a real ComfyUI. It prunes nothing here: the library is that of all tests."""

from __future__ import annotations

import json

from host.node_graphs import index, node


def upkeep(server, **inputs) -> dict:
    given = {"library_name": "default", "action": "verify", "thorough": True, "even_if_all_are_gone": False, "unused_texts": False}
    graph = {"upkeep": node("DiffusionToolkitLibraryUpkeep", **{**given, **inputs})}
    graph["json"] = node("ProbeValues", values=["upkeep", 4])
    graph["report"] = node("ProbeValues", values=["upkeep", 1])
    return server.queue(graph).outputs


def test_a_library_is_verified_repaired_and_what_is_gone_is_shown(server, pictures):
    folder = pictures("upkeep", 3)
    server.queue(index(folder, clip=None, clip_vision=None, text_embedder=None))
    (server.output / folder / "0001.png").unlink()
    verified = upkeep(server)
    [text], [record] = verified["upkeep"]["text"], verified["upkeep"]["upkeep"]
    assert verified["report"]["values"] == [text] and json.loads(verified["json"]["values"][0]) == record
    output = next(files for files in record["files"] if files["path"] == str(server.output))
    assert output["mounted"] and output["gone"] >= 1 and record["unsound_vectors"] == record["damaged_token_states"] == {}
    shown = upkeep(server, action="show what prune would remove")["upkeep"]["upkeep"][0]
    assert f"output: {folder}/0001.png" in shown["pruned"]["named"] and shown["pruned"]["files"] >= 1
    repaired = upkeep(server, action="repair")["upkeep"]["upkeep"][0]
    assert any("Marked as missing in output" in line for line in repaired["done"])
    status = server.get("/diffusion_toolkit/status")
    assert any("gone when they were last looked for" in problem["what"] for problem in status["problems"])
