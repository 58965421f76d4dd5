"""Fill a template: put an image's prompts and settings where the template has its own, and read the result back.

- Nothing is filled by the name of a class: `probe` finds the literals that the tracer reads a setting from.
- A text that holds %prompt%, %negative%, %seed% or %image_id% says itself where these go, and keeps the rest; then no other text
  is filled with that. A mark counts so only where the picture's text is read from it, not in a file's name.
- A text that is put together of several is filled into the longest of them, and the others are emptied.
- A text that Save Image with Prompt keeps in the file is filled with the one that it repeats, and never alone: it made no picture.
- What was filled is traced again. Only what is read back is said to be filled; of the rest it is said why not.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..graph.saved_texts import SAVER, SIDES, beside
from .loras import with_loras, without_loras
from .probe import Graph, Place, Probe, TextPlaces, changed, passes_of

Pair = tuple[str, str]
FILLABLE = (
    "checkpoint", "vae", "loras", "prompt", "negative", "seed", "steps", "cfg", "guidance", "sampler", "scheduler", "denoise", "size",
)  # fmt: skip
REPLACE, ADD = "replace", "add"
_SIDE = {"prompt": "positive", "negative": "negative"}
_NAMES_FILES = re.compile(r"file|path|folder|director|prefix", re.I)  # of inputs
_LONGEST = 60  # letters of a text in a file's name


class FillError(ValueError):
    """The template can't be filled with any image; the message says why."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass
class Filled:
    """A graph ready to be queued; the settings that came into it, and why others did not, by their names in `FILLABLE`; its marks."""

    graph: Graph
    filled: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)


def fill(
    template: Graph,
    wanted: Mapping[str, Any],
    types: Mapping[str, Sequence[str]],
    *,
    keep: Collection[str] = (),
    loras: str = REPLACE,
    marks: Mapping[str, str] = {},
) -> Filled:
    """The template with what is `wanted`: values by the names in `FILLABLE`, a text as its pair (text_g, text_l), "size" as (width, height).

    None is not known and is left as it is, as are those in `keep`. `marks` are what %name% stands for beside %prompt% and %negative%.
    The template is not changed. FillError when it holds no graph.
    """
    done = Filled(copy.deepcopy(template))
    values = {name: value for name, value in wanted.items() if value is not None and name not in keep}
    done.left |= {name: "the image's is not known" for name in FILLABLE if name not in keep and values.get(name) is None}
    marks = {**marks, **{name: _joined(values[name]) for name in _SIDE if name in values}}
    try:
        read = _read_marks(done.graph, types)
        marked = _fill_marks(done.graph, marks)
        done.marks = [name for name in marks if name in marked]
        for name in [name for name in _SIDE if name in values and name in read]:
            done.filled.append(name)
            del values[name]
        if "loras" in values:
            _fill_loras(done, values.pop("loras"), types, loras)
        probe = Probe(done.graph, types)
    except ValueError as error:
        raise FillError(f"The template can't be read: {error}.") from error
    changes: dict[Place, Any] = {}
    texts = probe.texts() if _SIDE.keys() & values.keys() else {}
    for name in [name for name in _SIDE if name in values]:
        changes |= _text_changes(probe, texts[_SIDE[name]], values[name])
    for name in [name for name in values if name not in _SIDE]:
        changes |= _size_changes(probe, *values[name]) if name == "size" else _setting_changes(probe, name, values[name])
    done.graph = changed(done.graph, changes)
    _read_back(done, values, types, {name for name in texts if any(texts[name])})
    for name in _SIDE.keys() & values.keys() & set(done.filled):
        _fill_savers(done.graph, _SIDE[name], {_joined(text) for text in getattr(probe.first, _SIDE[name])}, _joined(values[name]))
    for name in (marked & _SIDE.keys() & done.left.keys()) - read:
        done.left[name] = f"it stands at %{name}%, where no reader finds the picture's text"
    return done


def _read_marks(graph: Graph, types: Mapping[str, Sequence[str]]) -> set[str]:
    """The sides that have their mark in a text that the tracer reads as theirs."""
    signs = {name: f"zqx{name}mark" for name in _SIDE}
    places = {
        Place(key, name): _replaced(value, {mark: sign for mark, sign in signs.items() if f"%{mark}%" in value})
        for key, node in graph.items()
        for name, value in (node.get("inputs") if isinstance(node, dict) and isinstance(node.get("inputs"), dict) else {}).items()
        if isinstance(value, str) and any(f"%{mark}%" in value for mark in signs)
    }
    if not places:
        return set()
    base = Probe(changed(graph, places), types).base
    heard = [base, *passes_of(base)]  # a saving node's text is the picture's, and of no pass
    return {
        name for name, side in _SIDE.items() if any(signs[name] in half for one in heard for text in getattr(one, side) for half in text)
    }


def _fill_marks(graph: Graph, marks: Mapping[str, str]) -> set[str]:
    """Put texts in the place of %marks%, and short ones into names of files; gives those that were found."""
    found: set[str] = set()
    for node in graph.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        for name, value in inputs.items() if isinstance(inputs, dict) else ():
            if isinstance(value, str) and "%" in value:
                there = [mark for mark in marks if f"%{mark}%" in value]
                found.update(there)
                file = _NAMES_FILES.search(name) is not None
                inputs[name] = _replaced(value, {mark: _for_a_file(marks[mark]) if file and mark in _SIDE else marks[mark] for mark in there})
                if value == "%seed%" and "seed" in there and "seed" in name.lower():
                    inputs[name] = int(marks["seed"])  # a number, as a sampler has it and a reader finds it
    return found


def _for_a_file(text: str) -> str:
    """The beginning of a text as a file's name: it makes no folders, and nothing that a node would replace."""
    return re.sub(r"[^\w ,.()+-]+|\.\.+", "_", text)[:_LONGEST].strip(" .") or "_"


def _replaced(text: str, marks: Mapping[str, str]) -> str:
    """In one go: a prompt that holds %seed% itself stays as it is."""
    pattern = "|".join(re.escape(f"%{mark}%") for mark in marks)
    return re.sub(pattern, lambda found: marks[found[0][1:-1]], text) if marks else text


def _fill_loras(done: Filled, loras: Sequence[Mapping[str, Any]], types: Mapping[str, Sequence[str]], how: str) -> None:
    before = done.graph
    if how == REPLACE:
        done.graph, stuck = without_loras(done.graph, types)
        if stuck:
            done.left["loras"] = f"the template's {', '.join(stuck)} stays: it stands in a node that does more"
    there = {_slashed(lora["name"]) for one in passes_of(Probe(done.graph, types).base) for lora in one.loras}
    twice = [lora["name"] for lora in loras if _slashed(lora["name"]) in there]
    if twice and how == ADD:
        done.left["loras"] = f"the template has {', '.join(twice)} itself, which would be applied twice"
    loras = [lora for lora in loras if lora["name"] not in twice]
    new = with_loras(done.graph, types, loras)
    if new is None:
        done.left["loras"] = "no loader of a model was found in the template"
        return
    done.graph = new
    if (how == ADD or "loras" not in done.left) and (loras or new != before):
        done.filled.append("loras")


def _slashed(name: str) -> str:
    """A file's name as both kinds of computers write it."""
    return name.replace("\\", "/")


def _text_changes(probe: Probe, places: TextPlaces, pair: Pair) -> dict[Place, str]:
    """Each half of the pair at its own literals; one text where the template has no two."""
    text_g, text_l = places
    if not text_g or not text_l or set(text_g) & set(text_l):
        both = tuple(dict.fromkeys((*text_g, *text_l)))
        return _spread(probe, both, _joined(pair))
    return {**_spread(probe, text_g, pair[0]), **_spread(probe, text_l, pair[1])}


def _fill_savers(graph: Graph, side: str, old: Collection[str], new: str) -> None:
    """Saving nodes that hold the text which was replaced would contradict the new one."""
    name = SIDES[side]
    for key, node in graph.items():
        inputs = node.get("inputs") if isinstance(node, dict) and node.get("class_type") == SAVER else None
        if isinstance(inputs, dict) and any(isinstance(inputs.get(place), str) and inputs[place] in old for place in (name, beside(name))):
            graph[key] = {**node, "inputs": {**{place: value for place, value in inputs.items() if place != beside(name)}, name: new}}


def _spread(probe: Probe, places: Sequence[Place], text: str) -> dict[Place, str]:
    """The text where the longest literal stood, and where that very literal stood again; nothing in the places of the others."""
    if not places:
        return {}
    main = max((probe.value(place) for place in places), key=len)
    first = next(place for place in places if probe.value(place) == main)
    same = [place for place in places if probe.value(place) == main and (main.strip() or place == first)]
    return {place: text if place in same else "" for place in places}


def _setting_changes(probe: Probe, name: str, value: Any) -> dict[Place, Any]:
    places = probe.setting(name)
    if name == "steps" and _shares_schedule(probe):
        return {}
    return {place: float(value) if isinstance(probe.value(place), float) else value for place in places}


def _shares_schedule(probe: Probe) -> bool:
    """Several samplers divide one schedule by the numbers of its steps: other steps would divide it otherwise."""
    ranges = ("start_at_step", "end_at_step")
    return any(
        isinstance(value := (probe.graph.get(getattr(one, "node", "")) or {"inputs": {}})["inputs"].get(name), int) and 0 < value < 1000
        for one in passes_of(probe.base)
        for name in ranges
    )


def _size_changes(probe: Probe, width: int, height: int) -> dict[Place, int]:
    changes: dict[Place, int] = {}
    for name, side in (("width", width), ("height", height)):
        for place in probe.setting(name):
            value = round(side / place.scale / 8) * 8 if place.scale != 1.0 else side
            if changes.get(place, value) != value:
                return {}  # one number for both sides, and the image is no square
            changes[place] = value
    return changes


def _read_back(done: Filled, values: Mapping[str, Any], types: Mapping[str, Sequence[str]], sides: Collection[str]) -> None:
    """Say of each value whether the filled graph tells it; `sides` are those that the template has a text of."""
    after = Probe(done.graph, types).first
    for name, value in values.items():
        if name in _SIDE:
            told = any(_same_text(text, value) for text in getattr(after, _SIDE[name]))
            empty = not any(half.strip() for half in value) and not any(h.strip() for t in getattr(after, _SIDE[name]) for h in t)
            told = told or empty and _SIDE[name] in sides
            if empty and not told:
                done.left[name] = "the image's is empty, and the template has no text of it"
                continue
        elif name == "size":
            made = (after.width or 0, after.height or 0)
            told = all(abs(one - other) <= 16 for one, other in zip(made, value))
        else:
            told = getattr(after, name) == value
        if told:
            done.filled.append(name)
        elif name == "steps" and _shares_schedule(Probe(done.graph, types)):
            done.left[name] = "several samplers of the template divide its steps among them"
        else:
            done.left[name] = "the template has no one place for it"


def _same_text(text: Pair, value: Pair) -> bool:
    return text == tuple(value) or text == (_joined(value),) * 2


def _joined(pair: Pair) -> str:
    """As the library joins the two."""
    text_g, text_l = pair
    if text_g == text_l or not text_l:
        return text_g
    return f"{text_g}\n{text_l}" if text_g else text_l
