"""The frame by which a video is indexed, its tags, and OpenEXR, from small files that FFmpeg wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from diffusion_toolkit.embedders.metadata.containers import open_source, read_pieces
from diffusion_toolkit.embedders.metadata.records import Pieces
from diffusion_toolkit.embedders.pictures.decode import ImageError, decode, read_image
from host.sampled_graphs import basic
from host.small_files import FORMATS, exr, turned, video

GRAPH = json.dumps({**basic(), "big": {"class_type": "X", "inputs": {"seed": 2**64 - 1, "scale": float("nan")}}})


def pieces(data: bytes) -> Pieces:
    return read_pieces(open_source(data))


@pytest.mark.parametrize("container", FORMATS)
def test_video_gives_the_frame_at_the_middle_of_its_time(container: str) -> None:
    pixels = decode(video(container)).pixels
    assert pixels.shape == (16, 32, 3) and abs(int(pixels[8, 4, 0]) - 100) <= 3


def test_video_of_one_frame_gives_it() -> None:
    assert decode(video(frames=1)).pixels.shape == (16, 32, 3)


def test_a_video_held_upright_is_turned() -> None:
    pixels = decode(turned(video())).pixels
    assert pixels.shape == (32, 16, 3)
    assert pixels[4, 8, 0] > 90 and pixels[-4, 8, 0] < 10


def test_sound_alone_is_no_image() -> None:
    with pytest.raises(ImageError, match="sound but no picture"):
        decode(video(frames=0, sound=True))


@pytest.mark.parametrize("container", FORMATS)
def test_a_truncated_video_is_an_image_error_or_gives_a_frame(container: str) -> None:
    whole = video(container)
    for kept in range(8, len(whole), 97):
        try:
            assert decode(whole[:kept]).pixels.shape == (16, 32, 3)
        except ImageError as error:
            assert "video" in str(error)
        pieces(whole[:kept])


@pytest.mark.parametrize("container", FORMATS)
def test_tags_are_the_bytes_that_were_written_under_small_letters(container: str) -> None:
    found = pieces(video(container, prompt=GRAPH, workflow='{"nodes": [NaN]}', comment="été"))
    assert found.raw == {"prompt": GRAPH.encode(), "workflow": b'{"nodes": [NaN]}', "comment": "été".encode()}


@pytest.mark.parametrize("container", FORMATS)
def test_a_comment_that_is_json_is_taken_apart(container: str) -> None:
    """As VideoHelperSuite writes it: the graph is a text in the object, the workflow an object."""
    told = {"prompt": GRAPH, "workflow": {"nodes": [float("nan")]}, "CreationTime": "2025"}
    raw = pieces(video(container, comment=json.dumps(told))).raw
    assert raw == {"prompt": GRAPH.encode(), "workflow": b'{"nodes": [NaN]}', "CreationTime": b"2025"}


@pytest.mark.parametrize("comment", ["{", "[1]", "{" * 50_000, '{"a": ' * 50_000])
def test_a_comment_that_is_no_json_object_is_kept_whole(comment: str) -> None:
    assert pieces(video(comment=comment)).raw == {"comment": comment.encode()}


def test_read_image_of_a_video_hashes_the_file_and_reads_its_tags(tmp_path: Path) -> None:
    data = video(prompt=GRAPH)
    (tmp_path / "a.mp4").write_bytes(data)
    image = read_image(tmp_path / "a.mp4")
    assert (image.hash, image.size) == (blake3(data).digest(), len(data))
    assert (image.width, image.height) == (32, 16) and image.metadata.prompt == ("a red fox", "a red fox")


def test_without_pyav_a_video_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = video()
    monkeypatch.setitem(sys.modules, "av", None)
    assert "PyAV" in "; ".join(pieces(data).problems)
    with pytest.raises(ImageError, match="PyAV"):
        decode(data)


def test_openexr_is_shown_as_srgb_and_clipped() -> None:
    linear = np.zeros((20, 8, 3), np.float32)
    linear[...] = (0.21404114, 5.0, -1.0)
    pixels = decode(exr(linear)).pixels
    assert pixels.shape == (20, 8, 3)
    assert abs(int(pixels[3, 3, 0]) - 128) <= 1 and pixels[3, 3, 1:].tolist() == [255, 0]


def test_openexr_header_gives_its_texts() -> None:
    found = pieces(exr(np.zeros((20, 8, 3)), prompt=GRAPH, workflow='{"nodes": [NaN]}'))
    assert (found.raw["prompt"], found.raw["workflow"]) == (GRAPH.encode(), b'{"nodes": [NaN]}')


def test_a_truncated_openexr_is_an_image_error_or_gives_pixels() -> None:
    whole = exr(np.random.default_rng(1).random((20, 8, 3)), prompt=GRAPH)
    for kept in range(4, len(whole), 61):
        try:
            decode(whole[:kept])
        except ImageError as error:
            assert "damaged" in str(error) or "decoded" in str(error)
        pieces(whole[:kept])
