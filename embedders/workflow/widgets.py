"""Which widgets a node definition's inputs get in ComfyUI's front end, and what they hold before a workflow fills them."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class _Undefined(Enum):
    """An enum's member stays the same object when it is copied."""

    UNDEFINED = "undefined"


UNDEFINED: Any = _Undefined.UNDEFINED
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
_LOAD_3D_BUTTONS = (
    ("upload 3d model", "upload3dmodel"),
    ("upload extra resources", "uploadExtraResources"),
    ("clear", "clear"),
)


class WorkflowError(ValueError):
    """The workflow cannot be converted; the message names the node and what to do."""


UNFORESEEN = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError)
"""What ends the reading of a workflow that is broken where nothing looks. A WorkflowError is a ValueError: let it by first."""


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
        options = self.options.get("options") or ()
        if self.kind == "COMFY_DYNAMICCOMBO_V3":
            return [option["key"] for option in options]
        return options if self.kind == "COMBO" else ()


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


def read_specs(inputs: Mapping[str, Any], prefix: str = "") -> Iterator[Spec]:
    """Required, then optional inputs of a definition or of a dynamic input's template."""
    for section in ("required", "optional"):
        for name, raw in (inputs.get(section) or {}).items():
            yield Spec.read(f"{prefix}{name}", raw)


def definition_specs(node_type: str, definition: Mapping[str, Any]) -> list[Spec]:
    """A definition's inputs, with those that the front end's own extensions add to it."""
    inputs = definition.get("input") or {}
    required = dict(inputs.get("required") or {})
    for raw in list(required.values()):
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
    return list(read_specs({"required": required, "optional": inputs.get("optional") or {}}))


def make_widgets(spec: Spec, beside: Collection[str]) -> list[Widget]:
    """The widgets of an input in the node's order; `beside` names the widgets that the node has already."""
    kind, name, options = spec.widget_type or "", spec.name, spec.options
    default = options.get("default")
    before: list[Widget] = []
    if kind in _FIXED_DEFAULTS:
        widget = Widget(name, kind, copy.deepcopy(_FIXED_DEFAULTS[kind] if default is None else default), options=options)
    elif kind == "COMBO":
        choices = options.get("options") or ()
        value = default or (choices[0] if choices else "Loading..." if options.get("remote") else UNDEFINED)
        widget = Widget(name, kind, [] if options.get("multi_select") else value, options=options)
    elif kind == "COMFY_DYNAMICCOMBO_V3":
        widget = Widget(name, kind, options=options)
        widget.value = widget.choices[0] if widget.choices else UNDEFINED
    elif kind == "IMAGECOMPARE":
        widget = Widget(name, kind, ["", ""], stored=False)
    elif kind == "AUDIO_UI":
        widget = Widget(name, kind, "", stored=False, sent=False)
    elif kind in ("IMAGEUPLOAD", "AUDIOUPLOAD"):
        widget = Widget(name, kind, "", sent=False)
    else:  # PREVIEW_3D, LOAD_3D, LOAD_3D_ADVANCED, WEBCAM, AUDIO_RECORD: what they send is made by the page
        widget = Widget(name, kind, "")
        if kind == "LOAD_3D" and "model_file" in beside:
            before = [Widget(label, "BUTTON", value) for label, value in _LOAD_3D_BUTTONS]
    return [*before, widget, *_companions(kind, spec)]


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


def _companions(kind: str, spec: Spec) -> list[Widget]:
    """Widgets beside the main one: never sent, but most take a place among the saved values."""
    control = spec.options.get("control_after_generate")
    if kind == "INT" and control is None:
        control = spec.name in ("seed", "noise_seed")
    beside: list[Widget] = []
    if kind == "COMBO" and (spec.options.get("remote") or {}).get("refresh_button"):
        beside.append(Widget("refresh", "BUTTON", "refresh"))
    if kind in ("INT", "FLOAT", "COMBO") and control:
        beside.append(Widget(control if isinstance(control, str) else "control_after_generate", "CONTROL", "randomize", sent=False))
        if kind == "COMBO" and not spec.options.get("multi_select"):
            beside.append(Widget("control_filter_list", "CONTROL", "", sent=False))
    if kind == "BOUNDING_BOX":
        beside += [Widget(name, "SHIM", 0, sent=False) for name in ("x", "y", "width", "height")]
    if kind == "AUDIO_RECORD":
        beside.append(Widget(spec.name, "BUTTON", "", sent=False))
    return beside
