"""Whether each node and each example stands wherever a person, or ComfyUI, looks for it; tests in ComfyUI say what stands there."""

from __future__ import annotations

import ast
import re

import pytest
from host.bootstrap import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))


def nodes() -> dict[str, tuple[str, str]]:
    """(id, display name) by class."""
    found = {}
    for path in (REPOSITORY / "nodes").rglob("*.py"):
        for made in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(made, ast.ClassDef) and any(ast.unparse(base) == "io.ComfyNode" for base in made.bases):
                named = re.search(r"node_id='(\w+)', display_name='([^']+)'", ast.unparse(made))
                found[made.name] = (named[1], named[2])
    return found


def test_every_node_is_registered():
    registered = ast.parse((REPOSITORY / "nodes" / "extension.py").read_text(encoding="utf-8"))
    [listed] = [made for made in ast.walk(registered) if isinstance(made, ast.Return) and isinstance(made.value, ast.List)]
    assert sorted(name.id for name in listed.value.elts) == sorted(nodes())


def test_every_node_has_a_help_page_and_every_page_a_node():
    assert {path.stem for path in (REPOSITORY / "web" / "docs").glob("*.md")} == {id_ for id_, _ in nodes().values()}


@pytest.mark.parametrize("name", sorted(name for _, name in nodes().values()))
def test_readme_lists_the_node(name: str):
    assert any(f"**{said}**" in README for said in (name, name.removeprefix("Query by ")))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_is_listed_has_a_picture_and_is_run_by_a_test(example: str):
    assert re.search(rf"^\| .*`{example}`.* \|$", README, re.MULTILINE)
    assert (REPOSITORY / "example_workflows" / f"{example}.jpg").is_file()
    tests = (path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests" / "comfy").glob("*.py"))
    assert any(re.search(rf'"{example}(\.json)?"', test) for test in tests)
