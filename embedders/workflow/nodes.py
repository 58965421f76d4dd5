"""One node of a ComfyUI workflow as the front end builds it: its widgets, its slots, and the saved values put into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .widgets import Slot, Spec, Widget, definition_specs, make_widgets, read_specs


@dataclass(slots=True)
class _Autogrow:
    specs: list[Spec]
    names: list[str] | None
    prefix: str
    least: int
    most: int

    def slot_name(self, group: str, ordinal: int, key: str) -> str:
        if self.names is not None:
            base = self.names[ordinal] if 0 <= ordinal < len(self.names) else ""
        else:
            base = f"{self.prefix if len(self.specs) == 1 else key}{ordinal}"
        return f"{group}.{base}"

    def ordinal(self, group: str, slot_name: str) -> int | None:
        name = slot_name[len(group) + 1 :]
        if self.names is not None:
            return self.names.index(name) if name in self.names else None
        digits = re.search(r"\d+$", name)
        return int(digits[0]) if digits else None


@dataclass(slots=True, eq=False)
class Node:
    """One node of one graph. A subgraph node has its `subgraph`; nodes that exist in the browser only are `virtual`."""

    id: str
    type: str
    title: str
    mode: int
    properties: Mapping[str, Any]
    inputs: list[Slot] = field(default_factory=list)
    outputs: list[Slot] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    virtual: bool = False
    subgraph: Any = None
    links: Mapping[int, Any] = field(default_factory=dict)  # the graph's, once the node is being configured
    autogrow: dict[str, _Autogrow] = field(default_factory=dict)
    matched: dict[str, dict[str, str]] = field(default_factory=dict)  # inputs that must share a type: group, name, types allowed
    matched_outputs: list[str | None] = field(default_factory=list)  # the group that each output's type follows

    def widget(self, name: str | None) -> Widget | None:
        """The first widget of that name; on a subgraph node, the promoted one."""
        found = (slot.promoted for slot in self.inputs if slot.promoted) if self.subgraph else iter(self.widgets)
        return next((w for w in found if w.name == name), None) if name is not None else None

    def set_value(self, widget: Widget, value: Any) -> None:
        """Give a widget its value, with what the front end does then: a dynamic combo brings the inputs of its new option."""
        if widget.kind in ("PREVIEW_3D", "LOAD_3D", "LOAD_3D_ADVANCED"):
            return  # these show, they hold nothing
        if widget.kind == "STRING" and widget.options.get("multiline") and value is None:
            value = ""
        widget.value = value
        if widget.kind == "COMFY_DYNAMICCOMBO_V3" and self.subgraph is None:
            self._show_option(widget)
        elif widget.kind == "CUSTOM_OPTION":
            self._grow_options(widget)

    def add_input(self, spec: Spec) -> None:
        """Add what a definition's input adds: sockets, widgets, or for an autogrow group several of both."""
        self.add_socket(spec)
        self.add_widget(spec)

    def add_socket(self, spec: Spec) -> None:
        """Add the socket of an input that has no widget."""
        if spec.widget_type:
            return
        template = spec.options.get("template") or {}
        if spec.type == "COMFY_AUTOGROW_V3":
            names = template.get("names")
            self.autogrow[spec.name] = group = _Autogrow(
                specs=list(read_specs(template.get("input") or {})),
                names=names,
                prefix=template.get("prefix") or "",
                least=1 if template.get("min") is None else template["min"],
                most=len(names) if names is not None else template.get("max") or 100,
            )
            for ordinal in range(max(1, group.least + 1)):
                self._add_group(spec.name, ordinal)
            return
        kind: Any = spec.type
        if spec.type == "COMFY_MATCHTYPE_V3":
            kind = template.get("allowed_types", "*")
            self.matched.setdefault(template.get("template_id", ""), {})[spec.name] = kind
        self.inputs.append(Slot(spec.name, kind))

    def add_widget(self, spec: Spec) -> None:
        """Add the widgets of an input, and the socket they share."""
        kind = spec.widget_type
        if not kind:
            return
        self.widgets += make_widgets(spec, {widget.name for widget in self.widgets})
        if kind == "COMFY_DYNAMICCOMBO_V3":
            self._show_option(self.widgets[-1])  # before the combo's own socket: a new node's sockets stand in that order
        self.inputs.append(Slot(spec.name, spec.type, widget=spec.name))

    def _show_option(self, combo: Widget) -> None:
        """Replace the inputs below a dynamic combo by those of its chosen option; links stay by name."""
        prefix = f"{combo.name}."
        chosen = next((o for o in combo.options.get("options") or () if combo.value and o["key"] == combo.value), None)
        old = [slot for slot in self.inputs if slot.name.startswith(prefix)]
        self.inputs[:] = [slot for slot in self.inputs if not slot.name.startswith(prefix)]
        self.widgets[:] = [widget for widget in self.widgets if not widget.name.startswith(prefix)]
        if chosen is None:
            return
        first_widget, first_slot = len(self.widgets), len(self.inputs)
        for spec in read_specs(chosen.get("inputs") or {}, prefix):
            self.add_input(spec)
        added = self.widgets[first_widget:]
        del self.widgets[first_widget:]
        place = next(i for i, widget in enumerate(self.widgets) if widget is combo) + 1
        self.widgets[place:place] = added
        place = next((i for i, slot in enumerate(self.inputs) if slot.name == combo.name), -1) + 1
        if place:
            slots = self.inputs[first_slot:]
            del self.inputs[first_slot:]
            self.inputs[place:place] = slots
        for slot in old:
            heir = next((s for s in self.inputs if s.name == slot.name), None)
            if heir is not None:
                heir.link = slot.link
                self._grow_at(heir)

    def _add_group(self, group_name: str, ordinal: int) -> None:
        """Add an autogrow group's n-th row of sockets behind the row before it."""
        group = self.autogrow[group_name]
        if ordinal >= group.most:
            return
        rows: list[Slot] = []
        for spec in group.specs:
            self.add_input(Spec(group.slot_name(group_name, ordinal, spec.name), spec.type, spec.options))
            rows.append(self.inputs.pop())
        for slot in rows:
            for twin in [s for s in self.inputs if s.name == slot.name]:
                self.inputs.remove(twin)
                slot.link = twin.link if slot.link is None else slot.link
        before = group.slot_name(group_name, ordinal - 1, group.specs[-1].name) if ordinal else None
        places = [i for i, slot in enumerate(self.inputs) if before is not None and slot.name.startswith(before)]
        place = places[-1] + 1 if places else len(self.inputs)
        self.inputs[place:place] = rows

    def _grow_at(self, slot: Slot) -> None:
        """A linked socket of an autogrow group brings the next row."""
        group_name = slot.name.rpartition(".")[0]
        group = self.autogrow.get(group_name)
        if group is None or slot.link not in self.links:
            return
        if slot.widget and self.widget(slot.widget) is None:
            self.widgets.append(Widget(slot.widget, "SHIM", stored=False))
        ordinal = group.ordinal(group_name, slot.name)
        if ordinal is not None:
            self._add_group(group_name, ordinal + 1)

    def _grow_options(self, option: Widget) -> None:
        """CustomCombo keeps one empty option widget at its end."""
        if self.widgets[-1] is option:
            if option.value:
                self.widgets.append(Widget(f"option{len(self.widgets) - 1}", "CUSTOM_OPTION", ""))
        elif not option.value and self.widgets[-2] is option and not self.widgets[-1].value:
            self.widgets.pop()

    def configure(self, saved: Mapping[str, Any], links: Mapping[int, Any], definition: Mapping[str, Any] | None) -> None:
        """Put a saved node's links and values into this freshly built one, by the front end's rules.

        Sockets keep the definition's order and types, links are found by name; saved sockets that the definition lacks stay
        behind them unless they belonged to a widget that is gone.
        """
        self.links = links
        saved_inputs = [i for i in saved.get("inputs") or () if isinstance(i, Mapping)]
        by_name = {i.get("name"): i for i in saved_inputs}
        known = {slot.name for slot in self.inputs}
        for slot in self.inputs:
            slot.link = by_name.get(slot.name, {}).get("link")
        for extra in saved_inputs:
            if extra.get("name") not in known:
                widget = (extra.get("widget") or {}).get("name")
                self.inputs.append(Slot(extra.get("name", ""), extra.get("type", "*"), extra.get("link"), widget))
        for index, output in enumerate(saved.get("outputs") or ()):
            if index >= len(self.outputs):
                self.outputs.append(Slot(output.get("name", ""), output.get("type", "*")))
            self.outputs[index].links = list(output.get("links") or ())
        if definition is None:
            return
        index = 0
        while index < len(self.inputs):  # grows while we walk
            self._grow_at(self.inputs[index])
            index += 1
        self._set_values(saved.get("widgets_values"), definition)
        self.inputs[:] = [s for s in self.inputs if s.widget is None or self.widget(s.widget) is not None]

    def _set_values(self, values: Any, definition: Mapping[str, Any]) -> None:
        """Assign saved widget values, which are positional; a mapping (written by some packs' own scripts) goes by name."""
        index = 0
        if isinstance(values, Mapping):
            while index < len(self.widgets):  # grows while we walk
                widget = self.widgets[index]
                if widget.name in values:
                    self.set_value(widget, values[widget.name])
                index += 1
            return
        if not isinstance(values, list):
            return
        names = {widget.name for widget in self.widgets}
        forced: list[bool] = []  # before front end 1.16 inputs with forceInput had a value too: those are dropped
        for spec in definition_specs(self.type, definition):
            if spec.name in names or spec.options.get("forceInput"):
                forced += [bool(spec.options.get("forceInput"))] + [False] * bool(spec.options.get("control_after_generate"))
        if len(forced) == len(values):
            values = [value for value, drop in zip(values, forced) if not drop]
        remaining = iter(values)
        while index < len(self.widgets):  # grows while we walk
            if self.widgets[index].stored:
                try:
                    self.set_value(self.widgets[index], next(remaining))
                except StopIteration:
                    break
            index += 1


def build_node(saved: Mapping[str, Any], definition: Mapping[str, Any]) -> Node:
    """A node with every default, as if just added to the canvas; `Node.configure` then brings what was saved."""
    node = Node(
        id=str(saved.get("id")),
        type=str(saved.get("type")),
        title=saved.get("title") or definition.get("display_name") or str(saved.get("type")),
        mode=saved.get("mode") or 0,
        properties=saved.get("properties") or {},
    )
    specs = definition_specs(node.type, definition)
    order = definition.get("input_order") or {}
    names = [*(order.get("required") or ()), *(order.get("optional") or ())]
    specs.sort(key=lambda spec: names.index(spec.name) if spec.name in names else len(names))
    for spec in specs:
        node.add_socket(spec)
    for spec in specs:
        node.add_widget(spec)
    if node.type == "CustomCombo":
        node.widgets += [Widget("index", "CUSTOM_INDEX"), Widget("option1", "CUSTOM_OPTION", "")]
    node.matched_outputs = list(definition.get("output_matchtypes") or ())
    for kind, name in zip(definition.get("output") or (), definition.get("output_name") or definition.get("output") or ()):
        kind = "COMBO" if isinstance(kind, list) else "*" if kind == "COMFY_MATCHTYPE_V3" else kind
        node.outputs.append(Slot(str(name), kind))
    return node
