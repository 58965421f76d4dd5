"""Small seeded stand-ins for the models beside SDXL that stored vectors serve: SDXL's refiner, SD 2.1 unCLIP, Flux and SD3.

The last one made of each is kept, since T5's vocabulary alone is 263 MB.

The towers that they share with `stand_in_models.small_clip` have the same weights by the same seed, as the real ones share OpenAI's
CLIP-L and OpenCLIP's CLIP-bigG.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from .stand_in_models import fill_with_seeded_weights, give_memory, small_clip_vision, small_vae

_L, _G = {"num_hidden_layers": 3, "intermediate_size": 1024}, {"num_hidden_layers": 3, "intermediate_size": 1024}
_T5 = {"d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 1}  # 4096 wide and the whole vocabulary: 263 MB in float16


@lru_cache(maxsize=1)
def refiner_clip(seed: int) -> Any:
    """As Load Checkpoint gives it for sd_xl_refiner_1.0: CLIP-G alone."""
    import comfy.sdxl_clip

    return _clip(comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLRefinerClipModel, seed)


@lru_cache(maxsize=1)
def flux_clip(seed: int) -> Any:
    """As DualCLIPLoader of type flux gives it: CLIP-L and T5."""
    import comfy.text_encoders.flux

    return _clip(comfy.text_encoders.flux.FluxTokenizer, comfy.text_encoders.flux.flux_clip(), seed)


@lru_cache(maxsize=2)
def sd3_clip(seed: int, clip_l: bool = True, clip_g: bool = True, t5: bool = True) -> Any:
    """As TripleCLIPLoader gives it, or CLIPLoader and DualCLIPLoader of type sd3 with fewer of the three."""
    import comfy.text_encoders.sd3_clip

    model = comfy.text_encoders.sd3_clip.sd3_clip(clip_l=clip_l, clip_g=clip_g, t5=t5)
    return _clip(comfy.text_encoders.sd3_clip.SD3Tokenizer, model, seed)


@lru_cache(maxsize=1)
def unclip_checkpoint(seed: int) -> tuple[Any, Any, Any, Any]:
    """As unCLIPCheckpointLoader gives sd21-unclip-h: MODEL, CLIP, VAE, CLIP_VISION."""
    import comfy.supported_models
    import comfy.text_encoders.sd2_clip

    text = comfy.text_encoders.sd2_clip
    clip = _clip(text.SD2Tokenizer, text.SD2ClipModel, seed, {"clip_h_model_config": _L})
    model = _model(comfy.supported_models.SD21UnclipH, _unet(context_dim=1024, adm_in_channels=2048), seed)
    return model, clip, small_vae(seed), small_clip_vision(seed)


@lru_cache(maxsize=1)
def refiner_unet(seed: int) -> Any:
    import comfy.supported_models

    return _model(comfy.supported_models.SDXLRefiner, _unet(context_dim=1280, adm_in_channels=2560), seed)


@lru_cache(maxsize=1)
def flux_model(seed: int) -> Any:
    import comfy.supported_models

    config = {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096, "hidden_size": 64,
        "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "theta": 10000, "patch_size": 2,
        "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": [],
    }  # fmt: skip
    return _model(comfy.supported_models.Flux, config, seed)


@lru_cache(maxsize=1)
def sd3_model(seed: int) -> Any:
    import comfy.supported_models

    config = {
        "in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": 1, "input_size": None, "adm_in_channels": 2048,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64}},
        "num_patches": 36864, "pos_embed_max_size": 192, "pos_embed_scaling_factor": None,
    }  # fmt: skip
    return _model(comfy.supported_models.SD3, config, seed)


@lru_cache(maxsize=1)
def wide_vae(seed: int) -> Any:
    """16 latent channels, as Flux and SD3 have."""
    import comfy.ldm.models.autoencoder
    import comfy.sd

    sizes = {
        "double_z": True, "z_channels": 16, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 2, 2],
        "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    parameters = {"embed_dim": 16, "ddconfig": sizes}
    weights = comfy.ldm.models.autoencoder.AutoencoderKL(**parameters)
    fill_with_seeded_weights(weights, seed)
    vae = comfy.sd.VAE(sd=weights.state_dict(), config={"params": parameters})
    vae.latent_channels = 16
    return vae


def _clip(tokenizer: Any, model: Any, seed: int, options: dict[str, Any] | None = None) -> Any:
    import comfy.sd
    import comfy.supported_models_base

    sizes = {"clip_l_model_config": _L, "clip_g_model_config": _G, "t5xxl_model_config": _T5, **(options or {})}
    clip = comfy.sd.CLIP(comfy.supported_models_base.ClipTarget(tokenizer, model), model_options=sizes)
    _fill(clip.cond_stage_model, seed)
    return clip


def _fill(model: Any, seed: int) -> None:
    """All weights by their names, but for T5's vocabulary: its rows are sums of two of a few, which takes a tenth of the time."""
    import torch

    large = "t5xxl.transformer.shared.weight"
    give_memory(model)
    weights = model.state_dict()
    vocabulary = weights.pop(large, None)
    fill_with_seeded_weights(SimpleNamespace(state_dict=lambda: weights, modules=model.modules), seed)
    if vocabulary is not None:
        random = torch.randn(2, 181, vocabulary.shape[1], generator=torch.Generator().manual_seed(seed)).to(vocabulary.dtype)
        rows = torch.arange(len(vocabulary))
        with torch.no_grad():
            vocabulary.copy_(random[0][rows % 181] + random[1][rows // 181])


def _unet(**sizes: Any) -> dict[str, Any]:
    return {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 64, "channel_mult": [1, 2], "num_res_blocks": [1, 1],
        "transformer_depth": [0, 1], "transformer_depth_output": [0, 0, 1, 1], "transformer_depth_middle": 1, "num_classes": "sequential",
        "use_spatial_transformer": True, "use_linear_in_transformer": True, "use_temporal_attention": False, "legacy": False, **sizes,
    }  # fmt: skip


def _model(kind: Any, config: dict[str, Any], seed: int) -> Any:
    import comfy.model_management
    import comfy.model_patcher
    import torch

    known = kind(config)
    known.set_inference_dtype(torch.float32, None)
    load_device, offload_device = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    model = known.get_model({}, "", device=offload_device)
    fill_with_seeded_weights(model.diffusion_model, seed)
    model.eval()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=load_device, offload_device=offload_device)
