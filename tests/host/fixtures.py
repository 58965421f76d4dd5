"""pytest fixtures around a real ComfyUI; a conftest.py imports the ones it wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import ComfyServer


@pytest.fixture(scope="session")
def comfy_server() -> Iterator[ComfyServer]:
    """One ComfyUI for the whole run, with this package and the stand-in nodes, on an empty base directory."""
    with ComfyServer() as server:
        yield server
