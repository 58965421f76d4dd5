"""A library over a real folder of five files, and Library Upkeep's module on it."""

from __future__ import annotations

import shutil

import pytest
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from PIL import Image

PICTURES = ("a.png", "cats/b.png", "cats/c.png", "cats/deep/d.png", "copies/a again.png")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    for number, name in enumerate(PICTURES[:4]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
    (folder / "copies").mkdir()
    shutil.copyfile(folder / "a.png", folder / PICTURES[4])
    return folder


@pytest.fixture
def upkeep(library, folder, tmp_path, monkeypatch):
    """The node's module, on a library that has the folder in it."""
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore
    from diffusion_toolkit.nodes.library import status_report, upkeep

    for module in (upkeep, status_report):
        monkeypatch.setattr(module, "roots", lambda: {"pictures": folder})
    monkeypatch.setattr(status_report, "config_file", lambda: tmp_path / "config.json")
    monkeypatch.setattr(status_report, "toolkit_directory", lambda: tmp_path)

    def index(subfolder=""):
        with FolderStore(library, "pictures", folder, subfolder, Encoders()) as store:
            return index_folder(folder, Scan(folder, subfolder), store, Encoders())

    upkeep.index = index
    index()
    return upkeep


def quiet(stage: str, done: int, total: int) -> None:
    pass


def look(upkeep, library, thorough=False, even_doubtful=False):
    return upkeep.look(library, thorough, even_doubtful, quiet)


def held(library) -> tuple[set[str], int]:
    """Paths that the library has, and how many images."""
    with library.connection() as conn:
        paths = {path for (path,) in conn.execute("SELECT path FROM paths")}
        return paths, conn.execute("SELECT count(*) FROM images").fetchone()[0]
