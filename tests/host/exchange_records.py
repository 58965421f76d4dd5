"""Records of images for exchange files, how they are written and read, and how two are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from diffusion_toolkit.embedders import exchange
from diffusion_toolkit.embedders.exchange import VECTORS, Embeddings, MadeBy, States

MADE_BY = {family: MadeBy(family * 4, f"the {family} model", dims) for family, dims in dict(VECTORS.values()).items()}
MADE_BY["token_states"] = MadeBy("5" * 64, "SDXL CLIP", 2048)
ABOUT = {
    "prompt": "a fox \U0001f98a in the snow", "negative_prompt": "blurry", "width": 64, "height": 48, "seed": 2**64 - 1, "steps": 20,
    "cfg": 6.5, "loras": [{"name": "x"}], "labels": ["sea"], "created": "2025-03-01T14:05:00+00:00", "hash": "ab" * 32,
    "prompt_texts": ["a fox", "a fox \U0001f98a in the snow"], "negative_texts": None,
}  # fmt: skip


def halves(seed: int, *shape: int) -> np.ndarray:
    """Numbers that float16 holds, as all are that the library stores."""
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float16).astype(np.float32)


def record(image_id: int, names: tuple[str, ...] = tuple(VECTORS), sides: tuple[str, ...] = ("positive", "negative")) -> Embeddings:
    vectors = {name: halves(image_id * 10 + place, VECTORS[name][1]) for place, name in enumerate(VECTORS) if name in names}
    of_side = {"positive": (image_id, 154), "negative": (10_000, 77)}  # all share one negative prompt
    states = {side: States(halves(key, tokens, 2048), halves(key + 1, 1280), key) for side, (key, tokens) in of_side.items() if side in sides}
    return Embeddings(image_id, vectors, states, {**ABOUT, "id": image_id})


def write(folder: Path, *records: Embeddings, name: str = "some.safetensors") -> Path:
    """The records as a safetensors file in `folder`."""
    with exchange.SafetensorsWriter(folder / name, len(records), MADE_BY) as writer:
        for one in records:
            writer.add(one)
    return folder / name


def read_all(path: Path) -> list[Embeddings]:
    source = exchange.open_source(path)
    return source.read(0, source.count)


def assert_same(one: Embeddings, other: Embeddings) -> None:
    assert one.image_id == other.image_id
    assert one.vectors.keys() == other.vectors.keys() and one.states.keys() == other.states.keys()
    for name in one.vectors:
        assert np.array_equal(one.vectors[name], other.vectors[name]), name
    for side in one.states:
        assert np.array_equal(one.states[side].states, other.states[side].states)
        assert np.array_equal(one.states[side].pooled, other.states[side].pooled)
