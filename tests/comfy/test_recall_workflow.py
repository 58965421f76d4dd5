"""Recall Workflow in a real ComfyUI: the graphs of stored images come back as files that are ready to open."""

from __future__ import annotations

import io
import json

import pytest
from host.client import PromptError
from host.node_graphs import index, node
from host.picture_graphs import by_another_generator, fill, ids_of, picture_graph, recall, run, saved_in, written
from PIL import Image


def test_the_workflow_and_the_queued_prompt_come_back_as_files(server, heron):
    said = server.queue(recall(f"{heron}")).outputs["recall"]["text"][0]
    assert str(server.output / f"recalled/one_{heron}_workflow.json") in said
    assert written(server, f"recalled/one_{heron}_workflow.json")["nodes"][0]["widgets_values"] == ["by the lake"]
    prompt = written(server, f"recalled/one_{heron}_prompt.json")
    assert prompt == json.loads(json.dumps(picture_graph("heron")))


def test_a_name_pasted_in_quotation_marks_is_taken_without_them(server, heron):
    server.queue(recall(f"{heron}", save_as=r'"recalled\pasted"'))
    assert written(server, f"recalled/pasted_{heron}_workflow.json")
    server.queue(fill(f"{heron}", save_as=r'"recalled\pasted"', seed=6))
    assert written(server, f"recalled/pasted_{heron}_seed_6.json")


def test_the_recalled_prompt_makes_the_same_picture(server, heron):
    server.queue(recall(f"{heron}"))
    prompt = written(server, f"recalled/one_{heron}_prompt.json")
    prompt["7"]["inputs"]["filename_prefix"] = "recalled/again"
    [again] = server.queue(prompt).outputs["7"]["images"]
    with Image.open(io.BytesIO(server.view(again))) as new, Image.open(next((server.output / "heron").glob("*.png"))) as old:
        assert new.tobytes() == old.tobytes()


def test_the_picture_itself_need_not_be_there_any_more(server, pictures):
    folder = pictures("recall-gone", 1)
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    (server.output / folder / "0000.png").unlink()
    server.queue(recall(f"{image_id}", save_as="recalled/gone"))
    assert written(server, f"recalled/gone_{image_id}_prompt.json")["5"]["inputs"]["seed"] == 2**64 - 1


def test_what_the_recalled_graph_lacks_here_is_told_with_the_nearest_names(server, pictures, model_file):
    folder = pictures("recall-lacks", 1)
    model_file("checkpoints/made_with_v2.safetensors")
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    said = server.queue(recall(f"{image_id}", save_as="recalled/lacks")).outputs["recall"]["text"][0]
    assert "made_with.safetensors is not here (node 1, CheckpointLoaderSimple, ckpt_name). Nearest here: made_with_v2.safetensors" in said
    assert "no workflow was saved with it" in said
    model_file("checkpoints/made_with.safetensors")
    said = server.queue(recall(f"{image_id}", save_as="recalled/lacks")).outputs["recall"]["text"][0]
    assert "is not here" not in said


def test_an_image_of_another_generator_has_no_graph_and_the_next_step_is_told(server):
    image_id = by_another_generator(server, "recall-none")
    with pytest.raises(PromptError, match="AUTOMATIC1111 made it.*Fill Template"):
        server.queue(recall(f"{image_id}"))


def test_files_are_written_only_below_the_output_folder(server, heron):
    for name in ("../outside", "/tmp/outside", "a/../../outside"):
        with pytest.raises(PromptError, match="not in ComfyUI's output folder"):
            server.queue(recall(f"{heron}", save_as=name))


def test_a_name_that_can_be_no_files_is_refused_in_words(server, heron):
    picture = next((server.output / "heron").glob("*.png"))
    for name in (f"heron/{picture.name}/x", "recalled/sub/../b", "a\0b", "n" * 300):
        with pytest.raises(PromptError, match="save_as|can't be written"):
            server.queue(recall(f"{heron}", save_as=name))
    assert not (server.output / "recalled" / "sub").exists()


def test_the_date_in_a_name_is_filled_in_as_save_image_does_it(server, heron):
    server.queue(recall(f"{heron}", save_as="recalled/%year%/one"))
    [folder] = [one.name for one in (server.output / "recalled").iterdir() if one.is_dir()]
    assert folder.isdigit() and (server.output / "recalled" / folder / f"one_{heron}_prompt.json").is_file()


def test_a_file_with_another_content_is_never_replaced_and_the_same_is_not_written_twice(server, heron):
    mine = server.output / "recalled" / f"number_{heron}_prompt.json"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    for name in ("recalled/number", "recalled//number"):  # another text, or ComfyUI would not run it again
        server.queue(recall(f"{heron}", save_as=name))
    assert mine.read_text() == "mine"
    assert written(server, f"recalled/number_{heron}_prompt_2.json")["5"]["inputs"]["seed"] == 5
    assert not (server.output / "recalled" / f"number_{heron}_prompt_3.json").exists()


def test_a_file_that_held_the_workflow_alone_can_be_queued_too(server, old_workflow):
    image_id = saved_in(server, "recall-ui", {"workflow": old_workflow})
    server.queue(recall(f"{image_id}", save_as="recalled/ui"))
    assert written(server, f"recalled/ui_{image_id}_workflow.json")["nodes"]
    prompt = written(server, f"recalled/ui_{image_id}_prompt.json")
    assert {"KSampler", "CLIPTextEncode", "SaveImage"} <= {one["class_type"] for one in prompt.values()}


def test_an_input_that_a_node_checks_itself_is_not_called_missing(server, heron):
    graph = picture_graph("recall-own-check")
    picture = next((server.output / "heron").glob("*.png")).name
    graph["8"] = node("LoadImage", image=f"heron/{picture} [output]")
    graph["4"] = node("VAEEncode", pixels=["8", 0], vae=["1", 2])
    image_id = saved_in(server, "recall-own-check", {"prompt": graph})
    said = server.queue(recall(f"{image_id}", save_as="recalled/own")).outputs["recall"]["text"][0]
    assert "is not here" not in said
    shown = server.queue(run(server, "in this graph", **fill(f"{image_id}"))).outputs["show"]["images"]
    assert len(shown) == 1


def test_an_input_image_that_is_gone_is_called_missing_and_no_other_takes_its_place(server):
    graph = picture_graph("recall-input-gone")
    graph["8"] = node("LoadImage", image="gone_00001_.png")
    graph["4"] = node("VAEEncode", pixels=["8", 0], vae=["1", 2])
    image_id = saved_in(server, "recall-input-gone", {"prompt": graph})
    said = server.queue(recall(f"{image_id}", save_as="recalled/input")).outputs["recall"]["text"][0]
    assert "gone_00001_.png is not here (node 8, LoadImage, image)" in said
    Image.new("RGB", (64, 64)).save(server.input / "gone_00002_.png")
    for missing in ("stop and list them", "use the nearest here"):
        with pytest.raises(PromptError, match="gone_00001_.png is not here"):
            server.queue(fill(f"{image_id}", missing=missing))
