"""A definition for each node of a saved workflow, from the node itself where the running ComfyUI has none that fits.

What a file holds depends on its age. From front end 1.16 on a node listed a socket for each of its widgets, in their order;
before and lately, only for those that were made inputs. Values are positional and include some that have no socket (what a seed does
after a run, upload buttons), or go by name in packs that write them so; lately their names are beside them. In this order:

1. Values by name, or with their names beside them: their names, by the host's definition where it has them.
2. Sockets that name all the widgets: their names, aligned with the values by type. The file is right where a definition differs;
   where it does not, and the values are as many and fit, they go by the definition.
3. The host's definition, if the values fit it by type, and trailing ones are lacking.
4. The host's definition, aligned with the values by type and by a combo's options: a guess. Where a text or a linked widget is left over,
   and the others fit badly, the node is newer than the host, and read as one that it does not know.
5. Names made from the values' shapes and the sockets around them, such as a tracer of prompts understands: a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .nodes import build_node
from .shapes import CONTROLS, by_shape, is_spoken, is_whole
from .widgets import UNDEFINED, definition_specs

_NEVER_SENT = ("control_after_generate", "control_filter_list")  # what such widgets are called

_MISFIT, _SKIP_VALUE, _SKIP_NAME = 6.0, 1.5, 2.0
EFFORT = 100_000  # steps of alignment in one workflow; one takes names times values
_DYNAMIC = ("COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3")


@dataclass
class Definition:
    """A definition in `/object_info`'s shape, the values that go with it, and what of it is a guess."""

    info: Mapping[str, Any]
    values: Any
    guessed: str | None = None


@dataclass
class _Wanted:
    name: str
    type: str
    options: Sequence[Any] = field(default_factory=tuple)


class Effort:
    """What is left to be spent on one workflow, and the widgets of the classes that have always the same."""

    def __init__(self) -> None:
        self.left = EFFORT
        self.widgets: dict[str, list[_Wanted]] = {}


def define(saved: Mapping[str, Any], known: Mapping[str, Any] | None, links: Mapping[int, Any], effort: Effort) -> Definition:
    """How to read a saved, tidy node. `known` is the host's definition of its class, `links` are those of its graph."""
    values = saved["widgets_values"]
    if isinstance(values, Mapping):
        return _named(saved, values, known)
    values = values or []
    wanted = _widgets_of(saved, known, links, effort) if known is not None else []
    if (told := _told(saved, values, known, wanted)) is not None:
        return told
    if (named := _by_sockets(saved, values, known, wanted, effort)) is not None:
        return named
    if known is not None:
        return _by_host(saved, values, known, wanted, effort)
    if not values:
        return _named(saved, {})
    return _named(saved, by_shape(saved, values), guessed="the names of its widgets are not in the file")


def _told(saved: Mapping[str, Any], values: Sequence[Any], known: Mapping[str, Any] | None, wanted: Sequence[_Wanted]) -> Definition | None:
    """By the names that stand beside the values; the file is right where it has more of them than the host."""
    names = saved.get("widget_names")
    if not names:
        return None
    found = {name: value for name, value in zip(names, values) if name not in _NEVER_SENT}
    return Definition(known, found) if known is not None and found.keys() <= {w.name for w in wanted} else _named(saved, found, known)


def _by_sockets(
    saved: Mapping[str, Any], values: Sequence[Any], known: Mapping[str, Any] | None, wanted: Sequence[_Wanted], effort: Effort
) -> Definition | None:
    """By the sockets that name widgets, where they name all: older front ends do so only for those that were made inputs."""
    named = [_Wanted(slot["widget"]["name"], slot["type"]) for slot in saved["inputs"] if "widget" in slot]
    names, here = {w.name for w in named}, {w.name for w in wanted}
    if known is not None and names <= here and len(values) == len(wanted) and _fits(wanted, values):
        return Definition(known, values)  # which are as many as the host's, and fit: nothing is to be aligned
    if not named:
        return None
    found, cost = _align(named, values, effort)
    if cost >= _SKIP_VALUE:
        return None
    return Definition(known, found) if known is not None and names <= here else _named(saved, found)


def _by_host(
    saved: Mapping[str, Any], values: Sequence[Any], known: Mapping[str, Any], wanted: Sequence[_Wanted], effort: Effort
) -> Definition:
    """By the host's definition; but where it has no place for a text or for a linked widget, and fits badly, by the values' shapes."""
    if _fits(wanted, values):
        return Definition(known, values)
    own = [w for w in wanted if w.type != "CONTROL"]
    found, _ = _align(own, values, effort)
    here = {w.name for w in wanted}
    beyond = any("widget" in slot and slot["link"] is not None and slot["name"] not in here for slot in saved["inputs"])
    beyond = beyond or any(isinstance(value, str) and is_spoken(value, 3) and value not in found.values() for value in values)
    whole = all(want.name in found and not _cost(want, found[want.name]) for want in own)
    if beyond and not whole:  # what a pack's script shows beside all that the node has is no sign of another node
        return _named(saved, by_shape(saved, values), known, "it has more than this ComfyUI's definition")
    return Definition(known, found, "its values do not fit this ComfyUI's definition")


def _named(
    saved: Mapping[str, Any],
    values: Mapping[str, Any],
    known: Mapping[str, Any] | None = None,
    guessed: str | None = None,
) -> Definition:
    """A definition with these widgets and the file's sockets. A socket that names a widget stays its input."""
    required: dict[str, Any] = {}
    for slot in saved["inputs"]:
        if "widget" in slot:
            required[slot["widget"]["name"]] = [slot["type"], {"widgetType": "COMBO"}]
        elif slot["name"]:
            required[slot["name"]] = [slot["type"], {"forceInput": True}]
    for name in values:
        required.setdefault(name, ["*", {"widgetType": "COMBO"}])
        if "forceInput" in required[name][1]:  # a socket and a value of one name: the value is what it had before its link
            required[name] = [required[name][0], {"widgetType": "COMBO"}]
    info = {
        "input": {"required": required},
        "output": [slot["type"] for slot in saved["outputs"]],
        "output_name": [slot["name"] for slot in saved["outputs"]],
        "display_name": (known or {}).get("display_name"),
    }
    return Definition(info, dict(values), guessed)


def _widgets_of(saved: Mapping[str, Any], known: Mapping[str, Any], links: Mapping[int, Any], effort: Effort) -> list[_Wanted]:
    """The widgets that take a saved value by the host's definition, once the values are in (a dynamic combo brings more)."""
    if saved["type"] in effort.widgets:
        return effort.widgets[saved["type"]]
    node = build_node(saved, known)
    node.configure(saved, links, known)
    found = [_Wanted(w.name, "CONTROL" if not w.sent else w.kind, w.choices) for w in node.widgets if w.stored]
    if not any(spec.type in _DYNAMIC for spec in definition_specs(node.type, known)) and node.type != "CustomCombo":
        effort.widgets[node.type] = found
    return found


def _fits(wanted: Sequence[_Wanted], values: Sequence[Any]) -> bool:
    """Whether positional values are those of the widgets: as many, but for trailing ones, and none of another type."""
    if len(values) > len(wanted) and any(value not in (None, "") for value in values[len(wanted) :]):
        return False
    return all(_cost(want, value) < _MISFIT for want, value in zip(wanted, values))


def _cost(want: _Wanted, value: Any) -> float:
    """How badly a value fits a widget: 0 for very well."""
    if value is None or value is UNDEFINED:
        return 0.5
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if want.type == "INT":
        return 0.0 if number and is_whole(value) else 0.5 if number else _MISFIT
    if want.type == "FLOAT":
        return 0.0 if number else _MISFIT
    if want.type == "BOOLEAN":
        return 0.0 if isinstance(value, bool) else _MISFIT
    if want.type == "STRING":
        return (0.3 if value in CONTROLS else 0.0) if isinstance(value, str) else _MISFIT
    if want.type == "COMBO":
        if want.options and value in want.options:
            return 0.0
        if any(isinstance(option, str) for option in want.options) and not isinstance(value, str):
            return _MISFIT
        return (0.4 if want.options or value in CONTROLS else 0.1) if not isinstance(value, (dict, list)) else _MISFIT
    return 0.2


def _align(wanted: Sequence[_Wanted], values: Sequence[Any], effort: Effort) -> tuple[dict[str, Any], float]:
    """Give each widget the value that fits, both in order, some of either left over; and the cost per widget or so."""
    effort.left -= len(wanted) * len(values)
    if effort.left < 0:
        return {want.name: value for want, value in zip(wanted, values)}, _MISFIT
    rows, columns = len(wanted), len(values)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(rows, -1, -1):
        for column in range(columns, -1, -1):
            ways = []
            if row < rows and column < columns:
                ways.append(_cost(wanted[row], values[column]) + best[row + 1][column + 1])
            if row < rows:
                ways.append(_SKIP_NAME + best[row + 1][column])
            if column < columns:
                ways.append(_spare(values, column) + best[row][column + 1])
            best[row][column] = min(ways, default=0.0)
    found: dict[str, Any] = {}
    row = column = 0
    while row < rows and column < columns:
        if best[row][column] == _cost(wanted[row], values[column]) + best[row + 1][column + 1]:
            found[wanted[row].name] = values[column]
            row, column = row + 1, column + 1
        elif best[row][column] == _spare(values, column) + best[row][column + 1]:
            column += 1
        else:
            row += 1
    return found, best[0][0]


def _spare(values: Sequence[Any], place: int) -> float:
    """What it costs to take a value for one without a socket."""
    value = values[place]
    if isinstance(value, str) and value in CONTROLS:
        before = values[place - 1] if place else None
        return 0.0 if isinstance(before, (int, float)) and not isinstance(before, bool) else 0.3
    unsaid = value in (None, "", "image", []) or isinstance(value, dict) and "lora" not in value  # what a pack's script keeps
    return 0.2 if unsaid else _SKIP_VALUE


def is_reroute(saved: Mapping[str, Any]) -> bool:
    """Whether a node without a definition only hands through: one linked input of any type, one output, nothing of its own."""
    linked = [slot for slot in saved["inputs"] if slot["link"] is not None]
    if len(linked) != 1 or len(saved["inputs"]) != 1 or len(saved["outputs"]) != 1 or saved["widgets_values"]:
        return False
    return linked[0]["type"] == "*" or not linked[0]["name"] or "reroute" in saved["type"].lower()


def shared_name(saved: Mapping[str, Any]) -> str | None:
    """The first value of a node, or the first string of values by name: what a getter knows its setter by."""
    values = saved["widgets_values"]
    values = list(values.values()) if isinstance(values, Mapping) else values or []
    return values[0] if values and isinstance(values[0], str) and values[0] else None
