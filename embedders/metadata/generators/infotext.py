"""AUTOMATIC1111's text of parameters taken apart: prompt, negative prompt, and the settings by name.

    a red fox
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model: dream

Some write each setting on a line of its own, in any order.

Every step is linear in the text's length: each place is looked at a bounded number of times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_DECODER = json.JSONDecoder(strict=False)
_GAP = re.compile(r"[\s,]*")
_NAME = re.compile(r"([^\W_][\w /+.()-]{0,60}):[ \t]*")
_END = re.compile(r"[,\n]")
_STEPS = re.compile(r"Steps: ?\d")
_STEPS_ALONE = re.compile(r"Steps: ?\d{1,9}\s*")
_JOINTS = " \t\r\n.,"  # what a site leaves where it joined lines
_STEPS_LINE = re.compile(r"Steps: ?\d{1,9}[ \t]*\n[^\W_][^,:\n]{0,60}:")
_STEPS_INSIDE = re.compile(r"Steps: ?\d{1,9}, ?[A-Z]")
_NEGATIVE_LINE = re.compile(r"^[ \t]*Negative prompt:[ \t]*", re.MULTILINE)
_TEMPLATE_LINE = re.compile(r"^(?:Negative )?Template:", re.MULTILINE | re.IGNORECASE)
_KNOWN = {
    "steps", "sampler", "cfg scale", "seed", "size", "model", "model hash", "schedule type", "scheduler", "clip skip",
    "denoising strength", "version", "vae", "distilled cfg scale", "guidance scale", "width", "height", "pipeline", "app",
    "backend", "civitai resources", "hires upscale", "strength",
}  # fmt: skip
_MAX_LENGTH, _MAX_SETTINGS = 2**20, 1000
_FAILURES = 8  # of values in quotes or brackets that end nowhere; each one costs a look at the whole rest


@dataclass
class Infotext:
    """`settings` are by lower-case name; a value in quotes without them, a JSON one parsed."""

    prompt: str
    negative: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def parse_infotext(text: str) -> Infotext:
    """Any text has a prompt; whether it is this format at all shows in `negative` and `settings`."""
    text = text.replace("\r\n", "\n").removeprefix("parameters:").removeprefix("Positive prompt:\n")
    start, settings = _find_settings(text)
    head = text[:start]
    joined = settings and head.rstrip(" \t")[-1:] not in ("", "\n")
    # Dynamic Prompts and SD.Next put the text with its wildcards behind the prompts.
    if settings and "emplate:" in head and (template := _TEMPLATE_LINE.search(head)):
        head = head[: template.start()]
    if "Negative prompt:" in head and (line := _NEGATIVE_LINE.search(head)):
        return Infotext(head[: line.start()].strip(), head[line.end() :].strip(_JOINTS if joined else None), settings)
    if joined:
        prompt, found, negative = head.rpartition("Negative prompt:")
        return Infotext((prompt if found else negative).strip(_JOINTS), negative.strip(_JOINTS) if found else None, settings)
    return Infotext(head.strip(), None, settings)


def _find_settings(text: str) -> tuple[int, dict[str, Any]]:
    """Where they begin: at the last line that looks like them, or inside one where a site joined all lines."""
    places = _last_places(text)
    for start in places:
        if text[text.rfind("\n", 0, start) + 1 : start].strip(" \t"):
            continue
        settings = read_settings(text[start:])
        if len(_KNOWN & settings.keys()) >= 2 or _STEPS_ALONE.fullmatch(text, start):
            first = _first_line(text, start)
            return first, settings if first == start else read_settings(text[first:])
    body = text.rstrip()
    start = body.rfind("\n") + 1
    settings = read_settings(body[start:])
    if len(_KNOWN & settings.keys()) >= 3 and body[start:].lstrip().partition(":")[0].lower() in _KNOWN:
        return start, settings
    for start in places:
        if _STEPS_INSIDE.match(text, start) and len(_KNOWN & (settings := read_settings(text[start:])).keys()) >= 3:
            return start, settings
    return len(text), {}


def _first_line(text: str, start: int) -> int:
    """Where the lines of one setting each begin of which "Steps: 20" at `start` is one."""
    if _STEPS_LINE.match(text, start):
        for _ in range(len(_KNOWN)):
            line = text.rfind("\n", 0, max(start - 1, 0)) + 1
            named = _NAME.match(text, line, max(start - 1, 0))
            if named is None or named[1].lower() not in _KNOWN or "," in text[line:start]:
                break
            start = line
    return start


def _last_places(text: str) -> list[int]:
    """Where "Steps: 20" stands, the last first; a prompt may hold it too."""
    found, end = [], len(text)
    for _ in range(8):
        end = text.rfind("Steps:", 0, end)
        if end < 0:
            break
        if _STEPS.match(text, end) and not text[max(end - 1, 0) : end].isalnum():
            found.append(end)
    return found


def read_settings(text: str) -> dict[str, Any]:
    """`name: value, name: "value, in quotes", name: {...}`; the first value of a name counts."""
    found: dict[str, Any] = {}
    for name, value in _settings(text):
        found.setdefault(name.strip().lower(), value)
    return found


def _settings(text: str) -> Iterator[tuple[str, Any]]:
    text, at, failures = text[:_MAX_LENGTH], 0, 0
    for _ in range(_MAX_SETTINGS):
        at = _GAP.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
        if at >= len(text):
            return
        named = _NAME.match(text, at)
        if named is None:
            end = _END.search(text, at)
            at = end.end() if end else len(text)
            continue
        at = named.end()
        if text[at : at + 1] in ('"', "{", "[") and failures < _FAILURES:
            try:
                value, at = _DECODER.raw_decode(text, at)
                yield named[1], value
                continue
            except (ValueError, RecursionError):
                failures += 1
                close = text.find('"', at + 1) if text[at] == '"' else -1
                if close > 0:
                    yield named[1], text[at + 1 : close]
                    at = close + 1
                    continue
        end = _END.search(text, at)
        stop = end.start() if end else len(text)
        yield named[1], text[at:stop].strip()
        at = stop + 1
