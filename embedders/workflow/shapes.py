"""Names for a node's saved values of which only the shape is known: type, look, place, and the sockets of their node.

The names are those that a tracer of prompts understands. Each of `_RULES` names values that none before it has named, by one sign that
nodes of many packs share; the first node in which it was seen stands beside it. A new rule needs nothing of the others but its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from ..graph.settings import is_whole

CONTROLS = frozenset(("fixed", "increment", "decrement", "randomize", "increment-wrap"))
"""What becomes of a seed after a run. The value stands behind the seed, and is never sent."""

_UNSENT = ""  # the name of such a value
_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$", re.I)
_FILE_NAMES = {"CLIP": "clip_name", "VAE": "vae_name", "CONTROL_NET": "control_net_name", "CLIP_VISION": "clip_vision_name"}
_SAMPLER = re.compile(
    r"(euler|heun|dpm|lms|ddim|ddpm|uni_pc|lcm|i?pndm|deis|res_multi|er_sde|sa_solver|seeds_|gradient_est)[^\s,]*( [^\s,]+){0,3}", re.I
)
_SCHEDULER = re.compile(r"normal|karras|exponential|sgm_uniform|simple|ddim_uniform|beta\d*|linear_quadratic|kl_optimal", re.I)
_PLACEHOLDER = re.compile(r"\W*(select|choose)\b.{0,60}$", re.I)
_CHOICE = re.compile(r"baked vae|none|default|#[0-9a-f]{3,8}", re.I)  # a whole value that a list or a picker gave
_SWITCH = re.compile(r"enabled?|disabled?|true|false|on|off|yes|no|auto|none|default", re.I)
_SIZE = re.compile(r"[1-9]\d{2,4}\s*[x\u00d7*]\s*[1-9]\d{2,4}")
_ABOUT_SIZE = re.compile(r"(?:[\d\W]|sdxl|sd|flux|square|portrait|landscape)*", re.I)  # a ratio, and what lists of sizes call one


def by_shape(saved: Mapping[str, Any], values: Sequence[Any]) -> dict[str, Any]:
    """A name for each value of a saved, tidy node, in their order; those that no rule names are `value`, `value2` and so on."""
    node = _Node(saved, values)
    for rule in _RULES:
        node.names = rule(node) | node.names
    found: dict[str, Any] = {}
    for place, value in enumerate(values):
        name = node.names.get(place, "value")
        if name != _UNSENT:
            found[next(unique for n in count(1) if (unique := f"{name}{n if n > 1 else ''}") not in found)] = value
    return found


class _Node:
    """A saved node as the rules see it.

    `names`: those given so far, by the values' places. `brought`: sockets to which a link brings a text; `replaced`: those of a
    widget, whose value is still there, but is not used. `linked`: what links bring.
    """

    def __init__(self, saved: Mapping[str, Any], values: Sequence[Any]) -> None:
        self.kind: str = saved["type"]
        self.values = values
        self.names: dict[int, str] = {}
        self.outputs = [slot["type"] for slot in saved["outputs"]]
        self.gives, self.takes = set(self.outputs), {slot["type"] for slot in saved["inputs"]}
        self.makes = self.gives - {"INT", "FLOAT", "STRING"}  # a node may tell its seed or its steps beside
        self.brought = [slot for slot in saved["inputs"] if slot["link"] is not None and slot["type"] == "STRING"]
        self.replaced = [slot for slot in self.brought if "widget" in slot]
        self.linked = {slot["type"] for slot in saved["inputs"] if slot["link"] is not None}

    @property
    def strings(self) -> list[int]:
        """Places of strings that have no name yet."""
        return [i for i, value in enumerate(self.values) if isinstance(value, str) and i not in self.names]

    @property
    def numbers(self) -> list[int]:
        """Places of numbers that have no name yet."""
        return [i for i, value in enumerate(self.values) if _is_number(value) and i not in self.names]

    def number(self, place: int) -> Any:
        """The number at a place; None where there is none."""
        return self.values[place] if 0 <= place < len(self.values) and _is_number(self.values[place]) else None

    @property
    def samples(self) -> bool:
        return "LATENT" in self.gives and "MODEL" in self.takes

    @property
    def loads(self) -> bool:
        """Whether it gives a model, or what bundles one, and takes none."""
        gives, takes = (any(kind == "MODEL" or re.search("pipe|tuple", kind, re.I) for kind in kinds) for kinds in (self.gives, self.takes))
        return gives and not takes

    @property
    def encodes(self) -> bool:
        """Whether it is there for its text. A service is not: it tells of its picture beside it, as ByteDanceSeedream does."""
        makes = any(re.search("cond|embeds|pipe|string|(?<!con)text", kind, re.I) for kind in self.gives)
        return (makes or "CLIP" in self.takes - self.gives) and not self.gives & {"IMAGE", "VIDEO", "AUDIO"}

    @property
    def gives_both(self) -> bool:
        """Whether it gives a positive and a negative: two conditionings, or one output that bundles, as WanVideoTextEncode's."""
        bundles = len(self.outputs) == 1 and bool(re.search("embeds|pipe", self.outputs[0], re.I))
        return bundles or self.outputs.count("CONDITIONING") > 1


def _seed(node: _Node) -> dict[int, str]:
    """The number before what becomes of it after a run: KSampler's `77, "randomize"`."""
    behind = [i for i in node.strings if node.values[i] in CONTROLS and node.number(i - 1) is not None]
    return dict.fromkeys(behind, _UNSENT) | {i - 1: "seed" for i in behind}


def _file(node: _Node) -> dict[int, str]:
    """A model's file, called as what the node gives of it. A text may end so, too: `blurry, embedding:bad.safetensors`."""
    files = [i for i in node.strings if _FILE.search(node.values[i]) and ", " not in node.values[i]]
    if node.loads:
        whole = "ckpt_name" if len(node.gives) > 1 else "unet_name"
        return {i: whole if i == files[0] else _beside_a_checkpoint(node, i) for i in files}
    if "MODEL" in node.gives:  # a LoRA's, or a motion's, a patch's
        return dict.fromkeys(files, "lora_name" if re.search("lora|lyco|loha|locon|lokr", node.kind, re.I) else "file")
    return dict.fromkeys(files, next((name for kind, name in _FILE_NAMES.items() if kind in node.gives), "file"))


def _beside_a_checkpoint(node: _Node, place: int) -> str:
    """A later file of a loader, as Efficient Loader's `"dream.ckpt", "kl.pt", -1, "ink.safetensors", 0.8, 0.6`.

    A VAE is called so, or stands before the layer at which CLIP stops; a LoRA stands before two strengths. What has more numbers
    behind it is another checkpoint, as Eff. Loader SDXL's `"sd_xl_refiner_1.0_0.9vae.safetensors", -2, 6.0, 2.0`.
    """
    model, clip, third = (node.number(place + n) for n in (1, 2, 3))
    if model is None or clip is None:
        is_vae = re.search("vae", node.values[place], re.I) or is_whole(model) and model < 0
        return "vae_name" if is_vae and "VAE" in node.gives else "file"
    return "lora_name" if third is None and max(abs(model), abs(clip)) <= 20 else "file"


def _about_a_pair(node: _Node) -> dict[int, str]:
    """Settings about a sampler's and a schedule's name side by side, in any node, which all have them in one order.

    `20, 8.0, "euler", "karras", 0.5` in Impact's detailers: steps and cfg before; behind it the denoise, or KSamplerAdvanced's
    first and last step. Of two whole numbers of a node that hands numbers on, as KSampler Config (rgthree), either may be the steps.
    """
    pair = next((i for i in node.strings if _is_pair(node, i)), None)
    if pair is None:
        return {}
    names = {pair: "sampler_name", pair + 1: "scheduler"}
    behind, last = node.number(pair + 2), node.number(pair + 3)
    before = _are_settings(node, pair - 2)
    if before:
        names[pair - 1] = "cfg"
        if not ("INT" in node.gives and not node.samples and node.number(pair - 3) is not None):
            names[pair - 2] = "steps"
    if behind is None:
        return names
    if before and (behind > 1 or behind == 0 and last is not None):
        return names | {pair + 2: "start_at_step"} | ({pair + 3: "end_at_step"} if last is not None else {})
    if 0 < behind < 1 or before:
        names[pair + 2] = "denoise"
    return names


def _is_pair(node: _Node, place: int) -> bool:
    """Between a sampler's numbers the schedule may be one of a pack's own: KSampler (Efficient)'s `20, 7.5, "euler", "AYS SDXL", 1`."""
    if not _SAMPLER.fullmatch(node.values[place]) or place + 1 not in node.strings:
        return False
    schedule = node.values[place + 1]
    if _SCHEDULER.fullmatch(schedule):
        return True
    between = _are_settings(node, place - 2) and node.number(place + 2) is not None
    return between and bool(re.fullmatch(r"\w+( \w+)?", schedule)) and not _SWITCH.fullmatch(schedule)


def _are_settings(node: _Node, place: int) -> bool:
    """Whether steps and cfg stand here. BNK_Unsampler's `12, 0, 1.0, "dpmpp_2m"` has its last step before the cfg."""
    return _is_steps(node.number(place)) and node.number(place + 1) is not None


def _size(node: _Node) -> dict[int, str]:
    """A whole choice among sizes, as CR Aspect Ratio's `SDXL - 3:4 portrait 896x1152`; an encoder's only string is its text."""
    if node.encodes and len(node.strings) == 1:
        return {}
    sizes = [i for i in node.strings if _SIZE.search(node.values[i])]
    return {i: "resolution" for i in sizes if _ABOUT_SIZE.fullmatch(_SIZE.sub("", node.values[i], count=1))}


def _names_alone(node: _Node) -> dict[int, str]:
    """Names of samplers and schedules that do not stand side by side: KSamplerSelect's, BasicScheduler's."""
    if "steps" in node.names.values() or not (node.samples or node.makes in ({"SIGMAS"}, {"SAMPLER"})):
        return {}
    schedules = {i: "scheduler" for i in node.strings if _SCHEDULER.fullmatch(node.values[i])}
    return schedules | {i: "sampler_name" for i in node.strings if _SAMPLER.fullmatch(node.values[i])}


def _schedule(node: _Node) -> dict[int, str]:
    """BasicScheduler's `"simple", 20, 1.0`: steps and denoise."""
    return _steps_and_denoise(node) if "SIGMAS" in node.gives and "scheduler" in node.names.values() else {}


def _sampler(node: _Node) -> dict[int, str]:
    """The numbers of a sampler that names no schedule: steps, cfg, denoise. Of one to which sigmas come, as SamplerCustom, the cfg.

    One that gives a model or conditionings too, and names no sampler, only prepares them, as BrushNet and
    LTXVSetAudioVideoMaskByTime do.
    """
    named = node.names.values()
    prepares = node.gives & {"MODEL", "CONDITIONING"} and "sampler_name" not in named
    if not node.samples or "steps" in named or prepares:
        return {}
    if "SIGMAS" in node.linked:
        return dict.fromkeys(node.numbers, "cfg") if len(node.numbers) == 1 else {}
    names = _steps_and_denoise(node)
    return names | dict.fromkeys([i for i in node.numbers if i not in names][:1], "cfg")


def _steps_and_denoise(node: _Node) -> dict[int, str]:
    """Steps are the first whole number; a last one up to 1 is the denoise."""
    steps = [i for i in node.numbers if _is_steps(node.values[i])][:1]
    last = [i for i in node.numbers[-1:] if node.values[i] <= 1]
    return dict.fromkeys(last, "denoise") | dict.fromkeys(steps, "steps")


def _noise(node: _Node) -> dict[int, str]:
    """SeedExplorer's seed has no word behind it."""
    return dict.fromkeys(node.numbers[:1], "noise_seed") if node.makes == {"NOISE"} else {}


def _guider(node: _Node) -> dict[int, str]:
    """CFGGuider's one number; DualCFGGuider's first."""
    return dict.fromkeys(node.numbers[:1], "cfg") if node.makes == {"GUIDER"} else {}


def _guidance(node: _Node) -> dict[int, str]:
    """FluxGuidance's number, its only value. A strength, as ConditioningAverage's, goes to 1."""
    only = len(node.values) == 1 and node.number(0)
    return {0: "guidance"} if only and only > 1 and node.gives == node.takes == {"CONDITIONING"} else {}


def _empty_latent(node: _Node) -> dict[int, str]:
    """EmptyLatentImage's width and height; a number of few pixels is the batch's or a length."""
    sides = [i for i in node.numbers if node.values[i] >= 16] if node.gives == {"LATENT"} and node.takes <= {"INT"} else []
    return dict(zip(sides, ("width", "height")))


def _lora(node: _Node) -> dict[int, str]:
    """Strengths behind each LoRA's file, as LoraLoader's; one alone is for the CLIP, too, as Lora Loader Stack (rgthree)'s.

    Power Lora Loader (rgthree) has each with its own file in one value.
    """
    names = {i: "lora" for i, value in enumerate(node.values) if isinstance(value, dict) and "lora" in value}
    files = sorted(i for i, name in node.names.items() if name == "lora_name")
    for file, end, nth in zip(files, [*files[1:], len(node.values)], ("", *range(2, len(files) + 1))):
        first = next((i for i in node.numbers if file < i < end), None)
        if first is not None and first + 1 in node.numbers:
            names |= {first: f"strength_model{nth}", first + 1: f"strength_clip{nth}"}
        elif first is not None:
            names[first] = f"strength{nth}" if "CLIP" in node.gives else f"strength_model{nth}"
    return names


def _texts(node: _Node) -> dict[int, str]:
    """What is to be drawn, and what not, where that is told.

    Two texts are a positive and a negative where the node gives both, as Efficient Loader does, the negative maybe empty. They are
    SDXL's two where CLIPTextEncodeSDXL's six sizes stand before them.
    """
    said = [i for i in node.strings if not (_PLACEHOLDER.match(node.values[i]) or _CHOICE.fullmatch(node.values[i]))]
    if len(node.replaced) >= len(said):
        return {}
    spoken = _encoded(node, said) if node.encodes else _longest(node, said)
    if len(spoken) == 1 and node.gives_both:
        spoken += [i for i in said if i > spoken[0] and not node.values[i]][:1]
    if len(spoken) == 2 and node.gives_both:
        return dict(zip(spoken, ("positive", "negative")))
    if len(spoken) == 2 and node.outputs == ["CONDITIONING"] and len(node.numbers) >= 6:
        return dict(zip(spoken, ("text_g", "text_l")))
    return dict.fromkeys(spoken, "text")


def _encoded(node: _Node, said: Sequence[int]) -> list[int]:
    """An encoder's texts: those of two words, else CLIPTextEncode's one word, unless a link brings a text or a conditioning instead."""
    spoken = [i for i in said if is_spoken(node.values[i], 1)]
    alone = "CLIP" in node.takes or "CONDITIONING" not in node.takes and not node.brought
    return spoken or list(said[:1] if alone else ())


def _longest(node: _Node, said: Sequence[int]) -> list[int]:
    """Texts of any other node, of three words. Beside a longer one it may name a model, a voice or a style in words, as services do."""
    spoken = [i for i in said if is_spoken(node.values[i], 2)]
    longest = max([200 if node.replaced else 0, *(len(node.values[i]) for i in spoken)])  # what comes by a link is long, too
    return [i for i in spoken if 4 * len(node.values[i]) >= longest]


def is_spoken(value: str, words: int) -> bool:
    """Whether a string is language rather than a name, a choice or a path: several words, tags, or a script without spaces."""
    if len(value.split()) > words or value.count(",") > 1:
        return True
    return sum(char > "\u2e7f" for char in value[:200]) > 8


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_steps(value: Any) -> bool:
    return is_whole(value) and value >= 1


_RULES: tuple[Callable[[_Node], dict[int, str]], ...] = (
    _seed,
    _file,
    _about_a_pair,
    _size,
    _names_alone,
    _schedule,
    _sampler,
    _noise,
    _guider,
    _guidance,
    _empty_latent,
    _lora,
    _texts,
)
