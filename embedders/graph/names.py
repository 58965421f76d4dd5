"""What the links and literals of ComfyUI's nodes are for, told by the names of inputs: a graph in API format carries no types.

`category` says what a link carries, by the type of the output it comes from where that is known, else by the input's name. The
same words tell both, since types are named like the inputs that take them: CONDITIONING, BASIC_PIPE, WANVIDEOMODEL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)$", re.I)

_CATEGORIES = [  # the first that fits
    (
        "other",
        r"context_?(options|window|sched|length|overlap)|camera"
        r"|(image|vision|audio)_?emb(ed)?s?$|(?<![a-z])(face|ip|id)_?emb(ed)?s?$|lora_model|sam_?model|bbox|segm|detector",
    ),
    ("bundle", r"pipe|context|^ctx|_ctx$|embeds|tuple"),
    ("guider", r"guider"),
    ("control", r"control(?!_?(image|video|mask|after))|cnet"),
    ("conditioning", r"positive|negative|cond(?!uit|ition$)"),
    ("vision", r"vision|style_model|gligen|audio_?encoder"),
    ("upscaler", r"upscale_?model"),
    ("patch", r"model_?patch"),
    ("lora", r"lora"),
    ("vae", r"vae"),
    ("clip", r"clip(?!_[lgh]$|.*(strength|skip|layer))|text_?encoder|^t5(?!xxl$)"),
    ("sigmas", r"sigmas"),
    ("noise", r"^noise$"),
    ("sampler", r"sampler(?!_?name)"),
    ("model", r"model(?!_?name)|unet"),
    (
        "number",
        r"seed|steps|^(cfg|denoise|width|height|int|float|boolean|number|index|batch_size)$|strength|sampler_name|schedule",
    ),
    ("latent", r"latent|^samples$"),
    ("mask", r"mask"),
    ("image", r"image|pixels|video(?!_?(info|model))|frames|^segs$"),
    ("audio", r"audio"),
    ("string", r"^strings?$"),
]
_CATEGORIES_COMPILED = [(category, re.compile(pattern, re.I)) for category, pattern in _CATEGORIES]
_ANY = {"", "*", "any", "anytype", "any_type", "comfy_matchtype_v3", "combo", "none", "undefined"}


@lru_cache(8192)
def category(word: str) -> str | None:
    """What an input or type of this name carries; None when the name does not say."""
    return next((category for category, pattern in _CATEGORIES_COMPILED if pattern.search(word)), None)


@lru_cache(1024)
def of_type(kind: str) -> str | None:
    """What an output of this type carries; None for wildcards, "opaque" for types that nobody has heard of."""
    word = kind.lower()
    if word in _ANY or "," in word:
        return None
    return "number" if word in ("int", "float", "boolean") else category(word) or "opaque"


def shown(word: str, length: int) -> str:
    """A word of the file, fit for a sentence and for any database."""
    start = word[:length]
    if not start.isprintable():
        start = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "\ufffd", start)
    return start + ("..." if len(word) > length else "")


def _named(pattern: str) -> Callable[[str], bool]:
    """A test of an input's name. Names repeat, so answers are kept."""
    search = re.compile(pattern, re.I).search
    return lru_cache(4096)(lambda name: search(name) is not None)


negative = _named(r"(?<![a-z])neg(?!ati(?:on|ng))|(?<=[a-z])neg(ative)?$|Neg")
positive = _named(r"(?<![a-z])pos(?!e|t|ition(?!al))|positive")
empty = _named(r"empty|uncond_?zero")
zeroing = _named(r"zero_?out")  # of a class
recalling = _named(r"^DiffusionToolkit")  # of a class, ours: what it gives comes out of a library, and its words are no prompt
text = _named(
    r"text(?!ure)|prompt|string|wildcard|caption|instruction|tags|trigger_?words|lyrics|description|t5|bert|llama|qwen|^clip_[lgh]$|^(positive|negative)(_?[gl\d])?$"
)
not_text = _named(
    r"system|context|template|delimiter|separator|instruct(?!ion$)|mode(?!l)|type|method|format|embeds|encoder|file|name|path|find"
    r"|pattern|replace|dynamic_?prompts|coords|case|normaliz|interpretation|option|magic|enhance|upsampl|^select|_select|style|speak"
    r"|strength|weight|font|color|align|language|log_|json|toggle|search"
)
asked = _named(r"prompt|instruction$|^text$|^(positive|negative)$|lyrics|^tags$")
chosen = _named(r"^(choice|chosen|selected|selection|value)$")
string_source = _named(
    r"^(value|any.*|input.*|part_?\d+|.*str|wildcard.*|source|content|choice|selected|chosen|line|result|output|.*text.*)$"
)
glue = _named(r"delimiter|separator|^glue$|joiner")
produced = _named(r"^(populated|result|response|generated|output_?text|answer|shown|displayed|preview|cached)")
shows = _named(r"show|display|preview|view")  # of a class
at_run_time = _named(
    r"^(temperature|top_?[pk]|min_p|max(_new)?_tokens|num_?(beams|predict)|repetition|sampling_mode|thinking|do_sample|system_?prompt"
    r"|system_message|api_?(key|url)|persona|llm|ollama|base_url)"
)
setting = _named(r"^(noise_)?seed$|^steps$|^sigmas$|^sampler(_name)?$|^noise$|^denoise$")
chooser = _named(r"select|index|^input$|switch|choice|^boolean|^condition$|^cond$|^use_|enable")
part_name = _named(r"lora|clip|vae|upscale|control|hypernet|vision|encoder|bbox|sam_|patch")  # of a file that is no whole model
_whole_name = _named(r"ckpt|unet|model|checkpoint")
encoder_name = _named(r"^(?!.*(vision|lora|skip|layer)).*(clip|text_?encoder|t5|llm)")
lora = _named(r"^lora(?!_?(count|stack|wt|weight|strength))|^lora_?\d*$")
_SWITCHED = re.compile(r"yes|no|true|false|on|off|enabled?|disabled?|none|auto", re.I)


def model_name(name: str) -> bool:
    return _whole_name(name) and not part_name(name)


def switched(value: str) -> bool:
    """Whether a value is a switch's, not a text. Values are not kept, unlike names."""
    return len(value) < 10 and _SWITCHED.fullmatch(value) is not None
