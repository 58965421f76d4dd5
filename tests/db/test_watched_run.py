"""A watch's own run of Index Folder over a real library: what it leaves for later while prompts come."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from diffusion_toolkit import db
from host.comfy_models import import_comfy
from PIL import Image

PROMPT = "the watch's prompt"


class Queue:
    """ComfyUI's, with nothing in it but whether another prompt waits."""

    waiting = False

    def others_wait(self):
        return self.waiting

    def tell(self, place, text):
        pass


@pytest.fixture
def node(library, tmp_path, monkeypatch):
    """Queues the node for a watch; `queue` and `watch` are attributes."""
    import_comfy()
    from diffusion_toolkit.nodes import definitions
    from diffusion_toolkit.nodes.indexing import index_folder, index_run, watched_run
    from diffusion_toolkit.nodes.indexing.watch import Place, Watch, Watcher

    queue, folder = Queue(), tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    watch = Watch(Place("output", "", "default"), folder, folder, True, "", 5, ("", "4"), "first", None)
    watcher = Watcher(queue)
    watcher._running[PROMPT] = watch
    given = {
        "open_library": lambda name: library,
        "root_folder": lambda name: folder,
        "show_text": lambda *_: None,
        "progress_on": lambda node: lambda *_: None,
    }
    for name, value in given.items():
        monkeypatch.setattr(index_folder, name, value)
    monkeypatch.setattr(index_run, "roots", lambda: {"output": folder})
    monkeypatch.setattr(definitions, "node_definitions", dict)
    monkeypatch.setattr(watched_run, "watcher", lambda: watcher)
    monkeypatch.setattr(watched_run, "running_prompt", lambda: SimpleNamespace(prompt_id=PROMPT, workflow=""))
    monkeypatch.setattr(index_folder.IndexFolder, "hidden", SimpleNamespace(unique_id="4"), raising=False)

    def run() -> str:
        return index_folder.IndexFolder.execute("output", "", True, "", "default", 0.0, watch=True).args[1]

    run.queue, run.watch = queue, watch
    return run


def test_what_still_watched_says_to_do_ends_it_however_the_folder_is_typed(node, tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.indexing import index_folder, watched_run

    monkeypatch.setattr(watched_run, "check_saved_in", lambda *_: None)
    monkeypatch.setattr(watched_run, "part_leading_to", lambda *_: None)
    watcher, folder = watched_run.watcher(), (tmp_path / "pictures/cats").resolve()
    watcher._thread, node.queue.finished = object(), list
    (folder / "old").mkdir(parents=True)
    prompts = iter(range(10))

    def run(workflow, subfolder, watch):
        monkeypatch.setattr(watched_run, "running_prompt", lambda: SimpleNamespace(prompt_id=str(next(prompts)), workflow=workflow))
        return index_folder.IndexFolder.execute("output", subfolder, True, "", "default", 0.0, watch=watch).args[1]

    run("gone", "cats/", True)
    said = run("mine", "cats/old", False)
    assert f"Still watched, as a part of {folder}: another" in said
    assert "queue this one over that folder with watch on, and then off" in said
    assert "Still watched: another" in run("mine", "./cats", False)
    run("mine", "./cats", True)
    assert len(watcher.watches()) == 1
    said = run("mine", "cats", False)
    assert f"No longer watched: {folder}." in said and "Still" not in said and watcher.watches() == []


def test_an_index_whose_making_had_to_make_room_is_left_alone_until_the_watch_says_so(node, monkeypatch):
    made = []

    def refresh(library, progress):
        progress("Making an index", 0, 2)
        node.queue.waiting = len(made) == 0
        made.append("begun")
        progress("Making an index", 1, 2)
        made.append("done")
        return "1 vector index made"

    monkeypatch.setattr(db, "refresh_search", refresh)
    said = node()
    assert made == ["begun"] and "Found 1 image: 1 added" in said and "empty for 30 min" in said
    assert node.watch.behind and not node.watch.stood_back  # all files are indexed: there is no hurry
    node.queue.waiting, node.watch.refreshes = False, False
    said = node()
    assert made == ["begun"] and "Watched at" in said and "empty for 30 min" in said and node.watch.behind
    node.watch.refreshes = True
    said = node()
    assert made == ["begun", "begun", "done"] and "1 vector index made" in said and "30 min" not in said and not node.watch.behind


def test_a_run_that_makes_room_before_it_is_through_goes_on_soon(node):
    node.queue.waiting = True
    said = node()
    assert said.startswith("Watching: made room for another prompt") and node.watch.stood_back and not node.watch.behind
