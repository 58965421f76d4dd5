"""What float16 and bfloat16 cost the vectors: cosines and largest differences to ComfyUI's precision, at the models' full depth.

    .venv/bin/python benchmarks/half_precision.py [--items 8]

On the CPU, where half precision is slow, so widths are less than the real ones where that leaves the depth as it is. Random weights:
real ones may hold larger values, which is why `embedders.half` looks at the first items of each run on each device.
"""

from __future__ import annotations

import argparse

from harness import machine, prepare
from prompts import prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=8, help="pictures, and texts")
    options = parser.parse_args()
    prepare()
    import numpy as np
    import torch
    from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
    from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
    from host.stand_in_models import small_clip, small_clip_vision

    print(f"{machine()}\n\n| vector | precision | 1 - least cosine | largest difference, of the largest value |\n|---|---|---|---|")
    random = np.random.default_rng(1)
    with torch.inference_mode():
        pictures = [random.integers(0, 255, (224, 224, 3), np.uint8) for _ in range(options.items)]
        vision = small_clip_vision(1, hidden_size=640, num_hidden_layers=32, num_attention_heads=8, intermediate_size=2560)
        images = ImageEncoder(vision)._crew.workers[0]
        encoder = SDXLTextEncoder(small_clip(1, 12, 32))
        texts, tokens = encoder._crew.workers[0], encoder.tokenized([(text, text) for text in prompts(options.items)])
        pixels = images._uploaded(pictures)
        whole = [images._vectors(pixels, None).float().numpy(), *texts.vectors(tokens)]
        for dtype in (torch.float16, torch.bfloat16):
            for half, *_ in (*texts._whole.values(), *texts._short.values()):
                half.dtype, half.least = dtype, 1.0  # as if it had been looked at
            made = [images._vectors(pixels, dtype).float().numpy(), *texts.vectors(tokens)]
            for name, ours, theirs in zip(("image, 32 layers", "clip_l, 12 layers", "clip_g, 32 layers"), made, whole):
                cosines = (ours * theirs).astype(np.float64).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
                off = np.abs(ours - theirs).max() / np.abs(theirs).max()
                print(f"| {name} | {str(dtype).removeprefix('torch.')} | {1 - cosines.min():.1e} | {off:.4f} |", flush=True)


if __name__ == "__main__":
    main()
