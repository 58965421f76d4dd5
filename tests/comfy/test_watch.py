"""Watching in a real ComfyUI: what it saves is indexed when its queue is empty."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from diffusion_toolkit.nodes.indexing.watched_prompts import PREFIX
from host import stand_in
from host.bootstrap import REPOSITORY
from host.node_graphs import index, node
from host.picture_graphs import ids_of

FOLDER, NODE = "watched", "4"  # of the example


def saving(color: int) -> dict[str, Any]:
    """A graph that saves a picture in the watched folder."""
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=f"{FOLDER}/new/flat"),
    }


def watch_runs(server, of: str = NODE) -> list[dict[str, Any]]:
    """The runs of this node's watch that ComfyUI's history holds, once there is one."""
    end = time.monotonic() + 60
    while True:
        runs = [entry for entry in server.get("/history").values() if PREFIX + of in entry["prompt"][2]]
        if runs or time.monotonic() > end:
            return runs
        time.sleep(0.2)


@pytest.fixture
def watching(server, pictures) -> Iterator[str]:
    """The report of the example that watches."""
    pictures(FOLDER, 1)
    workflow = json.loads((REPOSITORY / "example_workflows" / "watch_folder.json").read_text(encoding="utf-8"))
    info = server.object_info()
    prompt, _ = stand_in.prepare(server, to_api(workflow, info), info)
    prompt[NODE]["inputs"].update(subfolder=FOLDER, watch_after=1)
    yield server.queue(prompt).outputs[NODE]["text"][0]
    server.queue(index(FOLDER, watch=False))


def test_what_comfyui_saves_is_indexed_until_the_folder_is_queued_with_watch_off(server, watching):
    assert watching.startswith("Watching: images that ComfyUI saves here are indexed")
    server.queue(saving(1))
    [run] = watch_runs(server)
    assert run["status"]["completed"], run["status"]
    assert "Found 1 image:" in (said := run["outputs"][PREFIX + NODE]["text"][0]) and "1 added" in said
    assert server.queue(saving(1)).executed == []  # what was cached is so still
    assert len(ids_of(server, FOLDER)) == 2
    status = server.queue({"status": node("DiffusionToolkitLibraryStatus", library_name="default")}).outputs["status"]
    assert f"Watched by Index Folder: {server.output / FOLDER}." in status["text"][0]
    assert server.get("/diffusion_toolkit/status")["watched"] == status["status"][0]["watched"] == [str(server.output / FOLDER)]
    assert "Watched at" in said and "until this is queued with watch off" in said
    said = server.queue(index(FOLDER, watch=False)).outputs["index"]["text"][0]
    assert f"No longer watched: {server.output / FOLDER}." in said
    server.queue(saving(2))
    time.sleep(3.5)
    assert len(watch_runs(server)) == 1


def test_what_a_program_saved_that_removes_its_history_at_once_is_indexed_too(server, watching):
    """As many do over the API, to keep the history short."""

    def known() -> int:  # not by a prompt, which a watch would hear of
        return server.get(f"/diffusion_toolkit/images?filter=folder:{FOLDER}")["total"]

    time.sleep(4)  # what the example's own run shows of the folder begins a run of the watch
    before, end = known(), time.monotonic() + 60
    prompt_id = server.post("/prompt", {"prompt": saving(3)})["prompt_id"]
    while prompt_id not in server.get("/history"):
        assert time.monotonic() < end
    server.post("/history", {"delete": [prompt_id]})
    while known() == before:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert known() == before + 1


def test_a_folder_that_is_not_there_yet_is_watched(server):
    folder, light = "watched_later/2026", {"clip": None, "clip_vision": None, "text_embedder": None}
    said = server.queue(index(folder, **light, watch=True, watch_after=1)).outputs["index"]["text"][0]
    assert said.startswith(f"There is no folder {folder!r} in output yet.\nWatching: images that ComfyUI saves here")
    assert not (server.output / folder).exists()
    above = "watched_later"
    server.queue(index(above, **light, watch=True, watch_after=1, pattern="*.webp"))
    said = server.queue(index(folder, **light, watch=False)).outputs["index"]["text"][0]
    assert f"No longer watched: {server.output / folder}.\nStill watched, as a part of {server.output / above} (only *.webp):" in said
    server.queue(index(above, **light, watch=False))
    server.queue(index(folder, **light, watch=True, watch_after=1))
    flat = node("EmptyImage", width=64, height=64, batch_size=1, color=77)
    server.queue({"1": flat, "2": node("SaveImage", images=["1", 0], filename_prefix=f"{folder}/flat")})
    [run] = watch_runs(server, "index")
    server.queue(index(folder, **light, watch=False))
    assert "1 added" in run["outputs"][PREFIX + "index"]["text"][0] and len(ids_of(server, folder)) == 1


def test_a_folder_into_which_comfyui_saves_nothing_is_not_watched(server):
    said = server.queue(index(root="input", watch=True, clip=None, clip_vision=None, text_embedder=None)).outputs["index"]["text"][0]
    assert said.startswith("Not watched: ComfyUI saves nothing here")


def test_a_watch_is_left_be_by_another_workflow_and_ended_by_its_own_that_gets_a_list(server, pictures):
    folder, light = pictures("watched until listed", 1), {"clip": None, "clip_vision": None, "text_embedder": None, "watch": True}

    def run(workflow, **more):
        extra = {"extra_pnginfo": {"workflow": {"id": f"{workflow} watched until listed"}}}
        return server.queue(index(folder, **{**light, **more}), extra_data=extra).outputs["index"]["text"][0]

    assert "Watching" in run("one")
    said = run("two", watch=False)
    assert "Still watched: another Index Folder node has begun that" in said and "No longer" not in said
    (server.output / folder / "list.txt").write_text("0000.png\n", encoding="utf-8")
    said = run("one", image_list=f"{folder}/list.txt")
    status = server.queue({"status": node("DiffusionToolkitLibraryStatus", library_name="default")}).outputs["status"]
    watched = [line for line in status["text"][0].splitlines() if line.startswith("Watched by Index Folder")]
    assert said.startswith("Not watched: a list") and f"No longer watched: {server.output / folder}." in said
    assert folder not in "".join(watched)  # as a folder of images that lack vectors it may be told
