"""What the front end does to texts on their way to the prompt: dynamic prompts and replacements in file names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from .nodes import Node
from .widgets import UNDEFINED

SAVE_TYPES = frozenset(
    "SaveImage SaveImageAdvanced SaveSVGNode SaveVideo SaveAnimatedWEBP SaveWEBM SaveAudio SaveAudioMP3 SaveAudioOpus "
    "SaveAudioAdvanced SaveGLB Save3DAdvanced SaveGaussianSplat SavePointCloud SaveAnimatedPNG CLIPSave VAESave ModelSave LoraSave "
    "SaveLatent DiffusionToolkitSaveImage".split()  # the last one by our own script
)
"""Nodes whose `filename_prefix` takes `%Node.widget%` and `%date:...%`."""


def dynamic_prompt(text: str, choose: Callable[[Sequence[str]], str]) -> str:
    r"""Strip C-style comments, replace each `{a|b}` by one of its parts (nested ones too), unescape `\{ \} \|`."""
    text = re.sub(r"/\*[\s\S]*?\*/|//[^\n\r\u2028\u2029]*", "", text)
    result, place = [], 0
    while place < len(text):
        char = text[place]
        if char == "{":
            parts, place = _parts(text, place + 1)
            result.append(dynamic_prompt(choose(parts), choose))
            continue
        step = 2 if char == "\\" else 1
        result.append(text[place : place + step])
        place += step
    return re.sub(r"\\([{}|])", r"\1", "".join(result))


def _parts(text: str, place: int) -> tuple[list[str], int]:
    """The alternatives of a block whose `{` stands before `place`, and the place behind its `}` (or the text's end)."""
    parts: list[str] = []
    part, depth = "", 0
    while place < len(text):
        char = text[place]
        step = 2 if char == "\\" else 1
        if char == "}" and not depth:
            return [*parts, part], place + 1
        if char == "|" and not depth:
            parts.append(part)
            part = ""
        else:
            depth += (char == "{") - (char == "}")
            part += text[place : place + step]
        place += step
    return [*parts, part], place


def replace_in_name(text: str, nodes: Iterable[Node], now: datetime) -> str:
    """Fill `%date:yyyy-MM-dd%` and `%Node.widget%` (by the node's 'Node name for S&R', else by title) in a file name."""
    known = list(nodes)

    def fill(match: re.Match[str]) -> str:
        parts = match[1].split(".")
        if len(parts) != 2:
            return _date(parts[0][5:], now) if parts[0].startswith("date:") else match[0]
        named = [n for n in known if n.properties.get("Node name for S&R") == parts[0]] or [n for n in known if n.title == parts[0]]
        widget = named[0].widget(parts[1]) if named else None
        if widget is None:
            return match[0]
        return re.sub(r'[/?<>\\:*|"\x00-\x1f\x7f]', "_", _plain(widget.value))

    return re.sub(r"%([^%]+)%", fill, text)


def _plain(value: Any) -> str:
    """A value as JavaScript writes it in a text."""
    if value is None or value is UNDEFINED:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _date(pattern: str, now: datetime) -> str:
    values = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def fill(match: re.Match[str]) -> str:
        letters = match[0]
        if letters[0] == "y":
            return {2: str(now.year)[2:], 4: str(now.year)}.get(len(letters), letters)
        return str(values[letters[0]]).zfill(len(letters))

    return re.sub(r"dd?|MM?|hh?|mm?|ss?|yyy?y?", fill, pattern)
