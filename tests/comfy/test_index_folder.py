"""Index Folder in a real ComfyUI."""

from __future__ import annotations

import os
import re
import shutil
import threading

import pytest
from host.client import PromptError, PromptInterrupted
from host.node_graphs import index, node
from host.picture_graphs import ids_of


def report(result) -> str:
    return result.outputs["index"]["text"][0]


def test_images_are_indexed_with_all_five_vectors(server, pictures):
    folder = pictures("five", 3)
    result = server.queue(index(folder))
    text = report(result)
    assert "3 added" in text
    assert result.outputs["index"]["summary"][0]["added"] == 3
    assert "Vectors made now: image 3, prompt and negative" in text
    assert "clip_l" in text and "clip_g" in text


def test_an_unchanged_folder_is_neither_read_nor_embedded(server, pictures):
    folder = pictures("unchanged", 3)
    server.queue(index(folder))
    for picture in (server.output / folder).iterdir():  # the same size and time, but nothing that could be read
        status = picture.stat()
        picture.write_bytes(bytes(status.st_size))
        os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
    text = report(server.queue(index(folder)))
    assert "3 unchanged" in text and "0 skipped" in text
    assert "Vectors made now: none." in text


def test_a_new_file_is_added_beside_the_known_ones(server, pictures):
    folder = pictures("grows", 2)
    server.queue(index(folder))
    pictures("grows", 3)
    assert "1 added, 2 unchanged" in report(server.queue(index(folder)))


def test_a_copy_is_one_image_under_two_paths(server, pictures):
    folder = pictures("copied", 1)
    original = next((server.output / folder).iterdir())
    shutil.copyfile(original, original.with_name("copy.png"))
    text = report(server.queue(index(folder)))
    assert "Found 2 images" in text and "1 added" in text


def test_an_unreadable_file_is_skipped_and_named_with_the_reason(server, pictures):
    folder = pictures("broken", 2)
    (server.output / folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    result = server.queue(index(folder))
    text = report(result)
    assert "2 added" in text and "1 skipped" in text
    assert f"Skipped {folder}/broken.png: " in text


def test_a_kind_whose_model_is_not_connected_is_left_out_and_said(server, pictures):
    folder = pictures("no-clip", 1)
    text = report(server.queue(index(folder, clip=None, clip_vision=None)))
    assert "connect clip_vision" in text and "connect clip)" in text


def test_a_model_connected_later_fills_in_its_vectors(server, pictures):
    folder = pictures("later", 2)
    server.queue(index(folder, clip_vision=None))
    text = report(server.queue(index(folder)))
    assert "0 added, 2 unchanged" in text and "Vectors made now: image 2" in text


def test_token_states_past_the_budget_are_named_in_the_report(server, pictures):
    folder = pictures("budget", 1)
    text = report(server.queue(index(folder, token_state_budget=0.0001)))
    assert "not kept: they do not fit token_state_budget" in text


def test_the_projected_size_of_token_states_shows_before_they_are_made(server, pictures):
    folder = pictures("projected", 1)
    shown = [data["text"] for kind, data in server.queue(index(folder)).events if kind == "progress_text"]
    first = next(text for text in shown if "token states for" in text)
    assert "MB more on disk" in first and ": 0 of " in first


def test_it_runs_each_time_it_is_queued(server, pictures):
    graph = index(pictures("each-time", 1))
    server.queue(graph)
    assert "index" in server.queue(graph).executed


def test_its_counts_and_library_go_over_links(server, pictures):
    graph = index(pictures("links", 2))
    graph["added"] = node("ProbeValues", values=["index", 2])
    graph["library"] = node("ProbeValues", values=["index", 0])
    outputs = server.queue(graph).outputs
    assert outputs["added"]["values"] == [2]
    assert outputs["library"]["values"] == ["default"]


def test_cancel_keeps_what_was_written_and_the_next_run_goes_on(server, pictures):
    folder = pictures("cancel", 120)
    started = threading.Event()

    def watch(kind: str, data: dict) -> None:
        told = re.search("Reading images: ([1-9][0-9]*) of", data["text"]) if kind == "progress_text" else None
        if told and not started.is_set():
            started.set()
            server.interrupt()

    with pytest.raises(PromptInterrupted):
        server.queue(index(folder), on_event=watch)
    assert started.is_set()
    text = report(server.queue(index(folder)))
    unchanged = int(text.split(" unchanged")[0].split()[-1])
    assert 0 < unchanged < 120
    assert f"{120 - unchanged} added" in text


def test_a_subfolder_outside_the_root_is_refused(server):
    with pytest.raises(PromptError, match="not below the root"):
        server.queue(index("../user"))


def test_a_missing_subfolder_is_named(server):
    with pytest.raises(PromptError, match="no folder 'nowhere'"):
        server.queue(index("nowhere"))


def test_a_list_names_the_images_with_labels_for_each(server, pictures):
    folder = pictures("listed", 3)
    (server.output / folder / "list.txt").write_text("# what to keep\n0000.png,sea\n0001.png\nnowhere.png,sea\n", encoding="utf-8")
    text = report(server.queue(index(image_list=f"{folder}/list.txt", clip=None, clip_vision=None)))
    assert "Found 2 images" in text and "2 added" in text
    assert "line 4: nowhere.png" in text and "there is no such file" in text
    assert len(ids_of(server, folder)) == 2 and len(ids_of(server, f"{folder} label:sea")) == 1


def test_a_list_outside_the_roots_is_not_read(server):
    (server.user / "list.txt").write_text("a secret, and no path\n", encoding="utf-8")
    with pytest.raises(PromptError, match="lies below none of the roots") as refused:
        server.queue(index(image_list=str(server.user / "list.txt"), clip=None, clip_vision=None))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["notes.md", ".hidden.txt"])
def test_a_text_that_is_no_list_by_its_name_is_not_read(server, pictures, name):
    folder = pictures("listed", 1)
    (server.output / folder / name).write_text("a secret.png\n", encoding="utf-8")
    with pytest.raises(PromptError, match="no list by its name") as refused:
        server.queue(index(image_list=f"{folder}/{name}", clip=None, clip_vision=None))
    assert "secret" not in str(refused.value)
