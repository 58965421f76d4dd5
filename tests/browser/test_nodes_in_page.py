"""What a person sees of the package in ComfyUI's front end: its scripts, nodes and help pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from host.browser import ComfyPage
from host.server import PACKAGE_FOLDER

DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"
NODES = sorted(page.stem for page in DOCS.glob("*.md"))


def test_page_loads_without_errors_of_ours(comfy_page: ComfyPage):
    comfy_page.page.reload(wait_until="domcontentloaded")
    comfy_page.page.wait_for_function("() => window.app?.extensionManager && window.app.graph", timeout=60_000)
    comfy_page.page.wait_for_load_state("networkidle")
    assert [e for e in comfy_page.errors if PACKAGE_FOLDER in e or "DiffusionToolkit" in e] == []


@pytest.mark.parametrize("node_type", NODES)
def test_node_stands_on_the_canvas_with_its_inputs(comfy_page: ComfyPage, node_type: str):
    comfy_page.load({"version": 0.4, "nodes": [], "links": []})
    node_id = comfy_page.add_node(node_type)
    assert comfy_page.prompt()[node_id]["class_type"] == node_type


@pytest.mark.parametrize("node_type", NODES)
def test_a_new_node_shows_its_whole_title(comfy_page: ComfyPage, node_type: str):
    comfy_page.load({"version": 0.4, "nodes": [], "links": []})
    measured = """(id) => {
      const node = app.graph.getNodeById(id), pen = document.createElement("canvas").getContext("2d")
      pen.font = `${LiteGraph.NODE_TEXT_SIZE}px ${LiteGraph.NODE_FONT}`
      return [node.size[0], pen.measureText(node.title).width + 2 * LiteGraph.NODE_TITLE_HEIGHT]  // the dot before it, and a badge
    }"""
    width, needed = comfy_page.page.evaluate(measured, comfy_page.add_node(node_type))
    assert width >= needed


def test_a_file_name_takes_dates_and_values_of_nodes_as_save_image_does(comfy_page: ComfyPage):
    comfy_page.load({"version": 0.4, "nodes": [], "links": []})
    comfy_page.add_node("EmptyLatentImage")
    prefixes = []
    for kind in ("SaveImage", "DiffusionToolkitSaveImage"):
        node_id = comfy_page.add_node(kind)
        set_prefix = "([id, value]) => app.graph.getNodeById(id).widgets.find((one) => one.name === 'filename_prefix').value = value"
        comfy_page.page.evaluate(set_prefix, [node_id, "%date:yyyy%/%EmptyLatentImage.width%_x"])
        prefixes.append(comfy_page.prompt()[node_id]["inputs"]["filename_prefix"])
    assert prefixes[0] == prefixes[1] and prefixes[1].endswith("/512_x") and "%" not in prefixes[1]


@pytest.mark.parametrize("node_type", NODES)
def test_help_panel_shows_our_help_page(comfy_page: ComfyPage, node_type: str):
    comfy_page.load({"version": 0.4, "nodes": [], "links": []})
    shown = comfy_page.open_help(comfy_page.add_node(node_type, 400, 300))
    heading = (DOCS / f"{node_type}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    assert heading in shown


@pytest.fixture(params=[False, True], ids=["on the canvas", "of HTML"])
def drawn(comfy_page: ComfyPage, request: pytest.FixtureRequest) -> Iterator[ComfyPage]:
    """The page with its nodes drawn in one of the two ways that a person can choose."""
    setting = "window.app.extensionManager.setting"
    before = comfy_page.page.evaluate(f"() => {setting}.get('Comfy.VueNodes.Enabled')")
    comfy_page.page.evaluate(f"(on) => {setting}.set('Comfy.VueNodes.Enabled', on)", request.param)
    yield comfy_page
    comfy_page.page.evaluate(f"(on) => {setting}.set('Comfy.VueNodes.Enabled', on)", before)


def test_text_of_a_run_can_be_read_on_the_node_and_belongs_to_no_workflow(drawn: ComfyPage):
    text = "\n".join(f"{number}. what a run has to say" for number in range(9))
    drawn.load({"version": 0.4, "nodes": [], "links": []})
    node_id = drawn.add_node("DiffusionToolkitLibraryStatus")
    drawn.page.evaluate(
        "([id, text]) => window.app.graph.nodes.find((node) => String(node.id) === id).onExecuted({ text: [text] })", [node_id, text]
    )
    drawn.fit()
    area = drawn.page.wait_for_function("(text) => [...document.querySelectorAll('textarea')].find((one) => one.value === text)", arg=text)
    seen = area.evaluate("(one) => ({ fixed: one.readOnly, height: one.offsetHeight, all: one.scrollHeight, around: one.closest('.lg-node')?.innerText })")
    assert seen["fixed"]
    assert seen["height"] >= seen["all"] > 9 * 10  # nothing is hidden below, and each line is that high at least
    assert "diffusion_toolkit_text" not in (seen["around"] or "")
    assert text not in str(drawn.page.evaluate("() => JSON.parse(JSON.stringify(window.app.graph.serialize()))"))
    assert list(drawn.prompt()[node_id]["inputs"]) == ["library_name"]


def test_screenshot_shows_the_graph(comfy_page: ComfyPage, tmp_path: Path):
    from PIL import Image

    comfy_page.load({"version": 0.4, "nodes": [], "links": []})
    empty = comfy_page.screenshot(tmp_path / "empty.png", fit=False)
    comfy_page.add_node("DiffusionToolkitLoader")
    full = comfy_page.screenshot(tmp_path / "one node.png")
    with Image.open(empty) as before, Image.open(full) as after:
        assert before.size == after.size == (1600, 1000)
        assert before.convert("RGB").tobytes() != after.convert("RGB").tobytes()
