"""CLIP image vectors as other models take them: averaged, as a CLIP_VISION_OUTPUT, and what an IPAdapter needs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import EmbedderError

if TYPE_CHECKING:
    import numpy as np
    import torch

AVERAGE, AVERAGE_KEPT, EACH = "average", "average, length kept", "each by itself"
_ENCODE = "connect CLIP Vision Encode with the picture itself (a search node's image) instead"


def combine(vectors: np.ndarray, way: str, weights: Sequence[float]) -> np.ndarray:
    """[n, dims] to [1, dims], or to [n, dims] `EACH` times its weight.

    An average is `sum(w v) / sum(w)`, as IPAdapter's own: shorter than what went into it where the pictures differ.
    `AVERAGE_KEPT` brings it to the average length of the vectors, which is what a model saw when it was trained.

    Raises:
        EmbedderError: the weights sum to nothing, or the vectors cancel each other out.
    """
    import numpy as np

    of = np.asarray(weights, np.float64)[:, None]  # [n, 1]
    values = np.asarray(vectors, np.float64)
    if way == EACH:
        return (values * of).astype(np.float32)
    if of.sum() <= 1e-6 * np.abs(of).sum():
        raise EmbedderError("The weights sum to zero or less, so there is no average. Make the positive ones larger than the negative ones.")
    mean = (values * of).sum(0) / of.sum()
    lengths = np.linalg.norm(values, axis=1)
    if np.linalg.norm(mean) < 1e-4 * lengths.max():
        raise EmbedderError("The vectors cancel each other out. Change a weight.")
    if way == AVERAGE_KEPT:
        mean *= (lengths * np.abs(of[:, 0])).sum() / np.abs(of).sum() / np.linalg.norm(mean)
    return mean[None].astype(np.float32)


class NoHiddenStates(AttributeError):
    """A node asked for what only the encoding of a picture has. An AttributeError, so that `hasattr` and `getattr` with a default work."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


class StoredVision:
    """A CLIP_VISION_OUTPUT that has `image_embeds` [n, dims] and nothing else; by attribute and by key, as ComfyUI's own."""

    def __init__(self, image_embeds: torch.Tensor) -> None:
        self.image_embeds = image_embeds

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NoHiddenStates(
            f"This CLIP_VISION_OUTPUT is of stored image vectors, which have image_embeds alone; the node after it asks for {name!r}, one "
            f"state for each patch of a picture, which the library does not keep (Style Model with Redux, Wan and IPAdapter plus read such). "
            f"There {_ENCODE}."
        )


def check_ipadapter(ipadapter: Any, dims: int) -> str:
    """What the connected IPADAPTER is, in words, when it takes vectors of `dims`.

    It is told by its weights' names, as IPAdapter_plus itself does: the loaders give either the weights or a pipeline with them.

    Raises:
        EmbedderError: it takes something else; the message says what.
    """
    weights = ipadapter
    if isinstance(weights, Mapping) and "ipadapter" in weights:
        weights = (weights["ipadapter"] or {}).get("model")
    projection = weights.get("image_proj") if isinstance(weights, Mapping) else None
    if not isinstance(projection, Mapping) or not projection:
        raise EmbedderError("The ipadapter input holds no IPAdapter model. Connect IPAdapter Model Loader or IPAdapter Unified Loader.")
    layers = weights.get("ip_adapter") or {}
    if "0.to_q_lora.down.weight" in layers or ("proj.2.weight" in projection and "proj.3.weight" not in projection) or "portraitunnorm" in weights:
        raise EmbedderError("The connected IPAdapter is a FaceID model: it reads a face's own vector, which the library does not keep. " + _USE)
    if "latents" in projection or "perceiver_resampler.proj_in.weight" in projection:
        raise EmbedderError(
            "The connected IPAdapter is a plus model: it reads one state for each patch of a picture, which the library does not keep. "
            f"{_USE} Or {_ENCODE.replace('CLIP Vision Encode', 'IPAdapter Encoder')}."
        )
    if "proj.3.weight" in projection:
        raise EmbedderError("The connected IPAdapter is a full-face model: it reads hidden states, which the library does not keep. " + _USE)
    if "proj.weight" not in projection:
        raise EmbedderError(f"The connected IPAdapter is of an unknown kind ({', '.join(sorted(projection)[:4])}). {_USE}")
    takes = projection["proj.weight"].shape[1]
    if takes != dims:
        made = _ENCODERS.get(takes, "another encoder")
        raise EmbedderError(f"The connected IPAdapter takes vectors of {takes} numbers ({made}); the library's have {dims} (CLIP-ViT-H/14). {_USE}")
    kind = {768: "SD 1.5", 2048: "SDXL"}.get(projection["norm.weight"].shape[0] if "norm.weight" in projection else 0, "other")
    return f"an IPAdapter for {kind} models that takes {takes} numbers"


_USE = "Use a non-plus ViT-H one: ip-adapter_sd15, ip-adapter_sd15_light or ip-adapter_sdxl_vit-h."
_ENCODERS = {768: "CLIP-ViT-L/14", 1024: "CLIP-ViT-H/14", 1280: "CLIP-ViT-bigG/14", 512: "a face encoder"}


def check_unclip_model(model: Any, dims: int) -> str:
    """What the connected MODEL is, in words, when unCLIPConditioning can give it vectors of `dims`; EmbedderError says why not."""
    inner = getattr(model, "model", None)
    name = type(inner).__name__
    embed = getattr(getattr(inner, "noise_augmentor", None), "time_embed", None)  # upscalers have a noise_augmentor without it
    takes = embed.dim if embed is not None else 768 if name == "StableCascade_C" else None
    use = "With this vector: a Stable Diffusion 2.1 unCLIP-h checkpoint (sd21-unclip-h.ckpt)."
    if takes is None:
        raise EmbedderError(f"The connected model ({name}) reads no image vector: unCLIPConditioning would do nothing to it. {use}")
    if takes != dims:
        raise EmbedderError(
            f"The connected model ({name}) takes image vectors of {takes} numbers ({_ENCODERS.get(takes, 'another encoder')}); the library's "
            f"have {dims} (CLIP-ViT-H/14). {use}"
        )
    return f"a model ({name}) that takes {takes} numbers"
