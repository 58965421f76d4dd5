"""Image vectors: the `image_embeds` of a connected CLIP_VISION (CLIP-ViT-H/14), many images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import EmbedderError
from .fingerprint import combine, patched_weights_digest

if TYPE_CHECKING:
    import numpy as np
    import torch

IMAGE_DIMS = 1024
_PREPROCESSING = "comfy clip_preprocess, bicubic, centre crop, 1"
_BATCH = 16
_WANTED = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors in models/clip_vision, loaded with Load CLIP Vision"
_KNOWN_DIMS = {512: "CLIP-ViT-B", 768: "CLIP-ViT-L", 1280: "CLIP-ViT-bigG"}


class ImageEncoder:
    """Wraps ComfyUI's ClipVisionModel, so that its loading, offloading and precision are the host's.

    Raises:
        EmbedderError: the connected model does not make vectors of 1024 dimensions.
    """

    dims = IMAGE_DIMS

    def __init__(self, clip_vision: Any, managed: bool = True) -> None:
        """`managed` False: the model stays where it is, on the CPU, and the host is not told of it (see `nodes.query_models`)."""
        self._clip_vision = clip_vision
        self._managed = managed
        self._check()
        config = clip_vision.config
        real = (config.get("hidden_size"), config.get("num_hidden_layers"), config.get("patch_size")) == (1280, 32, 14)
        self.name = "CLIP-ViT-H/14" if real else f"a CLIP vision of {config.get('num_hidden_layers')} layers, not CLIP-ViT-H/14"

    @property
    def weights(self) -> str:
        """The digest of the weights alone, by which the text tower of the same pair knows its picture tower."""
        return patched_weights_digest(self._clip_vision.patcher)

    @property
    def fingerprint(self) -> str:
        """64 hex digits; hashing takes a second or two for ViT-H the first time it is asked for."""
        model = self._clip_vision
        settings = {key: model.config.get(key) for key in ("model_type", "hidden_act", "num_attention_heads", "patch_size")}
        pixels = [model.image_size, list(model.image_mean), list(model.image_std), _PREPROCESSING]
        return combine("image", self.weights, settings, pixels)

    def encode(self, images: Sequence[np.ndarray | torch.Tensor]) -> np.ndarray:
        """The projected vectors of images of any sizes, norms kept: [n, 1024] float32.

        Each image is [H, W, 3], uint8 or floating point from 0 to 1. Preparing them one by one bounds memory by one image.
        """
        import comfy.model_management as host
        import numpy as np
        import torch

        vectors = []
        with torch.inference_mode():
            if self._managed:
                host.load_model_gpu(self._clip_vision.patcher)
            for start in range(0, len(images), _BATCH):
                pixels = torch.cat([self._prepare(image) for image in images[start : start + _BATCH]])  # [b, 3, 224, 224]
                vectors.append(self._clip_vision.model(pixel_values=pixels)[2].float().cpu().numpy())  # [b, 1024]
        return np.concatenate(vectors) if vectors else np.empty((0, IMAGE_DIMS), np.float32)

    def _prepare(self, image: np.ndarray | torch.Tensor) -> torch.Tensor:
        import numpy as np
        import torch
        from comfy.clip_model import clip_preprocess

        model = self._clip_vision
        if not isinstance(image, torch.Tensor):
            image = torch.from_numpy(np.require(image, requirements="W"))  # Pillow's arrays are read-only: torch warns of them
        pixels = image.to(model.load_device if self._managed else "cpu")
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        return clip_preprocess(
            pixels.unsqueeze(0), size=model.image_size, mean=model.image_mean, std=model.image_std, crop=True
        ).float()

    def _check(self) -> None:
        if self._clip_vision is None:
            raise EmbedderError(f"The clip_vision input holds no model. Use {_WANTED}.")
        model = self._clip_vision
        kind = getattr(model, "model_type", type(model).__name__)
        projection = getattr(getattr(getattr(model, "model", None), "visual_projection", None), "weight", None)
        if kind != "clip_vision_model" or projection is None:
            raise EmbedderError(f"The connected CLIP vision model is a {kind}, which has no CLIP image vector. Use {_WANTED}.")
        dims = projection.shape[0]
        if dims != IMAGE_DIMS:
            found = _KNOWN_DIMS.get(dims, "of another kind")
            raise EmbedderError(
                f"The connected CLIP vision model ({found}) makes vectors of {dims} dimensions; the library's image "
                f"vectors have {IMAGE_DIMS}. Use {_WANTED}."
            )
