"""A fingerprint names what vectors depend on, and nothing else: not the process, the device, the dtype or the loading state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
from diffusion_toolkit.embedders.models.text_embedder import load_text_embedder
from host.comfy_models import comfyui, embedding_directory, host_inference, sdxl_clip  # noqa: F401  (fixtures)
from host.stand_in_models import small_clip, small_clip_vision, write_text_embedder_folder

pytestmark = pytest.mark.usefixtures("host_inference")

IN_ANOTHER_PROCESS = """
import runpy, sys
sys.argv = ["x"]
runpy.run_path("tests/conftest.py")
from host.comfy_models import import_comfy
import_comfy()
from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
from host.stand_in_models import small_clip, small_clip_vision
text = SDXLTextEncoder(small_clip(1))
print(text.clip_l_fingerprint, text.clip_g_fingerprint, text.fingerprint, ImageEncoder(small_clip_vision(2)).fingerprint)
"""
LAYER_L = "clip_l.transformer.text_model.encoder.layers.1.mlp.fc2.weight"
LAYER_G = "clip_g.transformer.text_model.encoder.layers.1.mlp.fc2.weight"


def all_three(clip: Any) -> tuple[str, str, str]:
    """The fingerprints of clip_l, clip_g and the token states."""
    encoder = SDXLTextEncoder(clip)
    return encoder.clip_l_fingerprint, encoder.clip_g_fingerprint, encoder.fingerprint


def changed(clip: Any, other: Any) -> tuple[bool, bool, bool]:
    """Which of the three differ: clip_l, clip_g, token states."""
    return tuple(a != b for a, b in zip(all_three(clip), all_three(other)))


def with_patch(clip: Any, strength: float, *keys: str, seed: int = 1) -> Any:
    """A copy with a seeded LoRA on the weights named."""
    import comfy.weight_adapter
    import torch

    copy = clip.clone()
    for key in keys:
        rows, columns = copy.cond_stage_model.state_dict()[key].shape
        generator = torch.Generator().manual_seed(seed)
        up, down = torch.randn(rows, 4, generator=generator), torch.randn(4, columns, generator=generator) * 0.01
        copy.add_patches({key: comfy.weight_adapter.LoRAAdapter(set(), (up, down, 4.0, None, None, None))}, strength)
    return copy


def set_weight(model: Any, name: str, change: Any) -> None:
    """Change one weight in place, before anything has been hashed."""
    weight = model.state_dict()[name]
    weight.copy_(change(weight))


def test_it_is_the_same_in_another_process(sdxl_clip: Any) -> None:  # noqa: F811
    root = Path(__file__).resolve().parents[2]
    there = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        cwd=root, env={**os.environ, "PYTHONHASHSEED": "77"}, check=True, capture_output=True, encoding="utf-8",
    ).stdout.split()[-4:]  # fmt: skip
    assert there == [*all_three(sdxl_clip), ImageEncoder(small_clip_vision(2)).fingerprint]


def test_it_is_the_same_for_float16_weights_and_their_float32_copy(sdxl_clip: Any) -> None:  # noqa: F811
    import torch

    copy = small_clip(1)
    copy.cond_stage_model.float()
    assert copy.cond_stage_model.state_dict()[LAYER_L].dtype == torch.float32
    assert sdxl_clip.cond_stage_model.state_dict()[LAYER_L].dtype == torch.float16
    assert changed(sdxl_clip, copy) == (False, False, False)


def test_it_ignores_what_no_vector_depends_on(sdxl_clip: Any) -> None:  # noqa: F811
    copy = small_clip(1)
    for name in ("clip_l.transformer.text_projection.weight", "clip_l.logit_scale", "clip_g.logit_scale"):
        set_weight(copy.cond_stage_model, name, lambda weight: weight + 1)
    assert changed(sdxl_clip, copy) == (False, False, False)


def test_a_lora_on_clip_ls_projection_does_not_matter(sdxl_clip: Any) -> None:  # noqa: F811
    patched = with_patch(sdxl_clip, 1.0, "clip_l.transformer.text_projection.weight")
    assert changed(sdxl_clip, patched) == (False, False, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (LAYER_L, (True, False, True)),
        (LAYER_G, (False, True, True)),
        ("clip_g.transformer.text_projection.weight", (False, True, True)),
    ],
)
def test_one_changed_weight_changes_its_encoder(sdxl_clip: Any, name: str, expected: tuple[bool, ...]) -> None:  # noqa: F811
    def change(weight: Any) -> Any:
        weight = weight.clone()
        weight[3, 5] += 0.01
        return weight

    copy = small_clip(1)
    set_weight(copy.cond_stage_model, name, change)
    assert changed(sdxl_clip, copy) == expected


def test_a_lora_changes_the_encoders_that_it_touches(sdxl_clip: Any) -> None:  # noqa: F811
    assert changed(sdxl_clip, with_patch(sdxl_clip, 0.8, LAYER_L, LAYER_G)) == (True, True, True)
    assert changed(sdxl_clip, with_patch(sdxl_clip, 0.8, LAYER_G)) == (False, True, True)


def test_a_loras_strength_and_content_matter(sdxl_clip: Any) -> None:  # noqa: F811
    patched = with_patch(sdxl_clip, 0.8, LAYER_L)
    assert changed(patched, with_patch(sdxl_clip, 0.7, LAYER_L)) == (True, False, True)
    assert changed(patched, with_patch(sdxl_clip, 0.8, LAYER_L, seed=2)) == (True, False, True)
    assert changed(patched, with_patch(sdxl_clip, 0.8, LAYER_L)) == (False, False, False)


def test_a_lora_at_strength_zero_does_not_matter(sdxl_clip: Any) -> None:  # noqa: F811
    assert changed(sdxl_clip, with_patch(sdxl_clip, 0.0, LAYER_L, LAYER_G)) == (False, False, False)


def test_it_does_not_matter_whether_a_lora_is_applied_in_place_at_the_moment(comfyui: Path) -> None:  # noqa: F811
    expected = all_three(small_clip(1)), all_three(with_patch(small_clip(1), 0.8, LAYER_L, LAYER_G))
    clip = small_clip(1)
    before = clip.cond_stage_model.state_dict()[LAYER_L].clone()
    patched = with_patch(clip, 0.8, LAYER_L, LAYER_G)
    SDXLTextEncoder(patched).encode([("a shark", "a shark")])
    assert not (clip.cond_stage_model.state_dict()[LAYER_L] == before).all()  # the one model now holds patched weights
    assert (all_three(clip), all_three(patched)) == expected


def test_the_clip_layer_matters_to_token_states_alone(sdxl_clip: Any) -> None:  # noqa: F811
    copy = sdxl_clip.clone()
    copy.clip_layer(-3)
    assert changed(sdxl_clip, copy) == (False, False, True)


@pytest.mark.parametrize("layer", [-2, -9, 1])
def test_a_clip_layer_that_means_the_default_does_not_matter(sdxl_clip: Any, layer: int) -> None:  # noqa: F811
    """SDXL's own is the last but one; ComfyUI falls back to it for a layer beyond the model; of three it is number 1."""
    copy = sdxl_clip.clone()
    copy.clip_layer(layer)
    assert changed(sdxl_clip, copy) == (False, False, False)


def test_tokenizer_options_matter(sdxl_clip: Any) -> None:  # noqa: F811
    copy = sdxl_clip.clone()
    copy.set_tokenizer_option("clip_g_min_padding", 1)
    assert changed(sdxl_clip, copy) == (False, True, True)


def test_one_changed_weight_changes_the_image_encoder(comfyui: Path) -> None:  # noqa: F811
    copy = small_clip_vision(2)
    set_weight(copy.model, "visual_projection.weight", lambda weight: weight.index_fill(0, weight.new_zeros(1).long(), 0.5))
    assert ImageEncoder(copy).fingerprint != ImageEncoder(small_clip_vision(2)).fingerprint


def test_the_image_encoders_normalisation_matters(comfyui: Path) -> None:  # noqa: F811
    other = small_clip_vision(2, image_mean=[0.5, 0.5, 0.5])
    assert ImageEncoder(other).fingerprint != ImageEncoder(small_clip_vision(2)).fingerprint


def test_a_text_embedders_path_and_query_prompt_do_not_matter(comfyui: Path, tmp_path: Path) -> None:  # noqa: F811
    here, there = (write_text_embedder_folder(tmp_path / name) for name in ("here", "bge-large-en-v1.5"))
    (there / "config_sentence_transformers.json").unlink()  # so that its name gives it BGE's instruction
    first, second = (load_text_embedder(str(folder), allow_download=False) for folder in (here, there))
    assert first.fingerprint == second.fingerprint


def test_a_text_embedders_pooling_matters(comfyui: Path, tmp_path: Path) -> None:  # noqa: F811
    mean, cls = (write_text_embedder_folder(tmp_path / name) for name in ("mean", "cls"))
    pooling = cls / "1_Pooling" / "config.json"
    text = pooling.read_text(encoding="utf-8")
    text = text.replace('"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false')
    pooling.write_text(text.replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true'), encoding="utf-8")
    first, second = (load_text_embedder(str(folder), allow_download=False) for folder in (mean, cls))
    assert first.fingerprint != second.fingerprint


def test_a_lora_in_bypass_mode_is_refused(sdxl_clip: Any) -> None:  # noqa: F811
    import comfy.patcher_extension

    copy = sdxl_clip.clone()
    nothing = comfy.patcher_extension.PatcherInjection(inject=lambda patcher: None, eject=lambda patcher: None)
    copy.patcher.set_injections("bypass_lora", [nothing])
    with pytest.raises(EmbedderError, match="bypass mode.*ordinary Load LoRA"):
        SDXLTextEncoder(copy).clip_l_fingerprint  # noqa: B018


def test_a_second_asking_reads_no_weights(sdxl_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from diffusion_toolkit.embedders.models import fingerprint

    first = all_three(sdxl_clip)
    monkeypatch.setattr(fingerprint, "_tensor_digest", None)  # a weight read now would be a TypeError
    assert all_three(sdxl_clip.clone()) == first


def test_a_model_that_is_dropped_is_forgotten(comfyui: Path) -> None:  # noqa: F811
    import gc
    import weakref

    model = small_clip_vision(11)
    ImageEncoder(model).fingerprint  # noqa: B018
    alive = weakref.ref(model.model)
    del model
    gc.collect()
    assert alive() is None
