"""Give the tests the package under a plain name, as ComfyUI itself would load it, and one ComfyUI for the whole run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for `host`, the tests' shared helpers; never the package root

from host.package import load_package
from host.server import ComfyServer

load_package()


@pytest.fixture(scope="session")
def comfy_server() -> Iterator[ComfyServer]:
    """A real ComfyUI with this package and the stand-in nodes, on an empty base directory; started by the first test that asks."""
    with ComfyServer() as server:
        yield server
