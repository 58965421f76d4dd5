"""One node of a ComfyUI workflow as the front end builds it: its widgets, its slots, and the saved values put into them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNDEFINED: Any = type("Undefined", (), {"__repr__": lambda self: "UNDEFINED"})()
"""A widget without any value. JSON's null is a value and is sent; this one is left out of the prompt."""

WIDGET_TYPES = frozenset(
    "INT FLOAT BOOLEAN STRING MARKDOWN COMBO IMAGEUPLOAD COLOR IMAGECOMPARE BOUNDING_BOX CHART GALLERIA PAINTER TEXTAREA CURVE "
    "RANGE BOUNDING_BOXES COLORS COMFY_DYNAMICCOMBO_V3 PREVIEW_3D LOAD_3D LOAD_3D_ADVANCED WEBCAM AUDIO_UI AUDIOUPLOAD "
    "AUDIO_RECORD".split()
)
"""Input types that get a widget; any other type is a socket only."""

_AUDIO_PLAYERS = frozenset("LoadAudio SaveAudio PreviewAudio SaveAudioMP3 SaveAudioOpus SaveAudioAdvanced".split())
_FIXED_DEFAULTS: dict[str, Any] = {
    "INT": 0,
    "FLOAT": 0,
    "BOOLEAN": False,
    "STRING": "",
    "MARKDOWN": "",
    "COLOR": "#000000",
    "BOUNDING_BOX": {"x": 0, "y": 0, "width": 512, "height": 512},
    "CHART": {},
    "GALLERIA": [],
    "PAINTER": "",
    "TEXTAREA": "",
    "CURVE": {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"},
    "RANGE": {"min": 0.0, "max": 1.0},
    "BOUNDING_BOXES": [],
    "COLORS": [],
}


class WorkflowError(ValueError):
    """The workflow cannot be converted; the message names the node and what to do."""


@dataclass(slots=True)
class Widget:
    """One widget. `stored`: takes a place in the saved `widgets_values`; `sent`: goes to the prompt (independent of each other)."""

    name: str
    kind: str
    value: Any = UNDEFINED
    stored: bool = True
    sent: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def choices(self) -> Sequence[Any]:
        """A combo's options, else empty."""
        return self.options.get("options") or () if self.kind == "COMBO" else ()


@dataclass(slots=True)
class Slot:
    """One input or output socket. `widget` names the widget an input belongs to; `link` is an input's link id."""

    name: str
    type: Any
    link: int | None = None
    widget: str | None = None
    links: list[int] = field(default_factory=list)
    promoted: Widget | None = None  # on a subgraph node: the inner widget's copy with this instance's value


@dataclass(slots=True)
class Spec:
    """One input of a node definition, in one shape for every spelling of it in `/object_info`."""

    name: str
    type: str
    options: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, raw: Sequence[Any]) -> Spec:
        """From `[type, options]`, where a list in place of the type is the old spelling of a combo's options."""
        kind = raw[0] if raw else "*"
        options = dict(raw[1]) if len(raw) > 1 and isinstance(raw[1], Mapping) else {}
        if isinstance(kind, list):
            return cls(name, "COMBO", {**options, "options": kind})
        return cls(name, str(kind), options)

    @property
    def widget_type(self) -> str | None:
        """The widget that this input gets; None for an input that is a socket only."""
        kind = self.options.get("widgetType") or self.type
        return kind if kind in WIDGET_TYPES and not self.options.get("forceInput") else None


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

    def widget(self, name: str | None) -> Widget | None:
        """The first widget of that name; on a subgraph node, the promoted one."""
        found = (slot.promoted for slot in self.inputs if slot.promoted) if self.subgraph else iter(self.widgets)
        return next((w for w in found if w.name == name), None) if name is not None else None

    def set_value(self, widget: Widget, value: Any) -> None:
        """Give a widget its value, with what the front end does then: a dynamic combo brings the inputs of its new option."""
        if widget.kind == "STRING" and widget.options.get("multiline") and value is None:
            value = ""
        widget.value = value
        if widget.kind == "COMFY_DYNAMICCOMBO_V3":
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
                specs=list(_specs(template.get("input") or {})),
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
            kind = (template.get("template") or template).get("allowed_types", "*")
        self.inputs.append(Slot(spec.name, kind))

    def add_widget(self, spec: Spec) -> None:
        """Add the widgets of an input, and the socket they share."""
        kind = spec.widget_type
        if not kind:
            return
        widget = self._make_widgets(kind, spec)
        if kind == "COMFY_DYNAMICCOMBO_V3":
            self._show_option(widget)  # before the combo's own socket: a new node's sockets stand in that order
        self.inputs.append(Slot(spec.name, spec.type, widget=spec.name))

    def _make_widgets(self, kind: str, spec: Spec) -> Widget:
        """The main widget of an input type, followed by those that the front end adds beside it."""
        name, options = spec.name, spec.options
        default = options.get("default")
        if kind in _FIXED_DEFAULTS:
            widget = Widget(name, kind, _FIXED_DEFAULTS[kind] if default is None else default, options=options)
        elif kind == "COMBO":
            choices = options.get("options") or ()
            value = default or (choices[0] if choices else "Loading..." if options.get("remote") else UNDEFINED)
            widget = Widget(name, kind, [] if options.get("multi_select") else value, options=options)
        elif kind == "COMFY_DYNAMICCOMBO_V3":
            keys = [option["key"] for option in options.get("options") or ()]
            widget = Widget(name, kind, keys[0] if keys else UNDEFINED, options=options)
        elif kind == "IMAGECOMPARE":
            widget = Widget(name, kind, ["", ""], stored=False)
        elif kind == "AUDIO_UI":
            widget = Widget(name, kind, "", stored=False, sent=False)
        elif kind in ("IMAGEUPLOAD", "AUDIOUPLOAD"):
            widget = Widget(name, kind, "", sent=False)
        elif kind == "LOAD_3D":
            if self.widget("model_file"):
                for label, value in (
                    ("upload 3d model", "upload3dmodel"),
                    ("upload extra resources", "uploadExtraResources"),
                    ("clear", "clear"),
                ):
                    self.widgets.append(Widget(label, "BUTTON", value))
            widget = Widget(name, kind, "")
        else:  # PREVIEW_3D, LOAD_3D_ADVANCED, WEBCAM, AUDIO_RECORD: what they send is made by the page
            widget = Widget(name, kind, "")
        self.widgets.append(widget)
        self.widgets.extend(_companions(kind, spec))
        return widget

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
        for spec in _specs(chosen.get("inputs") or {}, prefix):
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
        if isinstance(values, Mapping):
            for widget in list(self.widgets):
                if widget.name in values:
                    self.set_value(widget, values[widget.name])
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
        index, remaining = 0, iter(values)
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
    for kind, name in zip(definition.get("output") or (), definition.get("output_name") or definition.get("output") or ()):
        kind = "COMBO" if isinstance(kind, list) else "*" if kind == "COMFY_MATCHTYPE_V3" else kind
        node.outputs.append(Slot(str(name), kind))
    return node


def definition_specs(node_type: str, definition: Mapping[str, Any]) -> list[Spec]:
    """A definition's inputs, with those that the front end's own extensions add to it."""
    inputs = definition.get("input") or {}
    required = dict(inputs.get("required") or {})
    for name, raw in list(required.items()):
        options = raw[1] if len(raw) > 1 and isinstance(raw[1], Mapping) else {}
        is_combo = isinstance(raw[0], list) or raw[0] == "COMBO"
        if is_combo and any(options.get(f"{media}_upload") is True for media in ("image", "video", "animated_image")):
            required["upload"] = ["IMAGEUPLOAD", {}]
            break
    if node_type in _AUDIO_PLAYERS:
        required["audioUI"] = ["AUDIO_UI", {}]
    if any(len(raw) > 1 and isinstance(raw[1], Mapping) and raw[1].get("audio_upload") is True for raw in required.values()):
        required["upload"] = ["AUDIOUPLOAD", {}]
    if node_type in ("SaveGLB", "Preview3D"):
        required["image"] = ["PREVIEW_3D", {}]
    if node_type == "Load3DAdvanced":
        required["viewport_state"] = ["LOAD_3D_ADVANCED", {}]
    return list(_specs({"required": required, "optional": inputs.get("optional") or {}}))


def rounded(widget: Widget, value: Any) -> Any:
    """What a number widget makes of a value written into it by another node (a saved value is taken as it is)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    options = widget.options
    if widget.kind == "INT":
        step = options.get("step") or 1
        offset = 0 if step == 1 else math.fmod(options.get("min") or 0, step)
        result = math.floor((value - offset) / step + 0.5) * step + offset if step != 1 or isinstance(value, float) else value
        return int(result) if float(result).is_integer() else result
    if widget.kind == "FLOAT":
        step = options.get("step") or 0.5
        precision = max(0, -math.floor(math.log10(step)))
        unit = options.get("round") or (10**-precision if precision else None)
        if unit:
            value = round(math.floor(value / unit + 0.5) * unit, precision)
            least, most = options.get("min"), options.get("max")
            value = min(max(value, 0 if least is None else least), 2048 if most is None else most)
    return value


def _specs(inputs: Mapping[str, Any], prefix: str = "") -> Iterator[Spec]:
    """Required, then optional inputs of a definition or of a dynamic input's template."""
    for section in ("required", "optional"):
        for name, raw in (inputs.get(section) or {}).items():
            yield Spec.read(f"{prefix}{name}", raw)


def _companions(kind: str, spec: Spec) -> list[Widget]:
    """Widgets beside the main one: never sent, but most take a place among the saved values."""
    control = spec.options.get("control_after_generate")
    if kind == "INT" and control is None:
        control = spec.name in ("seed", "noise_seed")
    beside: list[Widget] = []
    if kind in ("INT", "FLOAT", "COMBO") and control:
        beside.append(Widget(control if isinstance(control, str) else "control_after_generate", "CONTROL", "randomize", sent=False))
        if kind == "COMBO" and not spec.options.get("multi_select"):
            beside.append(Widget("control_filter_list", "CONTROL", "", sent=False))
    if kind == "BOUNDING_BOX":
        beside += [Widget(name, "SHIM", 0, sent=False) for name in ("x", "y", "width", "height")]
    if kind == "AUDIO_RECORD":
        beside.append(Widget(spec.name, "BUTTON", "", sent=False))
    return beside
