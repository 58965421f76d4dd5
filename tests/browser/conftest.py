"""A real ComfyUI with its front end in a real browser; without a browser none of these tests runs, and the last line says so (../conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from host.browser import ComfyPage, find_browser
from host.server import ComfyServer

BROWSER = find_browser()
collect_ignore_glob = [] if BROWSER else ["test_*.py"]


@pytest.fixture(scope="module")
def comfy_page(comfy_server: ComfyServer) -> Iterator[ComfyPage]:
    """One page for a file's tests, with the package's nodes; an open page takes an eighth of a core all the time."""
    with ComfyPage(comfy_server.url, browser=BROWSER) as page:
        yield page
