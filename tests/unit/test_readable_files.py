"""Which files of images may be read: those that are unchanged, below a root that is configured now."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusion_toolkit.db.records import StoredFile
from diffusion_toolkit.nodes import host
from host.links import make_link


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path.resolve() / "photos"
    (root / "cats").mkdir(parents=True)
    monkeypatch.setattr(host, "roots", lambda: {"photos": root})
    return root


def stored(root: Path, *paths: str) -> SimpleNamespace:
    """An image that is known as these files, which are made where they are not there."""
    files = []
    for path in paths:
        file = root / path
        if not file.exists():
            file.write_bytes(b"a picture")
        files.append(StoredFile(str(root), path, file.stat().st_size, file.stat().st_mtime_ns))
    return SimpleNamespace(files=files)


def test_a_file_as_it_was_indexed_may_be_read(root: Path) -> None:
    readable = host.ReadableFiles()
    assert [readable.of(stored(root, path)) for path in ("cats/a.png", "cats/b.png", "c.png")] == [
        (root / path, "") for path in ("cats/a.png", "cats/b.png", "c.png")
    ]


def test_what_became_of_a_file_is_told(root: Path) -> None:
    changed, gone = stored(root, "cats/a.png"), stored(root, "b.png")
    (root / "cats" / "a.png").write_bytes(b"another picture")
    (root / "b.png").unlink()
    assert host.readable_file(changed) == (None, "the file was changed since it was indexed")
    assert host.readable_file(gone) == (None, "the file is gone")
    (root / "b.png").mkdir()
    assert host.readable_file(gone) == (None, "the file is gone")
    assert host.readable_file(SimpleNamespace(files=[])) == (None, "no file of it is known any more")


def test_a_file_that_can_not_be_looked_at_is_not_said_to_be_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = stored(root, "a.png")

    def refuses(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(host.os, "lstat", refuses)
    assert host.ReadableFiles().of(image)[1] == "the file can't be looked at (Permission denied)"


def test_of_several_files_the_first_that_may_be_read_is_taken(root: Path) -> None:
    image = stored(root, "cats/a.png", "copy.png")
    (root / "cats" / "a.png").unlink()
    assert host.readable_file(image) == (root / "copy.png", "")


@pytest.mark.parametrize("elsewhere", ["elsewhere", "photos of others"])  # the second begins as the root does
def test_nothing_outside_the_roots_is_read(root: Path, elsewhere: str) -> None:
    other = root.parent / elsewhere
    other.mkdir()
    assert host.readable_file(stored(other, "a.png")) == (None, "the file is no longer under a configured root")
    assert host.readable_file(stored(root, f"../{elsewhere}/a.png")) == (None, "the file is no longer under a configured root")


def test_links_are_followed_before_their_place_is_looked_at(root: Path) -> None:
    outside = root.parent / "outside"
    shutil.copytree(root, outside)
    (outside / "a.png").write_bytes(b"a picture")
    make_link(root / "way out", outside)
    make_link(root / "cats" / "way out.png", outside / "a.png")
    make_link(root / "cats" / "way in.png", root / "inside.png")
    (root / "inside.png").write_bytes(b"a picture")
    of = host.ReadableFiles().of
    assert of(stored(root, "way out/a.png")) == (None, "the file is no longer under a configured root")
    assert of(stored(root, "cats/way out.png")) == (None, "the file is no longer under a configured root")
    assert of(stored(root, "cats/way in.png")) == (root / "inside.png", "")
