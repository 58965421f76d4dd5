"""Whether an image's vector stays the same though its reader hands over fewer pixels: JPEGs decoded small, large pictures averaged.

For each picture two vectors: ComfyUI's own `encode_image` over all of LoadImage's pixels, and our encoder over what `Reader` hands over.
The model has the input of CLIP-ViT-H/14 and seeded random weights, since no real ones are at hand: such a model gives all pictures nearly
one vector, so beside the cosine stands the centred one, of what is left of two vectors after the mean of all pictures is taken away;
and how far the 224 x 224 pixels that the model is given differ, in steps of 8 bits.

    .venv/bin/python benchmarks/shrunk.py [--images 60] [--full] [--worst 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from harness import REPOSITORY, machine, prepare

DEMO_FOLDER = REPOSITORY / ".cache" / "demo" / "output" / "template-images"
CORPUS = REPOSITORY.parent / "shared" / "corpus"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60, help="of the demo's pictures, beside the corpus and the made ones")
    parser.add_argument("--full", action="store_true", help="a whole ViT-H/14, not the tests' small model: seconds a picture on a CPU")
    parser.add_argument("--worst", type=int, default=5, help="so many are named")
    options = parser.parse_args()
    prepare()
    import numpy as np
    import torch
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
    from diffusion_toolkit.embedders.pictures.decode import decode
    from diffusion_toolkit.embedders.pictures.phash import phash
    from diffusion_toolkit.embedders.pictures.reading import Reader

    clip_vision = model(options.full)
    encoder = ImageEncoder(clip_vision)
    names, theirs, ours, steps, bits, fewer = [], [], [], [], [], 0
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bench-") as scratch, torch.inference_mode():
        folder = Path(scratch)
        make_files(folder, options.images)
        with Reader(folder) as reader:
            for read in reader.read(Scan(folder, "", True, "").files()):
                if read.image is None:
                    print(f"{read.entry.path}: {read.problem}")
                    continue
                whole = decode(folder / read.entry.path).pixels
                image = torch.from_numpy(np.array(whole)).float().div(255).unsqueeze(0)  # [1, H, W, 3], as LoadImage gives it
                names.append(read.entry.path)
                theirs.append(clip_vision.encode_image(image)["image_embeds"][0].float().cpu().numpy())
                ours.append(encoder.encode([read.image.pixels])[0])
                steps.append(np.abs(seen(clip_vision, whole) - seen(clip_vision, read.image.pixels)).mean())
                bits.append(bin((phash(whole) ^ read.image.phash) % 2**64).count("1"))
                fewer += whole.shape != read.image.pixels.shape
    theirs_, ours_ = np.array(theirs), np.array(ours)
    middle = theirs_.mean(axis=0)
    plain, centred = cosines(theirs_, ours_), cosines(theirs_ - middle, ours_ - middle)
    others = cosines(theirs_ - middle, np.roll(theirs_ - middle, 1, axis=0))
    print(f"{machine()}\n{len(names)} pictures, {fewer} of them handed over with fewer pixels; {encoder.name}, random weights\n")
    print("| | least | mean |\n|---|---|---|")
    print(f"| cosine | {plain.min():.6f} | {plain.mean():.6f} |")
    print(f"| cosine, the mean of all taken away | {centred.min():.6f} | {centred.mean():.6f} |")
    print(f"| the same of two pictures that have nothing to do with each other | {others.min():.3f} | {others.mean():.3f} |")
    print(f"\nof the 224 x 224 pixels a step of 8 bits: mean {np.mean(steps):.3f}, at most {np.max(steps):.3f}")
    print(f"bits of the perceptual hash: {np.mean(np.array(bits) == 0):.0%} the same, at most {max(bits)} of 64 others")
    for place in np.argsort(centred)[: options.worst]:
        print(f"  {names[place]}: cosine {plain[place]:.6f}, centred {centred[place]:.6f}, {steps[place]:.3f} steps, {bits[place]} bits")


def cosines(one: Any, other: Any) -> Any:
    import numpy as np

    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def seen(clip_vision: Any, pixels: Any) -> Any:
    """What the model is given, in steps of 8 bits: [3, 224, 224]."""
    import numpy as np
    import torch
    from comfy.clip_model import clip_preprocess

    image = torch.from_numpy(np.array(pixels)).float().div(255).unsqueeze(0)
    return clip_preprocess(image, size=224, mean=[0.0] * 3, std=[1.0] * 3, crop=True)[0].float().numpy() * 255


def model(full: bool) -> Any:
    from host.stand_in_models import small_clip_vision

    if full:
        return small_clip_vision(0, hidden_size=1280, intermediate_size=5120, num_attention_heads=16, num_hidden_layers=32)
    return small_clip_vision(0)


def make_files(folder: Path, images: int) -> None:
    """The corpus as it is, and demo pictures in the formats and forms that people have."""
    import shutil

    import numpy as np
    from PIL import Image

    for file in sorted(CORPUS.iterdir()):
        if file.suffix in (".png", ".jpg", ".webp"):
            shutil.copyfile(file, folder / f"corpus-{file.name}")
    files = sorted(DEMO_FOLDER.glob("*.png"))
    turned = Image.Exif()
    turned[0x0112] = 6
    for number, file in enumerate(files[:: max(1, len(files) // max(1, images))][:images]):
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        name = str(folder / f"{number:03}")
        large = image.resize((2600, max(1, 2600 * image.height // image.width)), Image.Resampling.LANCZOS)
        for form in FORMS[number % len(FORMS)]:
            if form == "16-bit":
                grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
                Image.fromarray(grey).save(f"{name}-16-bit.png")
            elif form == "alpha":
                alpha = image.copy()
                alpha.putalpha(Image.linear_gradient("L").resize(image.size))
                alpha.save(f"{name}-alpha.png")
            elif form == "palette":
                image.quantize(200).save(f"{name}-palette.png", transparency=3)
            elif form == "animated":
                image.save(f"{name}-animated.webp", save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_180)])
            elif form in ("large", "large-jpeg"):
                large.save(f"{name}-{form}.{'jpg' if 'jpeg' in form else 'png'}", **({"quality": 92} if "jpeg" in form else {"compress_level": 1}))
            elif form == "turned":
                image.save(f"{name}-turned.jpg", quality=90, exif=turned)
            elif form in ("CMYK", "L"):
                image.convert(form).save(f"{name}-{form}.jpg", quality=90)
            else:
                image.save(f"{name}-quality-{form}.jpg", quality=int(form))


FORMS = (("95", "turned"), ("large-jpeg",), ("75", "alpha"), ("large",), ("CMYK", "90"), ("L", "16-bit"), ("palette", "85"), ("animated", "50"))


if __name__ == "__main__":
    main()
