"""JSON objects, or texts by key, that name prompt and settings flatly, however they spell the names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .told import Json, name, size

# Our name: theirs, in lower case without spaces, hyphens and underscores. The first one that is there counts.
NAMES = {
    "prompt": ("positiveprompt", "prompt", "textprompts"),
    "negative": ("negativeprompt", "negativeprompts", "negative", "uc"),
    "seed": ("seed",),
    "steps": ("steps", "numinferencesteps"),
    "cfg": ("cfgscale", "cfg", "guidancescale", "scale"),
    "guidance": ("distilledguidancescale", "distilledguidance", "fluxguidancescale", "guidance"),
    "sampler": ("samplername", "sampler", "comfyuisampler"),
    "scheduler": ("schedulername", "scheduler", "comfyuischeduler", "scheduletype", "noiseschedule", "ksamplerschedule"),
    "denoise": ("denoisingstrength", "denoise", "promptstrength", "strength"),
    "checkpoint": (
        "usestablediffusionmodel", "stablediffusionmodel", "basemodelname", "basemodel", "modelname", "sdmodelname",
        "checkpoint", "ckpt", "model",
    ),
    "vae": ("usevaemodel", "vaemodel", "vae", "sdvae"),
    "width": ("width",),
    "height": ("height",),
}  # fmt: skip
_SIZES = ("size", "resolution")
_JSON = re.compile(r'\s*(?:\{\s*["}]|\[\s*[{\]])')


def plain_keys(told: Json) -> dict[str, Any]:
    """The members by their names without case, spaces, hyphens and underscores."""
    found: dict[str, Any] = {}
    for key, value in told.items():
        found.setdefault(key[:60].lower().replace("_", "").replace(" ", "").replace("-", ""), value)
    return found


def flat_fields(told: Json) -> dict[str, Any]:
    """The members under our names, for `image`."""
    theirs = plain_keys(told)
    found = {
        ours: next((theirs[spelt] for spelt in names if theirs.get(spelt) is not None), None)
        for ours, names in NAMES.items()
    }
    for key in _SIZES:
        if found["width"] is None and (both := size(theirs.get(key))):
            found |= both
    return found


def is_flat(told: Mapping[str, Any]) -> bool:
    """Whether an object of an unknown writer has a prompt. ComfyUI's graph may lie under that name as JSON in a string."""
    prompt = flat_fields(told)["prompt"]
    return isinstance(prompt, str) and not _JSON.match(prompt)


def tells_how(told: Mapping[str, Any]) -> bool:
    """Whether it also says how an image was made. Its size is no sign of that: photographs have one."""
    found = flat_fields(told)
    signs = ("negative", "seed", "steps", "cfg", "sampler", "scheduler")
    return any(found[ours] is not None for ours in signs) or name(found["checkpoint"]) is not None
