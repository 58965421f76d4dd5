"""Run Graph in a real ComfyUI: filled graphs make pictures, in the graph that runs or queued by themselves."""

from __future__ import annotations

import io
import json
import time

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from host import stand_in
from host.bootstrap import REPOSITORY
from host.client import PromptError
from host.node_graphs import node
from host.picture_graphs import PROMPT, fill, given, picture_graph, recall, run, saved_in
from PIL import Image


def test_the_images_own_graph_with_other_seeds_runs_in_one_queue_call_and_gives_its_pictures(server, heron):
    before = set(server.output.rglob("*"))
    outputs = server.queue(run(server, "in this graph", **fill(f"{heron}", variations=3))).outputs
    shown = outputs["show"]["images"]
    pixels = []
    for one in shown:
        with Image.open(io.BytesIO(server.view(one))) as picture:
            assert picture.size == (128, 64)
            pixels.append(picture.tobytes())
    assert len(set(pixels)) == 3
    assert set(server.output.rglob("*")) == before  # nothing is saved by itself


def test_the_images_own_seed_gives_the_image_again(server, heron):
    outputs = server.queue(run(server, "in this graph", **fill(f"{heron}", seeds="the image's own"))).outputs
    with Image.open(io.BytesIO(server.view(outputs["show"]["images"][0]))) as new, Image.open(next((server.output / "heron").glob("*.png"))) as old:
        assert new.tobytes() == old.tobytes()


def test_a_graph_that_is_queued_by_itself_saves_its_own_graph_with_the_picture(server, heron):
    folder = server.output / "heron"
    count = len(list(folder.glob("*.png")))
    graph = run(server, "queue it by itself", **fill(f"{heron}", seed=2**64 - 1, variations=2))
    graph["probe"] = node("ProbeValues", values=["run", 1])
    outputs = server.queue(graph).outputs
    queued = outputs["probe"]["values"]
    assert "show" not in outputs  # what hangs on the picture waits for none
    for prompt_id in queued:
        wait_for(server, prompt_id)
    new = sorted(folder.glob("*.png"))[count:]
    seeds = []
    for file in new:
        with Image.open(file) as picture:
            seeds.append(json.loads(picture.info["prompt"])["5"]["inputs"]["seed"])
        file.unlink()
    assert sorted(seeds) == [0, 2**64 - 1]


def wait_for(server, prompt_id: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not server.get(f"/history/{prompt_id}").get(prompt_id, {}).get("status", {}).get("completed"):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_what_comfyui_would_refuse_is_refused_before_it_runs(server):
    graph = picture_graph("refused", sampler_name="no such sampler")
    with pytest.raises(PromptError, match="can't run this graph(.|\n)*no such sampler"):
        server.queue(given(json.dumps(graph)))
    with pytest.raises(PromptError, match="has no node Nobody"):
        server.queue(given(json.dumps({**graph, "5": node("Nobody")})))
    with pytest.raises(PromptError, match="no JSON"):
        server.queue(given("a red fox"))
    with pytest.raises(PromptError, match="as the page saves it"):
        server.queue(given(json.dumps({"nodes": [], "links": []})))


def test_a_graph_that_runs_graphs_is_refused_so_that_none_runs_without_end(server):
    own = {"1": node("PrimitiveString", value="{}"), "2": node("DiffusionToolkitRunGraph", graph=["1", 0], run="in this graph")}
    with pytest.raises(PromptError, match="without end"):
        server.queue(given(json.dumps(own)))


def test_the_example_workflow_finds_an_image_and_makes_four_like_it(server, heron):
    """As it is shipped, but for the stand-in text embedder and the folder."""
    workflow = json.loads((REPOSITORY / "example_workflows" / "more_like_this.json").read_text(encoding="utf-8"))
    info = server.object_info()
    prompt, _ = stand_in.prepare(server, to_api(workflow, info), info)
    for one in prompt.values():
        if one["class_type"] == "DiffusionToolkitSearchByPrompt":
            one["inputs"] |= {"query": PROMPT, "filter_text": "folder:heron"}
    outputs = {prompt.get(key, {}).get("class_type", key): output for key, output in server.queue(prompt).outputs.items()}
    assert "4 filled graphs" in outputs["DiffusionToolkitFillTemplate"]["text"][0]
    assert len({server.view(one) for one in outputs["PreviewImage"]["images"]}) == 4
    assert "_workflow.json" in outputs["DiffusionToolkitRecallWorkflow"]["text"][0]


def test_of_a_list_with_a_refused_graph_none_is_queued(server, heron):
    bad = saved_in(server, "run-refused", {"prompt": picture_graph("run-refused", sampler_name="no such sampler")})
    count = len(list((server.output / "heron").glob("*.png")))
    asked = len(server.get("/history"))
    graph = {**fill(f"{heron} {bad}", missing="leave the names", seed=4242), "run": node("DiffusionToolkitRunGraph", graph=["fill", 0], run="queue it by itself")}
    with pytest.raises(PromptError, match="can't run this graph(.|\n)*no such sampler"):
        server.queue(graph)
    queue = server.get("/queue")
    assert not queue["queue_running"] and not queue["queue_pending"]
    assert len(server.get("/history")) == asked + 1 and len(list((server.output / "heron").glob("*.png"))) == count


def test_an_image_without_a_graph_is_passed_over_among_others_and_told(server, heron):
    saved = {"version": 0.4, "nodes": [{"id": 1, "type": "Nobody's", "inputs": [], "outputs": []}], "links": []}
    without = saved_in(server, "run-without", {"workflow": saved})
    graph = {**recall(f"{without} {heron}", save_as=""), "run": node("DiffusionToolkitRunGraph", graph=["recall", 2], run="in this graph")}
    done = server.queue({**graph, "show": node("PreviewImage", images=["run", 0])})
    assert len(done.outputs["show"]["images"]) == 1
    assert any(data["node"] == "run" and "Passed over" in data["text"] for kind, data in done.events if kind == "progress_text")
    assert f"Image {without} has a workflow that can't be queued here" in done.outputs["recall"]["text"][0]


def test_what_another_pack_makes_of_a_graph_as_it_is_queued_is_checked_too(server):
    graph = {
        "text": node("PrimitiveStringMultiline", value=json.dumps(picture_graph("handled", prompt="{stand-in: break it}"))),
        "run": node("DiffusionToolkitRunGraph", graph=["text", 0], run="queue it by itself"),
    }
    with pytest.raises(PromptError, match="can't run this graph(.|\n)*broken by another pack"):
        server.queue(graph)
