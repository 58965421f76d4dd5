"""Texts beside the image, read with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffusion_toolkit.embedders.metadata import read_metadata
from host.sampled_graphs import png


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.txt", "sidecar.txt"), ("a.caption", "sidecar.caption"), ("a.json", "sidecar.json"),
        ("a.png.txt", "sidecar.txt"), ("a.png.json", "sidecar.json"),
    ],
)  # fmt: skip
def test_a_text_beside_the_image_is_read(tmp_path: Path, name: str, key: str) -> None:
    (tmp_path / "a.png").write_bytes(png({}))
    (tmp_path / name).write_bytes("ein Fuchs \u96ea".encode())
    found = read_metadata(tmp_path / "a.png")
    assert found.raw == {key: "ein Fuchs \u96ea".encode()} and found.places == {key: name}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_text_beside_the_image_is_in_the_encoding_that_its_mark_names(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "a.png").write_bytes(png({}))
    (tmp_path / "a.txt").write_bytes((mark + "ein Fuchs \u96ea").encode(encoding))
    assert read_metadata(tmp_path / "a.png").raw == {"sidecar.txt": "ein Fuchs \u96ea".encode()}


def test_a_text_beside_the_image_without_a_mark_is_utf_8_or_else_what_windows_calls_ansi(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png({}))
    (tmp_path / "a.txt").write_bytes(b"\x91a\x92 \x93caf\xe9\x94 \x95 \x96 \x97 \x80 \x81")
    told = "\u2018a\u2019 \u201ccaf\xe9\u201d \u2022 \u2013 \u2014 \u20ac \x81"  # 0x81 is none of its letters
    assert read_metadata(tmp_path / "a.png").prompt == (told, told)
    (tmp_path / "a.txt").write_bytes(told.encode())
    assert read_metadata(tmp_path / "a.png").prompt == (told, told)


def test_texts_beside_the_image_that_are_blank_large_or_links_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png({}))
    (tmp_path / "a.txt").write_bytes(b" \n")
    (tmp_path / "a.json").write_bytes(b"x" * 5_000_000)
    (tmp_path / "secret").write_bytes(b"secret")
    if hasattr(os, "mkfifo"):
        (tmp_path / "a.caption").symlink_to(tmp_path / "secret")
        os.mkfifo(tmp_path / "a.png.txt")
    found = read_metadata(tmp_path / "a.png")
    assert found.raw == {} and found.problem == "a.json of 5000000 bytes was left unread"


def test_a_content_without_a_path_has_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"told")
    assert read_metadata(png({})).raw == {}
