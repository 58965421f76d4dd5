"""ComfyUI's front end in a real, headless Chromium or Chrome: load workflows, read prompts, take pictures."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

HOW_TO_GET = (
    "install Chromium or Chrome (Debian: apt-get install chromium; macOS: brew install --cask google-chrome; Windows: "
    "winget install Google.Chrome), or name one in CHROME_PATH"
)
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "msedge")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
_READY = "() => window.app?.extensionManager && window.app.graph && document.querySelector('#graph-canvas')"
_LOAD = """async (workflow) => {
  await window.app.loadGraphData(workflow)
  // Some core extensions finish a loaded node one or two frames later.
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
}"""
_PROMPT = "async () => JSON.stringify((await window.app.graphToPrompt()).output)"
_ADD = """([type, x, y]) => {
  const node = window.LiteGraph.createNode(type)
  if (!node) throw new Error(`the front end knows no node '${type}'`)
  node.pos = [x, y]
  window.app.graph.add(node)
  return String(node.id)
}"""


def find_browser() -> Path | None:
    """The browser to drive: `CHROME_PATH`, else what is on the PATH, else where the installers of macOS and Windows put it."""
    named = os.environ.get("CHROME_PATH")
    if named:
        return Path(named) if Path(named).is_file() else None
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found:
        return Path(found)
    if sys.platform == "darwin":
        bases = [Path("/Applications"), Path.home() / "Applications"]
        tails = ["Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium"]
    else:
        bases = [Path(os.environ[key]) for key in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA") if key in os.environ]
        tails = [
            "Google/Chrome/Application/chrome.exe",
            "Chromium/Application/chrome.exe",
            "Microsoft/Edge/Application/msedge.exe",
        ]
    return next((base / tail for base in bases for tail in tails if (base / tail).is_file()), None)


class ComfyPage:
    """The front end of the ComfyUI at `url`, from `__enter__` to `__exit__`.

    `errors` collects what the page reports as errors: console messages and uncaught exceptions, with their scripts' addresses.
    """

    def __init__(self, url: str, *, browser: Path | None = None, width: int = 1600, height: int = 1000) -> None:
        path = browser or find_browser()
        if path is None:
            raise FileNotFoundError(f"No browser was found: {HOW_TO_GET}.")
        self.url, self._browser_path, self._size = url, path, {"width": width, "height": height}
        self.errors: list[str] = []
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._page: Page | None = None

    @property
    def page(self) -> Page:
        """Playwright's page, for what has no method here."""
        assert self._page is not None, "ComfyPage is used outside its with block"
        return self._page

    def __enter__(self) -> ComfyPage:
        self._playwright = sync_playwright().start()
        try:
            self._browser = self._playwright.chromium.launch(executable_path=self._browser_path, args=list(_ARGUMENTS))
            self._page = self._browser.new_page(viewport=self._size)
            self._page.on("console", self._console)
            self._page.on("pageerror", lambda error: self.errors.append(f"{error.stack or error}"))
            self._page.goto(self.url, wait_until="domcontentloaded")
            self._page.wait_for_function(_READY, timeout=120_000)
            self._page.wait_for_load_state("networkidle", timeout=60_000)
            self._page.keyboard.press("Escape")  # a first visit opens the template browser
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._browser:
            self._browser.close()
        if self._playwright:
            self._playwright.stop()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a UI-format workflow in place of the current one."""
        self.page.evaluate(_LOAD, workflow)

    def prompt(self) -> dict[str, Any]:
        """What the front end would queue for the open workflow, in the API format."""
        return json.loads(self.page.evaluate(_PROMPT))

    def add_node(self, node_type: str, x: float = 100, y: float = 100) -> str:
        """Put a new node on the canvas; returns its id."""
        return self.page.evaluate(_ADD, [node_type, x, y])

    def fit(self) -> None:
        """Close what lies over the canvas and show the whole graph."""
        self.page.keyboard.press("Escape")
        self.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(800)  # the view moves there over some frames

    def screenshot(self, path: Path, *, fit: bool = True) -> Path:
        """Save a PNG of the page as a person sees it; by default the whole graph in view."""
        if fit:
            self.fit()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return path

    def open_help(self, node_id: str) -> str:
        """Select a node, press the info button above it, and return the text of its help page."""
        self.page.evaluate(
            "(id) => { const node = window.app.graph.getNodeById(id) ?? window.app.graph.getNodeById(Number(id)); "
            "window.app.canvas.centerOnNode(node); window.app.canvas.selectNode(node) }",
            node_id,
        )
        self.page.locator('[data-testid="info-button"]').first.click(timeout=15_000)
        content = self.page.locator(".node-help-content").first
        content.locator("h1").first.wait_for(timeout=15_000)
        return content.inner_text()
