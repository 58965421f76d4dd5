"""CLIP-L, CLIP-G and token states agree with CLIPTextEncode, CLIPTextEncodeSDXL and transformers on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.models import clip_text, clip_towers
from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
from host.comfy_models import (  # noqa: F401  (fixtures)
    assert_parity,
    comfyui,
    embedding_directory,
    host_inference,
    sdxl_clip,
)

pytestmark = pytest.mark.usefixtures("host_inference")

SHORT = "a shark under water"
WEIGHTED = "a (shark:1.3) under ((deep)) [water], (murky:0.4)"
LONG = "an oil painting of a lighthouse, storm, waves, " * 10  # two sections
LONG_WEIGHTED = LONG + "(a red boat:1.4)"
INVERSION = "a photo of embedding:spark in the (dark:1.2), embedding:spark"
TEXTS = {"short": SHORT, "empty": "", "weights": WEIGHTED, "long": LONG, "long weights": LONG_WEIGHTED, "inversion": INVERSION}


def clip_text_encode(clip: Any, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The node's token states [77k, 2048] and pooled_output [1280]."""
    import nodes

    ((states, extra),) = nodes.CLIPTextEncode().encode(clip, text)[0]
    return states[0].float().numpy(), extra["pooled_output"][0].float().numpy()


def encode_one(clip: Any, text_g: str, text_l: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Our clip_l, clip_g and token states of one text."""
    encoded = SDXLTextEncoder(clip).encode([(text_g, text_g if text_l is None else text_l)])
    return encoded.clip_l[0], encoded.clip_g[0], encoded.states[0]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_token_states_and_clip_g_are_clip_text_encodes(sdxl_clip: Any, text: str) -> None:  # noqa: F811
    states, pooled = clip_text_encode(sdxl_clip, text)
    _, clip_g, our_states = encode_one(sdxl_clip, text)
    assert_parity(our_states, states)
    assert_parity(clip_g, pooled)


def test_the_textual_inversion_of_this_test_is_found(sdxl_clip: Any) -> None:  # noqa: F811
    assert not np.array_equal(encode_one(sdxl_clip, INVERSION)[2], encode_one(sdxl_clip, INVERSION.replace("spark", "none"))[2])


@pytest.mark.parametrize(("text_g", "text_l"), [(SHORT, "deep sea"), (SHORT, LONG), (LONG_WEIGHTED, ""), (INVERSION, WEIGHTED)])
def test_different_texts_for_the_two_encoders_are_clip_text_encode_sdxls(sdxl_clip: Any, text_g: str, text_l: str) -> None:  # noqa: F811
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL

    ((states, extra),) = CLIPTextEncodeSDXL.execute(sdxl_clip, 1024, 1024, 0, 0, 1024, 1024, text_g, text_l)[0]
    _, clip_g, our_states = encode_one(sdxl_clip, text_g, text_l)
    assert_parity(our_states, states[0].numpy())
    assert_parity(clip_g, extra["pooled_output"][0].numpy())


def test_many_texts_together_give_what_each_gives_alone(sdxl_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(clip_text, "_TEXTS", 5)
    monkeypatch.setitem(clip_towers._SECTIONS, "cpu", 3)
    pairs = [(text, text) for text in TEXTS.values()] + [(SHORT, LONG)]
    together = SDXLTextEncoder(sdxl_clip).encode(pairs)
    for row in range(len(pairs)):
        clip_l, clip_g, states = encode_one(sdxl_clip, *pairs[row])
        assert_parity(together.clip_l[row], clip_l)
        assert_parity(together.clip_g[row], clip_g)
        assert_parity(together.states[row], states)


def test_no_texts_give_no_vectors(sdxl_clip: Any) -> None:  # noqa: F811
    encoded = SDXLTextEncoder(sdxl_clip).encode([])
    assert (encoded.clip_l.shape, encoded.clip_g.shape, encoded.states) == ((0, 768), (0, 1280), [])


@pytest.mark.parametrize("text", [SHORT, "", LONG], ids=["short", "empty", "long"])
def test_clip_l_is_the_pooler_of_transformers_on_the_same_weights(sdxl_clip: Any, text: str) -> None:  # noqa: F811
    theirs = transformers_tower(sdxl_clip, "clip_l", text).pooler_output[0].numpy()
    assert_parity(encode_one(sdxl_clip, text)[0], theirs)


def test_clip_g_is_the_projected_pooler_of_transformers_on_the_same_weights(sdxl_clip: Any) -> None:  # noqa: F811
    pooled = transformers_tower(sdxl_clip, "clip_g", SHORT).pooler_output[0]
    projection = sdxl_clip.cond_stage_model.clip_g.transformer.text_projection.weight.float()
    assert_parity(encode_one(sdxl_clip, SHORT)[1], (projection @ pooled).numpy())


def transformers_tower(clip: Any, tower: str, text: str) -> Any:
    """The output of transformers' CLIPTextModel with a tower's weights, for the first section of a text."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    ours = getattr(clip.cond_stage_model, tower).transformer
    layer = ours.text_model.encoder.layers[0]
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=layer.layer_norm1.weight.shape[0],
        intermediate_size=layer.mlp.fc1.weight.shape[0],
        num_hidden_layers=ours.num_layers,
        num_attention_heads={"clip_l": 12, "clip_g": 20}[tower],
        hidden_act={"clip_l": "quick_gelu", "clip_g": "gelu"}[tower],
        bos_token_id=49406,
        eos_token_id=49407,
    )
    reference = CLIPTextModel(config).float().eval()
    prefix = "text_model." if any(name.startswith("text_model.") for name in reference.state_dict()) else ""
    weights = {prefix + name: value.float() for name, value in ours.text_model.state_dict().items()}
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    tokens = [token for token, _ in clip.tokenize(text)[tower[-1]][0]]
    return reference(input_ids=torch.tensor([tokens]))


@pytest.mark.parametrize("layer", [-1, -2, -3, -9])
def test_the_clip_layer_is_honoured(sdxl_clip: Any, layer: int) -> None:  # noqa: F811
    clip = sdxl_clip.clone()
    clip.clip_layer(layer)
    states, pooled = clip_text_encode(clip, WEIGHTED)
    _, clip_g, our_states = encode_one(clip, WEIGHTED)
    assert_parity(our_states, states)
    assert_parity(clip_g, pooled)


def test_a_lora_is_honoured_and_does_not_stay(sdxl_clip: Any) -> None:  # noqa: F811
    before = encode_one(sdxl_clip, SHORT)
    clip = with_lora(sdxl_clip, 0.7)
    states, pooled = clip_text_encode(clip, SHORT)
    _, clip_g, our_states = encode_one(clip, SHORT)
    assert_parity(our_states, states)
    assert_parity(clip_g, pooled)
    assert np.abs(our_states - before[2]).max() > 0.01
    assert_parity(encode_one(sdxl_clip, SHORT)[2], before[2])


def with_lora(clip: Any, strength: float) -> Any:
    """A copy of a CLIP with a seeded LoRA on one layer of each tower, as Load LoRA adds it."""
    import comfy.sd
    import torch

    lora = {}
    generator = torch.Generator().manual_seed(9)
    for tower, width in (("lora_te1", 768), ("lora_te2", 1280)):
        name = f"{tower}_text_model_encoder_layers_0_mlp_fc1"
        lora[f"{name}.lora_down.weight"] = torch.randn(4, width, generator=generator) * 0.05
        lora[f"{name}.lora_up.weight"] = torch.randn(1024, 4, generator=generator) * 0.05
        lora[f"{name}.alpha"] = torch.tensor(4.0)
    return comfy.sd.load_lora_for_models(None, clip, lora, 0, strength)[1]


def test_tokenizer_options_are_honoured(sdxl_clip: Any) -> None:  # noqa: F811
    clip = sdxl_clip.clone()
    clip.set_tokenizer_option("clip_l_min_length", 77)
    clip.set_tokenizer_option("clip_g_min_padding", 1)
    states, pooled = clip_text_encode(clip, SHORT)
    _, clip_g, our_states = encode_one(clip, SHORT)
    assert_parity(our_states, states)
    assert_parity(clip_g, pooled)


def test_clip_text_encode_is_the_same_after_ours(sdxl_clip: Any) -> None:  # noqa: F811
    before = clip_text_encode(sdxl_clip, SHORT)
    encode_one(sdxl_clip, LONG_WEIGHTED)
    after = clip_text_encode(sdxl_clip, SHORT)
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[1], after[1])


def test_a_clip_that_is_not_sdxls_pair_is_refused(comfyui: Path) -> None:  # noqa: F811
    import comfy.sd
    import comfy.sd1_clip
    import comfy.supported_models_base

    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    clip_l = comfy.sd.CLIP(target, model_options={"clip_l_model_config": {"num_hidden_layers": 2}})
    with pytest.raises(EmbedderError, match="SD1ClipModel.*Load CLIP \\(Dual\\).*type sdxl"):
        SDXLTextEncoder(clip_l)


def test_sd3s_clip_l_and_clip_g_are_refused(comfyui: Path) -> None:  # noqa: F811
    """They pool otherwise, and pad the states to 4096."""
    import comfy.sd
    import comfy.supported_models_base
    import comfy.text_encoders.sd3_clip as sd3

    target = comfy.supported_models_base.ClipTarget(sd3.SD3Tokenizer, sd3.sd3_clip(t5=False))
    few = {"num_hidden_layers": 3, "intermediate_size": 64}
    clip = comfy.sd.CLIP(target, model_options={"clip_l_model_config": few, "clip_g_model_config": few})
    with pytest.raises(EmbedderError, match="SD3.*SDXL checkpoint"):
        SDXLTextEncoder(clip)


def test_a_checkpoint_without_a_text_encoder_is_refused(comfyui: Path) -> None:  # noqa: F811
    with pytest.raises(EmbedderError, match="no text encoder"):
        SDXLTextEncoder(None)


def test_a_clip_with_hooks_is_refused(sdxl_clip: Any) -> None:  # noqa: F811
    import comfy.hooks

    clip = sdxl_clip.clone()
    clip.patcher.forced_hooks = comfy.hooks.HookGroup()
    with pytest.raises(EmbedderError, match="hooks"):
        SDXLTextEncoder(clip)
