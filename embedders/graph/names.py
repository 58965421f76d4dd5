"""What the inputs of ComfyUI's nodes are for, told by their names: a graph in API format carries no types."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$", re.I)


def _named(pattern: str) -> Callable[[str], bool]:
    """A test of an input's name. Names repeat, so answers are kept."""
    search = re.compile(pattern, re.I).search
    return lru_cache(4096)(lambda name: search(name) is not None)


negative = _named(r"neg")
conditioning = _named(r"positive|negative|cond(?!uit)")
bundle = _named(r"pipe|context|^ctx|embeds|tuple")
guider = _named(r"guider")
text = _named(
    r"text(?!ure)|prompt|string|caption|tags|lyrics|description|t5|bert|llama|qwen|^clip_[lgh]$|^(positive|negative)$"
)
not_text = _named(
    r"system|context|template|delimiter|separator|instruct|mode|type|method|format|embeds|encoder|file|name|path|find"
    r"|pattern|replace|dynamic_?prompts|coords|case|normaliz|option|magic|enhance|upsampl"
)
text_encoder = _named(r"clip|t5|encoder")
string_source = _named(r"^(value|any.*|input.*|.*str|wildcard.*)$")
glue = _named(r"delimiter|separator")
setting = _named(r"^(noise_)?seed$|^steps$|^sigmas$|^sampler(_name)?$|^noise$|^denoise$")
model = _named(r"^(?!.*(upscale|control|style|vision|patch|gligen|clip)).*(model|unet)")
lora = _named(r"lora")
latent = _named(r"latent|^samples$")
no_image = _named(r"clip|vae|control|noise|sigmas|sampler")
other_type = _named(
    r"model|clip|vae|image|pixels|latent|samples|mask|control|noise|sigmas|sampler|video|audio|bbox|unet|lora"
)
chooser = _named(r"select|index|input|switch|choice")
scalar = _named(r"value|seed|^int|float|number|steps|cfg|name|sampler|scheduler")
model_name = _named(r"^(?!.*(lora|clip|vae|upscale|control|hypernet)).*(ckpt|unet|model|checkpoint)")
