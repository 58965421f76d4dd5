"""A real ComfyUI with its front end in a real browser; without a browser none of these tests runs, and the last line says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from host.browser import HOW_TO_GET, ComfyPage, find_browser
from host.server import ComfyServer

BROWSER = find_browser()
collect_ignore_glob = [] if BROWSER else ["test_*.py"]


@pytest.fixture(scope="module")
def comfy_page(comfy_server: ComfyServer) -> Iterator[ComfyPage]:
    """One page for a file's tests, with the package's nodes; an open page takes an eighth of a core all the time."""
    with ComfyPage(comfy_server.url, browser=BROWSER) as page:
        yield page


def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest's own last line, so that nobody takes the run for a whole one."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if BROWSER is None and reporter is not None:
        reporter.write_line(
            f"The browser tests were NOT RUN: no Chromium or Chrome found. To run them, {HOW_TO_GET}.", red=True
        )
