"""Ways to estimate SDXL's token states from the CLIP-L and CLIP-G vectors of a text, held against its real ones on texts that no fit has seen.

With real weights, which is what counts. It takes about a minute, since it fits on as many texts as can be encoded in 25 s (1,152 at most):

    .venv/bin/python benchmarks/approximation.py --checkpoint sd_xl_base_1.0.safetensors [--unet]

Without a checkpoint CLIP's weights are random, which says little about real ones, and the CLIP has few layers:

    .venv/bin/python benchmarks/approximation.py [--layers 3 3] [--texts 1152] [--prompts FILE] [--test 64] [--latents 4]

The latent is that of KSampler with a small seeded UNet of SDXL's shape, or the checkpoint's own with --unet: how far the estimate moves
it, as a share of how far another prompt does. --prompts takes texts of your own, one a line.
"""

from __future__ import annotations

import argparse
import bisect
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import machine, prepare

prepare()

import numpy as np
from diffusion_toolkit.embedders.conditioning.approximation import Error, error_of, fit_inputs
from diffusion_toolkit.embedders.conditioning.estimate import MOST, KnownTexts, Sections, fit
from diffusion_toolkit.embedders.conditioning.token_approximation import common_start
from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
from diffusion_toolkit.nodes.conditioning.approximate import sections_of
from host import stand_in_models
from prompts import PRAISE, prompts

ENCODING_SECONDS, LEAST = 25, 32
Estimates = dict[str, np.ndarray]  # by way: [n, 77, 2048] float32


class Encoded:
    """First sections of texts, and their vectors and tokens."""

    def __init__(self, encoder: SDXLTextEncoder, texts: list[str]) -> None:
        from diffusion_toolkit.db import TextPair

        self.texts = texts
        made = encoder.encode([(text, text) for text in texts])
        self.clip_l, self.clip_g = made.clip_l.astype(np.float16).astype(np.float32), made.clip_g.astype(np.float16).astype(np.float32)
        self.states = np.stack([states[:77].astype(np.float16) for states in made.states])
        found = [sections_of(TextPair(text, text)) for text in texts]
        self.tokens: list[Sections] = [([of_l[0]], [of_g[0]]) for of_l, of_g in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="an SDXL checkpoint with its text encoders")
    parser.add_argument("--unet", action="store_true", help="latents by the checkpoint's own UNet")
    parser.add_argument("--layers", type=int, nargs=2, default=(3, 3), metavar=("L", "G"), help="of the random CLIP; SDXL has 12 and 32")
    parser.add_argument("--texts", type=int, help=f"that are fitted on; by default as many as are encoded in {ENCODING_SECONDS} s, {LEAST} to {MOST}")
    parser.add_argument("--test", type=int, help="held-out texts, and as many variations of known ones; by default an eighth of what can be encoded, 8 to 64")
    parser.add_argument("--latents", type=int, default=4, help="held-out texts of which latents are made, two or more; 0: none")
    parser.add_argument("--prompts", type=Path, help="a file of texts, one a line")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.latents == 1:
        parser.error("--latents 1: how far another prompt moves a latent takes two. Give 0, or 2 and more.")
    clip, unet = _models(options)
    encoder = SDXLTextEncoder(clip)
    if options.texts is None or options.test is None:
        fitting = _as_many_as_fit(encoder)
        options.test = options.test or min(64, max(8, fitting // 8))
        options.texts = options.texts or min(MOST, max(LEAST, fitting - 2 * options.test))
    texts = _texts(options.prompts, options.texts + options.test, options.seed)
    learnt, tested = texts[: -options.test], texts[-options.test :]
    rng = random.Random(options.seed)
    varied = [_varied(text, rng) for text in rng.sample([text for text in learnt if "," in text], min(options.test, len(learnt) // 4))]
    started = time.perf_counter()
    empty, known = Encoded(encoder, [""]), Encoded(encoder, learnt)
    print(f"{machine()}\n{encoder.name}{'' if options.checkpoint else ', RANDOM WEIGHTS'}; {len(learnt)} texts encoded in {time.perf_counter() - started:.0f} s")
    ways = _ways(known, empty)
    means = known.states.mean(axis=0, dtype=np.float32)
    for title, held in (("Held-out texts", tested), ("Variations of known texts: other praise at the end", varied)):
        truth = Encoded(encoder, held)
        estimates = {name: way(truth) for name, way in ways.items()}
        errors = {name: error_of(estimate, truth.states, means) for name, estimate in estimates.items()}
        print(f"\n{title} ({len(held)})\n\n{_table(errors)}", flush=True)
        if options.latents:
            moved = _moved(unet, estimates, truth, empty, options.latents)
            print(f"\n{title}, latents of {min(options.latents, len(held))}\n\n{_latents(moved)}", flush=True)


def _as_many_as_fit(encoder: SDXLTextEncoder) -> int:
    """The number of texts that take ENCODING_SECONDS, by what a batch takes once the model is loaded."""
    encoder.encode([("warm", "warm")])
    batch = [(text, text) for text in prompts(8, seed=0)]
    started = time.perf_counter()
    encoder.encode(batch)
    return int(ENCODING_SECONDS * len(batch) / (time.perf_counter() - started))


def _models(options: argparse.Namespace) -> tuple[Any, Any]:
    if options.checkpoint is None:
        return stand_in_models.small_clip(1, *options.layers), stand_in_models.small_unet(1)
    import comfy.sd

    unet, clip = comfy.sd.load_checkpoint_guess_config(str(options.checkpoint), output_vae=False, output_model=options.unet)[:2]
    return clip, unet if options.unet else stand_in_models.small_unet(1)


def _texts(file: Path | None, number: int, seed: int) -> list[str]:
    if file is None:
        return prompts(number, seed)
    lines = list(dict.fromkeys(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()))
    random.Random(seed).shuffle(lines)
    return lines[:number]


def _varied(text: str, rng: random.Random) -> str:
    """The text with its last phrase, or its last third, exchanged for other praise."""
    phrases = text.split(", ")
    kept = max(1, len(phrases) * 2 // 3)
    return ", ".join([*phrases[:kept], *rng.sample(PRAISE, 3), "and something quite new"])


def _ways(known: Encoded, empty: Encoded) -> dict[str, Callable[[Encoded], np.ndarray]]:
    """Each way, fitted; it takes held-out texts and gives their states."""
    means = known.states.mean(axis=0, dtype=np.float32)
    inputs, values, vectors = fit_inputs(known.clip_l, known.clip_g, 1)
    learnt = inputs.centred(known.clip_l, known.clip_g)
    middle = known.states[:, 1:].mean(axis=1, dtype=np.float32) - means[1:].mean(axis=0)  # [n, 2048]: of a text, over its positions
    shared = vectors @ ((vectors.T @ middle) / (values + 0.3 * values.mean())[:, None])
    started = time.perf_counter()
    tokens = ([of_l[0] for of_l, _ in known.tokens], [of_g[0] for _, of_g in known.tokens])
    estimator, details = fit(KnownTexts(known.clip_l, known.clip_g, known.states, tokens, empty.states[0].astype(np.float32)))
    parts = estimator.to_bytes()
    print(f"fitted in {time.perf_counter() - started:.0f} s; map {len(parts[0]) / 1e6:.1f} MB for vectors, {len(parts[1]) / 1e6:.1f} MB more for texts")
    print(f"its own held-out texts: {details}")

    def nearest(held: Encoded) -> np.ndarray:
        ours = inputs.centred(held.clip_l, held.clip_g)
        alike = (ours / np.linalg.norm(ours, axis=1, keepdims=True)) @ (learnt / np.linalg.norm(learnt, axis=1, keepdims=True)).T
        return known.states[alike.argmax(axis=1)].astype(np.float32)

    def by_shared_map(held: Encoded) -> np.ndarray:
        states = np.repeat(means[None], len(held.states), axis=0)
        states[:, 1:] += ((inputs.centred(held.clip_l, held.clip_g) @ learnt.T) @ shared)[:, None]
        return states

    def by_text(held: Encoded) -> np.ndarray:
        return np.stack([estimator.of_text(*of_text) for of_text in zip(held.clip_l, held.clip_g, held.tokens)])

    in_order = sorted(range(len(known.texts)), key=lambda row: known.texts[row].encode())
    written = [known.texts[row].encode() for row in in_order]

    def with_beginnings(held: Encoded) -> np.ndarray:
        """Of the two neighbours in the order of their bytes alone, as db.texts_that_begin_alike finds them."""
        states, exact = by_text(held), []
        for row, ours in enumerate(held.tokens):
            place = bisect.bisect_right(written, held.texts[row].encode())
            beside = in_order[max(0, place - 1) : place + 1]
            for number, part in enumerate((slice(0, 768), slice(768, 2048))):
                lengths = [common_start(ours[number], known.tokens[other][number])[0] for other in beside]
                longest = int(np.argmax(lengths))
                states[row, : lengths[longest], part] = known.states[beside[longest], : lengths[longest], part]
                exact.append(lengths[longest])
        print(f"(beginnings: {np.mean(exact):.0f} of 77 positions are exact on average)")
        return states

    return {
        "the vectors repeated at every position": lambda held: np.repeat(np.concatenate([held.clip_l, held.clip_g], axis=1)[:, None], 77, axis=1),
        "means of the positions, BOS exact": lambda held: np.repeat(means[None], len(held.states), axis=0),
        "nearest text's states": nearest,
        "means + one linear map for all positions": by_shared_map,
        "reduced-rank regression over positions": lambda held: estimator.vectors.predict(held.clip_l, held.clip_g),
        "the same blended with the tokens' map": by_text,
        "the same, common beginnings exact (shipped)": with_beginnings,
    }


def _moved(unet: Any, estimates: Estimates, truth: Encoded, empty: Encoded, number: int) -> dict[str, float]:
    """How far each way moves the latent of the first texts, by how far another prompt does, on average."""
    n = min(number, len(truth.states))
    exact = [_latent(unet, truth.states[row], truth.clip_g[row], empty) for row in range(n)]
    other = float(np.mean([np.linalg.norm(exact[row] - exact[row - 1]) for row in range(n)]))
    return {
        name: float(np.mean([np.linalg.norm(exact[row] - _latent(unet, states[row], truth.clip_g[row], empty)) for row in range(n)])) / other
        for name, states in estimates.items()
    }


def _latent(unet: Any, states: np.ndarray, pooled: np.ndarray, empty: Encoded) -> np.ndarray:
    import comfy.sample
    import torch

    def conditioning(of_text: np.ndarray, of_pooled: np.ndarray) -> list:
        return [[torch.from_numpy(of_text.astype(np.float32))[None], {"pooled_output": torch.from_numpy(of_pooled)[None]}]]

    with torch.inference_mode():
        latent = torch.zeros(1, 4, 16, 16)
        noise = comfy.sample.prepare_noise(latent, 1)
        positive, negative = conditioning(states, pooled), conditioning(empty.states[0], empty.clip_g[0])
        return comfy.sample.sample(
            unet, noise, 4, 7.0, "euler", "normal", positive, negative, latent, denoise=1.0, disable_pbar=True, seed=1
        ).cpu().numpy()  # fmt: skip


def _table(errors: dict[str, Error]) -> str:
    lines = ["| way | cosine | relative error | explained |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {of.cosine:.3f} | {of.relative:.3f} | {of.explained:.3f} |" for name, of in errors.items())])


def _latents(moved: dict[str, float]) -> str:
    lines = ["| way | latent moved, another prompt = 1 |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {share:.2f} |" for name, share in moved.items())])


if __name__ == "__main__":
    main()
