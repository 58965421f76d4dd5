"""Names for a node's saved values of which only the shape is known: type, look, place, and the sockets of their node.

The names are those that a tracer of prompts understands. Where a sampler's and a schedule's name stand side by side, the numbers about
them are steps and cfg, and denoise or the first step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..graph.settings import is_whole

CONTROLS = frozenset(("fixed", "increment", "decrement", "randomize", "increment-wrap"))
"""What becomes of a seed after a run. The value stands behind the seed, and is never sent."""

_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$", re.I)
_SAMPLER = re.compile(
    r"^(euler|heun|dpm|lms|ddim|ddpm|uni_pc|lcm|i?pndm|deis|res_multi|er_sde|sa_solver|seeds_|gradient_est)", re.I
)
_SCHEDULER = re.compile(
    r"^(normal|karras|exponential|sgm_uniform|simple|ddim_uniform|beta\d*|linear_quadratic|kl_optimal)$", re.I
)
_PLACEHOLDER = re.compile(r"\W*(select|choose)\b.{0,60}$", re.I)
_CHOICE = re.compile(r"baked vae|none|default|#[0-9a-f]{3,8}", re.I)  # a whole value that a list or a picker gave
_SWITCH = re.compile(r"enabled?|disabled?|true|false|on|off|yes|no|auto|none|default", re.I)
_SIDE = r"(?<![\d.])(?:6[4-9]|[7-9]\d|[1-9]\d{2,4})(?!\.?\d)"
_SIZE = re.compile(rf"{_SIDE}\s*[x\u00d7*]\s*{_SIDE}")
_ABOUT_SIZE = re.compile(r"(?:[\d\W]|sdxl|sd|flux|square|portrait|landscape)*", re.I)  # a ratio, and what lists of sizes call one


def by_shape(saved: Mapping[str, Any], values: Sequence[Any]) -> dict[str, Any]:
    """Names for values of which only the shape is known: type, look, place, and the sockets of their node."""
    gives = {slot["type"] for slot in saved["outputs"]}
    takes = {slot["type"] for slot in saved["inputs"]}
    samples = (
        "LATENT" in gives and bool(takes & {"MODEL", "GUIDER", "CONDITIONING"}) or bool(gives & {"SIGMAS", "NOISE", "SAMPLER"})
    )
    names: dict[int, str] = {}
    control = {
        i for i in range(1, len(values)) if isinstance(values[i], str) and values[i] in CONTROLS and _is_number(values[i - 1])
    }
    for place in control:
        names[place - 1] = "seed"
    strings = [i for i, v in enumerate(values) if isinstance(v, str) and i not in control]
    pair = next((i for i in strings if i + 1 in strings and _are_pair(values, i)), None)
    if pair is not None:
        names |= _around(values, pair, "INT" in gives and not samples)
        strings = [i for i in strings if i not in names]
    numbers = [i for i, v in enumerate(values) if _is_number(v) and i not in names]
    files = [i for i in strings if _FILE.search(values[i]) and ", " not in values[i]]  # which ends a text as an embedding
    encodes = (
        any(re.search("cond|embeds|pipe|bundle|string|(?<!con)text", kind, re.I) for kind in gives)
        or "CLIP" in takes
        and "CLIP" not in gives
    ) and not gives & {"IMAGE", "VIDEO", "AUDIO"}  # a service, which tells of its picture beside it
    said = [i for i in strings if not (_PLACEHOLDER.match(values[i]) or _CHOICE.fullmatch(values[i]))]
    sizes = [i for i in said if _is_size(values[i]) and not (encodes and len(strings) == 1)]
    names |= dict.fromkeys(sizes[:1], "resolution")
    said = [i for i in said if i not in files and i not in sizes]
    spoken = [i for i in said if is_spoken(values[i], 1 if encodes else 2)]
    if not encodes and spoken:  # beside the text a node of another kind may name a model, a voice or a style in words
        linked = any(slot["link"] is not None and slot["type"] == "STRING" and "widget" in slot for slot in saved["inputs"])
        longest = max(200 if linked else 0, *(len(values[i]) for i in spoken))  # what comes by a link is long, too
        spoken = [i for i in spoken if 4 * len(values[i]) >= longest]
    brought = [slot for slot in saved["inputs"] if slot["link"] is not None and slot["type"] == "STRING"]
    if encodes and not spoken and ("CLIP" in takes or "CONDITIONING" not in takes and not brought):
        spoken = said[:1]
    if brought and sum("widget" in slot for slot in brought) >= len(said):  # what stands there came before the links
        spoken = []
    if len(spoken) == 1 and _gives_both(saved):  # an empty negative
        spoken += [i for i in said if i > spoken[0] and not values[i]][:1]
    names |= dict(zip(spoken, _text_names(len(spoken), len(numbers), saved)))
    if gives == takes == {"CONDITIONING"} and len(values) == len(numbers) == 1 and values[0] > 1:
        names[0] = "guidance"
    for place in files:
        names.setdefault(place, _file_name(gives, takes, saved["type"]))
    sampler = pair is not None or any(_SAMPLER.match(values[i]) for i in strings)
    if samples and "steps" not in names.values() and (sampler or not gives & {"MODEL", "CONDITIONING"}):  # else it only prepares them
        names |= {i: "sampler_name" for i in strings if _SAMPLER.match(values[i])}
        names |= {i: "scheduler" for i in strings if _SCHEDULER.match(values[i]) and i not in names}
        if "SIGMAS" not in gives or "scheduler" in names.values():
            names |= dict(zip(numbers, _sampler_numbers(gives, [values[i] for i in numbers])))
    elif "GUIDER" in gives and numbers:
        names[numbers[0]] = "cfg"
    elif gives == {"LATENT"} and not takes - {"INT"}:
        names |= dict(zip((i for i in numbers if values[i] >= 16), ("width", "height")))
    elif "lora_name" in names.values():
        names |= dict(zip(numbers, ("strength_model", "strength_clip")))
    for place, value in enumerate(values):
        if isinstance(value, dict) and "lora" in value:
            names[place] = "lora"
    found: dict[str, Any] = {}
    for place, value in enumerate(values):
        if place in control:
            continue
        name, count = names.get(place, "value"), 1
        unique = name
        while unique in found:
            count += 1
            unique = f"{name}{count}"
        found[unique] = value
    return found


def is_spoken(value: str, words: int) -> bool:
    """Whether a string is language rather than a name, a choice or a path: several words, tags, or a script without spaces."""
    if len(value.split()) > words or value.count(",") > 1:
        return True
    return sum(char > "\u2e7f" for char in value[:200]) > 8


def _is_size(value: str) -> bool:
    """Whether the whole of a string is a choice among sizes: a text may begin with one."""
    return len(value) < 60 and bool(_SIZE.search(value)) and bool(_ABOUT_SIZE.fullmatch(_SIZE.sub("", value, count=1)))


def _text_names(count: int, numbers: int, saved: Mapping[str, Any]) -> list[str]:
    """SDXL's encoder has six sizes before its two texts; where a node gives both sides, the negative comes second."""
    if count == 2 and numbers >= 6 and [slot["type"] for slot in saved["outputs"]] == ["CONDITIONING"]:
        return ["text_g", "text_l"]
    if count == 2 and _gives_both(saved):
        return ["positive", "negative"]
    return ["text", *(f"text{number}" for number in range(2, count + 1))]


def _gives_both(saved: Mapping[str, Any]) -> bool:
    """Whether a node gives a positive and a negative: two conditionings, or one output that bundles."""
    kinds = [slot["type"] for slot in saved["outputs"]]
    return kinds.count("CONDITIONING") > 1 or len(kinds) == 1 and bool(re.search("embeds|pipe|bundle", kinds[0], re.I))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _file_name(gives: set[str], takes: set[str], kind: str) -> str:
    if "MODEL" in gives:
        changes = "lora_name" if re.search("lora|lyco|loha|locon|lokr", kind, re.I) else "file"  # or a motion's, a patch's
        return changes if "MODEL" in takes else "ckpt_name" if len(gives) > 1 else "unet_name"
    kinds = {"CLIP": "clip_name", "VAE": "vae_name", "CONTROL_NET": "control_net_name", "CLIP_VISION": "clip_vision_name"}
    return next((name for kind, name in kinds.items() if kind in gives), "file")


def _are_pair(values: Sequence[Any], place: int) -> bool:
    """Whether a sampler's and a schedule's name stand here. Between a sampler's numbers the schedule may be one of a pack's own."""
    if not _SAMPLER.match(values[place]) or _SCHEDULER.match(values[place + 1]):
        return bool(_SAMPLER.match(values[place]))
    between = _are_settings(values, place) and _is_number(next(iter(values[place + 2 : place + 3]), None))
    return between and bool(re.fullmatch(r"\w{2,30}( \w{1,10})?", values[place + 1])) and not _SWITCH.fullmatch(values[place + 1])


def _are_settings(values: Sequence[Any], pair: int) -> bool:
    """Whether steps and cfg stand before a sampler's name."""
    before = values[max(0, pair - 2) : pair]
    return len(before) == 2 and is_whole(before[0]) and before[0] >= 1 and _is_number(before[1])


def _around(values: Sequence[Any], pair: int, hands_on: bool) -> dict[int, str]:
    """What a sampler's and a schedule's name tell of the numbers about them, as all samplers have them in this order.

    Of the two whole numbers of a node that `hands_on` numbers, to samplers, either may be the steps.
    """
    names = {pair: "sampler_name", pair + 1: "scheduler"}
    behind = values[pair + 2 : pair + 4]
    after_settings = _are_settings(values, pair)
    if after_settings:
        names[pair - 1] = "cfg"
        if not (hands_on and pair > 2 and _is_number(values[pair - 3])):
            names[pair - 2] = "steps"
    if behind and _is_number(behind[0]):
        if after_settings and (behind[0] > 1 or behind[0] == 0 and len(behind) > 1 and _is_number(behind[1])):
            names |= {pair + 2: "start_at_step", **({pair + 3: "end_at_step"} if len(behind) > 1 else {})}
        elif 0 < behind[0] < 1 or after_settings and 0 <= behind[0] <= 1:
            names[pair + 2] = "denoise"
    return names


def _sampler_numbers(gives: set[str], numbers: Sequence[Any]) -> list[str]:
    """Steps come first and are whole; then cfg; a last number up to 1 is the denoise. Sigmas have no cfg."""
    names = []
    for place, value in enumerate(numbers):
        whole = is_whole(value) and value >= 1
        if "NOISE" in gives:
            names.append("noise_seed" if not place else "value")
        elif "steps" not in names and whole:
            names.append("steps")
        elif place == len(numbers) - 1 and 0 <= value <= 1 and len(numbers) > 1:
            names.append("denoise")
        elif "cfg" not in names and "SIGMAS" not in gives:
            names.append("cfg")
        else:
            names.append("value")
    return names
