"""SDXL's text encoders at their full size (12 and 32 layers, 818 million weights), with seeded random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def full_size_clip(seed: int = 1, dtype: str | None = None) -> Any:
    """As DualCLIPLoader of type sdxl gives it; float16 without `dtype`. 2 GB of memory, and 10 s to make."""
    import comfy.sd
    import comfy.sdxl_clip
    import comfy.supported_models_base
    import torch
    from host.stand_in_models import fill_with_seeded_weights

    target = comfy.supported_models_base.ClipTarget(comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel)
    clip = comfy.sd.CLIP(target, model_options={"dtype": getattr(torch, dtype)} if dtype else {})
    fill_with_seeded_weights(clip.cond_stage_model, seed)
    return clip


def write_clip_files(folder: Path, seed: int = 1) -> tuple[str, str]:
    """Write clip_l and clip_g (1.6 GB) for DualCLIPLoader, where they are not there yet; returns their names."""
    from safetensors.torch import save_file

    names = (f"random_clip_l_{seed}.safetensors", f"random_clip_g_{seed}.safetensors")
    if not all((folder / name).is_file() for name in names):
        model = full_size_clip(seed).cond_stage_model
        for name, tower in zip(names, (model.clip_l, model.clip_g)):
            weights = {key: value.half().contiguous() for key, value in tower.transformer.state_dict().items()}
            save_file(weights, folder / name)
    return names
