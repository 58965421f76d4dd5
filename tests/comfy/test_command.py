"""`run.py` beside a running ComfyUI: the same library, folders and models as the nodes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from host.command import NO_MODELS, STAND_INS, Command, arguments
from host.node_graphs import TEXT_EMBEDDER, index
from PIL import Image


@pytest.fixture(scope="module")
def command(server, tmp_path_factory) -> Command:
    return Command(server, tmp_path_factory.mktemp("command"))


def pixels(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng([number, 7]).integers(0, 256, (8, 8, 3), np.uint8))


def test_what_the_command_indexed_is_complete_for_the_node(server, pictures, command):
    folder = pictures("by-command", 3)
    models = ("--models-from", str(STAND_INS), "--text-embedder", TEXT_EMBEDDER)
    done = command.run(*arguments(server.output / folder, "--labels", "shell", models=models), classes=True)
    assert done.code == 0, done.told
    assert (done.report["root"], done.report["subfolder"], done.report["added"]) == ("output", folder, 3)
    assert "3 added" in done.said and "Vectors made now: image 3, prompt and negative" in done.said
    assert "Loading ComfyUI's node classes" in done.told and "s went into loading ComfyUI's node classes" in done.said
    text = server.queue(index(folder)).outputs["index"]["text"][0]
    assert "0 added, 3 unchanged" in text and "Vectors made now: none." in text


def test_the_librarys_model_is_loaded_only_when_there_is_work_for_it(server, pictures, command):
    only_text = ("--clip-vision", "none", "--checkpoint", "none")
    folder = server.output / pictures("by-command-later", 2)
    first = command.run(*arguments(folder, models=(*only_text, "--text-embedder", TEXT_EMBEDDER)))
    assert first.report["added"] == 2 and f"Loading {TEXT_EMBEDDER}" in first.told
    again = command.run(*arguments(folder, models=only_text))
    assert again.code == 0 and again.report["unchanged"] == 2 and "Loading" not in again.told, again.told
    assert TEXT_EMBEDDER in again.said and again.report["notes"] == []
    pictures("by-command-later", 3)
    work = command.run(*arguments(folder, models=only_text))
    assert work.code == 0 and work.report["added"] == 1 and f"Loading {TEXT_EMBEDDER}" in work.told, work.told
    assert "Vectors made now: prompt and negative 1 text." in work.said


def test_the_command_verifies_and_shows_what_prune_would_remove(server, pictures, command):
    folder = pictures("by-command-gone", 2)
    command.run(*arguments(server.output / folder))
    (server.output / folder / "0001.png").unlink()
    verified = command.run("verify", "--strict")
    assert verified.code == 3 and verified.report["action"] == "verify"
    assert next(files for files in verified.report["files"] if files["root"] == "output")["gone"] >= 1
    shown = command.run("prune")
    assert shown.code == 0 and f"output: {folder}/0001.png" in shown.report["pruned"]["named"] and "`prune --yes`" in shown.said


def test_a_run_without_options_never_changes_the_librarys_models(server, pictures, command):
    folder = pictures("by-command-auto", 1)
    server.queue(index(folder, text_embedder=None))
    done = command.run(*arguments(server.output / folder, models=("--text-embedder", "none")))
    assert done.code == 0, done.told
    notes = " ".join(done.report["notes"])
    assert "no image vectors: no file in models/clip_vision is the model" in notes and "name it with --checkpoint" in notes


def test_files_that_can_not_be_read_are_named_and_strict_tells_by_the_exit_code(server, pictures, command):
    folder = server.output / pictures("by-command-broken", 1)
    (folder / "broken.png").write_bytes(b"no picture")
    done = command.run(*arguments(folder, "--strict"))
    assert done.code == 3 and done.report["skipped"][0][0] == "by-command-broken/broken.png"
    assert command.run(*arguments(folder)).code == 0


def test_a_list_names_what_is_indexed_and_labels_it(server, pictures, command, tmp_path):
    folder = server.output / pictures("by-command-list", 3)
    listed = tmp_path / "list.txt"
    listed.write_text(f"# two of three\n{folder / '0000.png'},first\n{folder / '0002.png'}\n{folder / 'nothing.png'}\n", encoding="utf-8")
    done = command.run(*arguments(listed))
    assert done.code == 0, done.told
    assert done.report["added"] == 2 and "line 4" in done.report["skipped"][0][0]


def test_what_can_not_be_done_ends_with_code_2_and_says_what_to_do(server, pictures, command, tmp_path):
    outside = command.run(*arguments(tmp_path))
    assert outside.code == 2 and "below none of the roots" in outside.told and "Traceback" not in outside.told
    missing = command.run(*arguments(server.output / pictures("by-command", 3), models=("--clip-vision", "nowhere.safetensors", *NO_MODELS[2:])))
    assert missing.code == 2 and "there is no 'nowhere.safetensors' in models/clip_vision" in missing.told


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_keeps_what_was_written_and_the_next_run_goes_on(server, command):
    folder = server.output / "by-command-cancel"
    folder.mkdir()
    for number in range(1200):
        pixels(number).save(folder / f"{number:04}.png")
    process = command.start(*arguments(folder))
    for line in process.stderr:
        if line.startswith("Reading images"):
            process.send_signal(signal.SIGINT)
            break
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130 and "goes on from there" in told
    rest = command.run(*arguments(folder))
    assert rest.code == 0 and 0 < rest.report["added"] <= 1200 and rest.report["added"] + rest.report["unchanged"] == 1200


def test_status_tells_what_library_status_does(server, pictures, command):
    server.queue(index(pictures("by-command-status", 1), clip=None, clip_vision=None, text_embedder=None))
    done = command.run("status")
    assert done.code == 0 and done.report["images"] > 0 and done.said.startswith("Library 'default': ")


def test_search_lists_what_the_nodes_indexed(server, pictures, command):
    folder = pictures("by-command-search", 2)
    server.queue(index(folder, clip=None, clip_vision=None, text_embedder=None))
    done = command.run("search", "--filter", f"folder:{folder}")
    assert done.code == 0 and done.report["total"] == 2 and done.report["images"][0]["path"] in done.said


@pytest.mark.skipif(os.name == "nt", reason="Ray makes no cluster of several nodes on Windows")
def test_on_ray_two_nodes_index_each_file_once(server, command, monkeypatch):
    folder = server.output / "by-ray"
    (folder / "cats").mkdir(parents=True)
    for number in range(40):
        pixels(10_000 + number).save(folder / "cats" / f"{number:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    scratch = short_folder()
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_TMPDIR": str(scratch)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, include_dashboard=False)
        done = command.run(*arguments(folder, "--ray", cluster.address))
        (folder / "cats").rename(folder / "felines")
        renamed = command.run(*arguments(folder, "--ray", cluster.address))
    finally:
        cluster.shutdown()
        remove(scratch)
    assert done.code == 0, done.told
    assert "2 workers" in done.told and "Traceback" not in done.told
    assert (done.report["found"], done.report["added"], len(done.report["skipped"])) == (41, 40, 1)
    assert renamed.code == 0, renamed.told
    assert [renamed.report[name] for name in ("known_elsewhere", "missing", "moved", "all_gone")] == [40, 40, 40, 0]
    text = server.queue(index("by-ray", clip=None, clip_vision=None, text_embedder=None)).outputs["index"]["text"][0]
    assert "0 added, 40 unchanged" in text


def short_folder() -> Path:
    """For Ray's sockets, whose paths may have a hundred letters."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))


def remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
