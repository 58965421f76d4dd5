"""What Index Folder makes of a library that an older version made, of texts beside images, and of videos."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from diffusion_toolkit import db
from host.node_graphs import index, node, search_by_prompt
from host.sampled_graphs import basic, png
from PIL import Image


WITHOUT_MODELS = {"clip": None, "clip_vision": None, "text_embedder": None}
TEXTS_ONLY = {"clip": None, "clip_vision": None}


@pytest.fixture
def library(server) -> Iterator[db.Library]:
    """The server's own library, opened beside it."""
    library = db.open_library("default", server.user / "diffusion_toolkit" / "library")
    yield library
    library.close()


def report(result) -> str:
    return result.outputs["index"]["text"][0]


def first_hit(server, query: str) -> dict:
    return server.queue(search_by_prompt(query, top_k=1)).outputs["search"]["hits"][0]


def test_a_library_of_an_older_version_finds_by_the_prompts_that_this_one_reads(server, pictures, library):
    folder = pictures("older", 2, prompt="a walrus on an ice floe, number {i}")
    server.queue(index(folder, **WITHOUT_MODELS))
    with library.connection() as connection:  # as a reader that found no prompt has left it
        connection.execute(
            "UPDATE images SET reader = 1, prompt_id = NULL, prompt_confidence = NULL"
            " WHERE id IN (SELECT image_id FROM paths WHERE path LIKE 'older/%')"
        )
    for picture in (server.output / folder).iterdir():
        picture.unlink()  # nothing is read but the library
    result = server.queue(index(folder, **TEXTS_ONLY))
    assert "Read by an older version before, and anew now: 2 images" in report(result)
    assert "Prompts of the images read: exact 2." in report(result)
    assert result.outputs["index"]["summary"][0]["prompts"] == {"exact": 2}
    assert first_hit(server, "walrus on an ice floe")["prompt"].startswith("a walrus on an ice floe")
    assert "Read by an older version" not in report(server.queue(index(folder, **TEXTS_ONLY)))


def test_a_text_beside_an_image_is_its_prompt_and_read_again_when_it_changes(server):
    folder = server.output / "captioned"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (24, 24), (1, 200, 90)).save(folder / "plain.png")
    server.queue(index("captioned", **TEXTS_ONLY))
    said = []
    for caption in ("a hedgehog in autumn leaves", "a badger digging at night"):
        (folder / "plain.txt").write_text(caption, encoding="utf-8")
        result = server.queue(index("captioned", **TEXTS_ONLY))
        assert "Known images whose side-car text came, went or changed: 1." in report(result)
        said.append((hit := first_hit(server, caption))["prompt"])
        assert (hit["confidence"], hit["note"]) == ("inferred", "the prompt is inferred")
    assert said == ["a hedgehog in autumn leaves", "a badger digging at night"]


def test_an_image_whose_prompt_was_made_at_run_time_is_named_with_the_reason(server):
    folder = server.output / "made-at-run-time"
    folder.mkdir(exist_ok=True)
    graph = basic(pos=node("CLIPTextEncode", text=["llm", 0], clip=["ckpt", 1]), llm=node("SomeLLM", seed=1, instruction="write of a fox"))
    (folder / "llm.png").write_bytes(png({"prompt": json.dumps(graph)}))
    text = report(server.queue(index("made-at-run-time", **WITHOUT_MODELS)))
    assert "Prompts of the images read: unknown" in text
    assert "Prompt unknown: made-at-run-time/llm.png: " in text and "SomeLLM" in text


def test_this_comfyuis_definitions_are_used(server, old_workflow):
    folder = server.output / "old-workflow"
    folder.mkdir(exist_ok=True)
    (folder / "old.png").write_bytes(png({"workflow": json.dumps(old_workflow)}))
    result = server.queue(index("old-workflow", **WITHOUT_MODELS))
    assert result.outputs["index"]["summary"][0]["prompts"] == {"exact": 1}  # without them it would be inferred


def test_a_video_is_found_and_shown_by_a_frame(server):
    folder = server.output / "videos"
    folder.mkdir(exist_ok=True)
    (folder / "clip.mp4").write_bytes(video({"prompt": json.dumps(basic(pos=node("CLIPTextEncode", text="a geyser erupting")))}))
    server.queue(index("videos", **TEXTS_ONLY))
    graph = {**search_by_prompt("a geyser erupting", top_k=1), "picture": node("ProbeValues", values=["search", 0])}
    outputs = server.queue(graph).outputs
    assert outputs["search"]["hits"][0]["path"].endswith("clip.mp4")
    [frame] = outputs["picture"]["values"]
    assert frame["shape"] == [1, 48, 64, 3] and frame["mean"] == pytest.approx(200 / 255, abs=0.02)
    [shown] = outputs["search"]["images"]
    assert shown["type"] == "temp"
    with Image.open(io.BytesIO(server.view(shown))) as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 48))


def video(tags: dict[str, str]) -> bytes:
    """A second of light grey, with the container tags that ComfyUI's own video nodes write."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(tags)
        stream = container.add_stream("h264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8))))
        container.mux(stream.encode(None))
    return file.getvalue()
