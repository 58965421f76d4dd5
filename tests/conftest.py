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


def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest's own last line, so that nobody takes a run without the browser tests for a whole one.

    Here and not beside them: of several processes the first, which has the last word, collects no tests.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    browser_tests = Path(__file__).resolve().parent / "browser"
    asked_for = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    if reporter is None or hasattr(config, "workerinput") or not any(browser_tests.is_relative_to(path) for path in asked_for):
        return
    from host.browser import HOW_TO_GET, find_browser

    if find_browser() is None:
        reporter.write_line(f"The browser tests were NOT RUN: no Chromium or Chrome found. To run them, {HOW_TO_GET}.", red=True)
