"""The three encoders in large runs: half precision, memory that runs out, and several devices change no vector by more than rounding.

The devices are a CPU by two names, and memory runs out by a stand-in's word; the models and ComfyUI's management of them are real.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_toolkit.embedders.models import batch_size, clip_text, clip_towers, devices, text_embedder
from diffusion_toolkit.embedders.models import clip_vision as image_encoder
from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
from diffusion_toolkit.embedders.models.text_embedder import TextEmbedder, load_text_embedder
from host.comfy_models import assert_parity, clip_vision, comfyui, embedding_directory, host_inference, sdxl_clip  # noqa: F401  (fixtures)
from host.stand_in_models import small_clip, write_text_embedder_folder

pytestmark = pytest.mark.usefixtures("host_inference")

TEXTS = [f"a painting of {thing}, {'dusk, ' * n}masterpiece" for n, thing in enumerate(["a fox", "(two:1.3) boats", "hills", "embedding:spark", "two foxes"])]
TEXTS += ["", "an oil painting of a lighthouse, storm, waves, " * 10]


@dataclass
class Way:
    """One encoder: what it makes vectors of, how, and where its forward is that may run out of memory."""

    make: Callable[[], Any]
    encode: Callable[[Any], list[np.ndarray]]
    forward: tuple[Any, str]


@pytest.fixture(scope="module")
def minilm(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> TextEmbedder:  # noqa: F811
    return load_text_embedder(str(write_text_embedder_folder(tmp_path_factory.mktemp("minilm"))), allow_download=False)


@pytest.fixture(params=["image", "clip", "text"])
def way(request: pytest.FixtureRequest, clip_vision: Any, sdxl_clip: Any, minilm: TextEmbedder) -> Way:  # noqa: F811
    random = np.random.default_rng(3)
    pictures = [random.integers(0, 255, (230 + 40 * (n % 3), 260, 3), np.uint8) for n in range(7)]
    if request.param == "image":
        return Way(lambda: ImageEncoder(clip_vision), lambda encoder: [encoder.encode(pictures)], (clip_vision.model, "forward"))
    if request.param == "text":
        model = minilm._model
        return Way(lambda: TextEmbedder(model, "minilm", "", ""), lambda encoder: [encoder.encode_texts(TEXTS)], (model, "forward"))

    def both(encoder: SDXLTextEncoder) -> list[np.ndarray]:
        made = encoder.encode([(text, text) for text in TEXTS], states=False)
        assert made.states == []
        return [made.clip_l, made.clip_g]

    clip = sdxl_clip.clone()
    clip.patcher.cached_patcher_init = (loaded_anew, (clip,))  # the host's loaders leave a recipe there
    return Way(lambda: SDXLTextEncoder(clip), both, (sdxl_clip.cond_stage_model.clip_g.transformer.text_model.encoder, "forward"))


def loaded_anew(clip: Any) -> Any:
    from comfy.model_patcher import CoreModelPatcher

    with torch.inference_mode(False):
        return CoreModelPatcher(copy.deepcopy(clip.cond_stage_model), torch.device("cpu"), torch.device("cpu"))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def at_half(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (image_encoder, clip_towers, text_embedder):
        monkeypatch.setattr(module, "half_dtype", lambda device: torch.float16)


def test_half_precision_gives_the_hosts_vectors(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = way.encode(way.make())
    at_half(monkeypatch)
    for ours, theirs in zip(way.encode(way.make()), whole):
        assert ours.dtype == np.float32 and not np.array_equal(ours, theirs)
        assert cosines(ours, theirs).min() >= 0.9999


def test_vectors_alone_are_those_that_come_with_token_states(sdxl_clip: Any) -> None:  # noqa: F811
    pairs = [(text, text) for text in TEXTS] + [(TEXTS[0], TEXTS[-1])]
    encoder = SDXLTextEncoder(sdxl_clip)
    alone, beside = encoder.encode(pairs, states=False), encoder.encode(pairs)
    assert_parity(alone.clip_l, beside.clip_l)
    assert_parity(alone.clip_g, beside.clip_g)


def test_a_short_text_is_not_computed_to_the_end_of_its_section(sdxl_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    computed, layers = set(), sdxl_clip.cond_stage_model.clip_g.transformer.text_model.encoder
    forward = layers.forward
    monkeypatch.setattr(layers, "forward", lambda rows, **options: (computed.add(rows.shape[1]), forward(rows, **options))[1])
    SDXLTextEncoder(sdxl_clip).encode([("a fox", "a fox")], states=False)
    assert computed == {16}


@pytest.mark.parametrize("half", [None, torch.float16])
def test_a_way_that_gives_other_vectors_than_the_host_is_not_used(sdxl_clip: Any, half: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pairs = [(text, text) for text in (f"{n} foxes" for n in range(8))]
    theirs = SDXLTextEncoder(sdxl_clip).encode(pairs)
    first_tokens = clip_towers._of_first_tokens
    monkeypatch.setattr(clip_towers, "half_dtype", lambda device: half)
    monkeypatch.setattr(clip_towers, "_of_first_tokens", lambda *how: first_tokens(*how).flip(1))  # as a patched tower may
    ours = SDXLTextEncoder(sdxl_clip).encode(pairs, states=False)
    assert_parity(ours.clip_l, theirs.clip_l)
    assert_parity(ours.clip_g, theirs.clip_g)


def test_searches_are_no_run_that_is_worth_a_second_copy(minilm: TextEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "other_devices", lambda first: pytest.fail("another device was asked for"))
    monkeypatch.setattr(text_embedder, "_WORTH_TWINS", 2)
    embedder = TextEmbedder(minilm._model, "minilm", "", "")
    assert len([embedder.encode_query("a fox") for _ in range(4)]) == 4


def test_token_states_keep_the_hosts_precision(sdxl_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pairs = [(text, text) for text in TEXTS[:3]]
    whole = SDXLTextEncoder(sdxl_clip).encode(pairs)
    at_half(monkeypatch)
    again = SDXLTextEncoder(sdxl_clip).encode(pairs)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again.states, whole.states))
    assert np.array_equal(again.clip_g, whole.clip_g)


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = way.encode(way.make())
    module, name = way.forward
    forward, sizes = getattr(module, name), []

    def small_memory(*args: Any, **kwargs: Any) -> Any:
        given = kwargs["pixel_values"] if "pixel_values" in kwargs else args[0]
        size = len(given if isinstance(given, torch.Tensor) else given["input_ids"])
        sizes.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(*args, **kwargs)

    monkeypatch.setattr(module, name, small_memory)
    monkeypatch.setattr(batch_size, "GOOD_BATCHES", 1000)  # after which more would be tried
    encoder = way.make()
    for ours, theirs in zip(way.encode(encoder), whole):
        assert_parity(ours, theirs)
    assert max(sizes) > 3
    sizes.clear()
    way.encode(encoder)
    assert max(sizes) <= 3


def test_several_devices_share_the_work(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = way.encode(way.make())
    monkeypatch.setattr(devices, "other_devices", lambda first: [torch.device("cpu", 1)])
    for module in (image_encoder, clip_text, text_embedder):
        monkeypatch.setattr(module, "_WORTH_TWINS", 5)
    worked, met = set(), threading.Barrier(2, timeout=60)
    for module, kind, work in ((image_encoder, "_Worker", "encode"), (clip_text, "ClipWorker", "vectors"), (text_embedder, "_Worker", "encode")):
        note_work(monkeypatch, getattr(module, kind), work, worked, met)
    for ours, theirs in zip(way.encode(way.make()), whole):
        assert_parity(ours, theirs)
    assert worked == {"cpu", "cpu:1"}


def note_work(monkeypatch: pytest.MonkeyPatch, kind: type, name: str, worked: set[str], met: threading.Barrier) -> None:
    """Notes the devices that work. Each begins when both have taken a chunk, so that neither can do all before the other comes."""
    work = getattr(kind, name)

    def noted(self: Any, *args: Any) -> Any:
        if str(self.device) not in worked:
            worked.add(str(self.device))
            met.wait()
        return work(self, *args)

    monkeypatch.setattr(kind, name, noted)


def test_a_model_that_cannot_be_copied_works_on_its_own_device(sdxl_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(devices, "other_devices", lambda first: [torch.device("cpu", 1)])
    monkeypatch.setattr(clip_text, "_WORTH_TWINS", 0)
    assert sdxl_clip.patcher.cached_patcher_init is None
    assert SDXLTextEncoder(sdxl_clip).encode([("a fox", "a fox")], states=False).clip_g.shape == (1, 1280)


def test_a_few_items_are_not_worth_a_second_copy(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "other_devices", lambda first: pytest.fail("another device was asked for"))
    way.encode(way.make())


def test_models_whose_layers_wait_for_their_weights_are_the_same(comfyui: Path, clip_vision: Any, sdxl_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """On an NVIDIA GPU ComfyUI makes layers without weights, which a file's take the place of."""
    import comfy.clip_vision
    import comfy.memory_management

    picture = [np.random.default_rng(4).integers(0, 255, (230, 260, 3), np.uint8)]
    vector, texts = ImageEncoder(clip_vision).encode(picture), SDXLTextEncoder(sdxl_clip).encode([("two foxes", "dusk")])
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    with torch.inference_mode(False):
        waiting, clip = comfy.clip_vision.ClipVisionModel(clip_vision.config), small_clip(1)
    assert waiting.model.visual_projection.weight is None
    waiting.load_sd(clip_vision.get_sd())
    assert ImageEncoder(waiting).fingerprint == ImageEncoder(clip_vision).fingerprint
    assert np.array_equal(ImageEncoder(waiting).encode(picture), vector)
    assert np.array_equal(image_encoder._twin_of(waiting)(torch.device("cpu")).encode(picture), vector)
    assert SDXLTextEncoder(clip).fingerprint == SDXLTextEncoder(sdxl_clip).fingerprint
    assert np.array_equal(SDXLTextEncoder(clip).encode([("two foxes", "dusk")]).states[0], texts.states[0])
