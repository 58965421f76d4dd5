"""What becomes of a text on its way to the prompt: choices, comments and escapes, and what a file's name has filled in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from diffusion_toolkit.embedders.workflow.text import dynamic_prompt
from host.handmade_workflows import OBJECT_INFO, node, saved_as, workflow


@pytest.mark.parametrize(
    ("text", "last", "offered"),
    [
        ("a {red|blue} fox", "a blue fox", [["red", "blue"]]),
        ("{a|b}{c|d}", "bd", [["a", "b"], ["c", "d"]]),
        ("{a|{b|c} d}!", "c d!", [["a", "{b|c} d"], ["b", "c"]]),
        ("{a}{|b|}", "a", [["a"], ["", "b", ""]]),
        (r"\{a\|b\} {a\|b|c\}d}", "{a|b} c}d", [[r"a\|b", r"c\}d"]]),
        (r"{a\|b}", "a|b", [[r"a\|b"]]),
        ("a {b|c", "a c", [["b", "c"]]),
        ("a} fox|", "a} fox|", []),
        ("a\\", "a\\", []),
        ("a /* {b|c}\n*/fox // in {d|e}\nsnow", "a fox \nsnow", []),
        ("{a|/* b */}", "", [["a", ""]]),
    ],
)
def test_choices_of_a_prompt_are_made_and_comments_taken_away(text: str, last: str, offered: list[list[str]]) -> None:
    seen: list[list[str]] = []

    def choose(parts: Any) -> str:
        seen.append(list(parts))
        return parts[-1]

    assert dynamic_prompt(text, choose) == last
    assert seen == offered


@pytest.mark.parametrize(
    ("pattern", "filled"),
    [
        ("yyyy-MM-dd", "2025-03-04"), ("yy M d", "25 3 4"), ("yy.M.d", "25"),  # so does the front end
        ("hhmmss", "050607"), ("h-m-s", "5-6-7"), ("yyy", "yyy"),
    ],
)  # fmt: skip
def test_date_in_a_file_s_name_is_filled_in(pattern: str, filled: str) -> None:
    saved = saved_as(f"x%date:{pattern}%")
    assert to_api(saved, OBJECT_INFO, now=datetime(2025, 3, 4, 5, 6, 7))["3"]["inputs"]["filename_prefix"] == f"x{filled}"


@pytest.mark.parametrize(
    ("value", "filled"), [(True, "true"), (7.0, "7"), (0.5, "0.5"), (12, "12"), (None, ""), ("a/b:c\x00d", "a_b_c_d"), ("a fox", "a fox")]
)
def test_value_of_a_node_in_a_file_s_name_is_written_as_javascript_does(value: Any, filled: str) -> None:
    holder = {"Holder": {"input": {"required": {"held": ["COMBO", {}]}}, "output": [], "output_name": []}}
    saved = saved_as("x%Mine.held%%Mine.gone%%None.held%%a%")
    saved["nodes"].append(node(9, "Holder", values=[value], title="Mine"))
    sent = to_api(saved, {**OBJECT_INFO, **holder})["3"]["inputs"]["filename_prefix"]
    assert sent == f"x{filled}%Mine.gone%%None.held%%a%"


def test_node_in_a_file_s_name_is_that_of_its_name_for_replacements_before_that_of_its_title() -> None:
    holder = {"Holder": {"input": {"required": {"held": ["COMBO", {}]}}, "output": [], "output_name": []}}
    titled, named = node(8, "Holder", values=["title"], title="Mine"), node(9, "Holder", values=["name"], properties={"Node name for S&R": "Mine"})
    saved = workflow([node(3, "SaveImage", values=["x%Mine.held%"]), titled, named], [])
    assert to_api(saved, {**OBJECT_INFO, **holder})["3"]["inputs"]["filename_prefix"] == "xname"
    named["widgets_values"] = None  # a combo without options then has no value
    assert to_api(saved, {**OBJECT_INFO, **holder})["3"]["inputs"]["filename_prefix"] == "x"
