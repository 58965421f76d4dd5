"""Library Status in a real ComfyUI, on the node and over HTTP."""

from __future__ import annotations

import json
import os

from host.node_graphs import index, node


def status(server, **inputs) -> dict:
    graph = {"status": node("DiffusionToolkitLibraryStatus", **{"library_name": "default", **inputs})}
    graph["report"] = node("ProbeValues", values=["status", 1])
    graph["problems"] = node("ProbeValues", values=["status", 2])
    graph["json"] = node("ProbeValues", values=["status", 4])
    return server.queue(graph).outputs


def test_the_node_tells_counts_encoders_indexes_and_versions(server, pictures):
    server.queue(index(pictures("status", 2)))
    outputs = status(server)
    [text], [record] = outputs["status"]["text"], outputs["status"]["status"]
    assert outputs["report"]["values"] == [text] and json.loads(outputs["json"]["values"][0]) == record
    assert record["images"] >= 2 and f"{record['images']:,} images" in text
    assert {known["kind"] for known in record["coverage"]} == {"prompt", "negative", "image", "clip_l", "clip_g"}
    version = record["server"] if os.name == "nt" else "18"  # there an older one is whole
    assert "* text: stand-in-minilm [" in text and f"PostgreSQL {version}" in text and "On disk: vectors" in text and "Token states of " in text
    assert outputs["problems"]["values"] == [len(record["problems"])]
    [known] = [of for of in record["indexes"] if of["model"] == "stand-in-minilm" and not of["state"]]
    assert (known["kinds"], known["table"], known["name"][:13]) == (["prompt", "negative"], "text_vectors", "text_vectors_")
    assert f"  prompt and negative prompt by stand-in-minilm [{known['fingerprint'][:8]}]: {known['method']}, " in text
    assert f" ({known['name']})" in text


def test_it_runs_each_time_and_over_http_says_the_same(server, pictures):
    graph = {"status": node("DiffusionToolkitLibraryStatus", library_name="default")}
    server.queue(graph)
    assert "status" in server.queue(graph).executed
    over_http, on_node = server.get("/diffusion_toolkit/status"), status(server)["status"]["status"][0]
    sizes = ("bytes", "tables")  # they move by themselves
    assert {k: v for k, v in over_http.items() if k not in sizes} == {k: v for k, v in on_node.items() if k not in sizes}


def test_a_root_that_is_no_longer_configured_is_a_problem_with_its_remedy(server, config, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    config.write_text(json.dumps({"roots": {"usb": str(tmp_path)}}), encoding="utf-8")
    server.queue(index(root="usb"))
    config.unlink()
    problems = status(server)["status"]["status"][0]["problems"]
    [problem] = [problem for problem in problems if str(tmp_path) in problem["what"]]
    assert "no configured folder now" in problem["what"] and "config.json" in problem["remedy"]
