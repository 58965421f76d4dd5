"""Image vectors agree with ComfyUI's own encode_image and with transformers' CLIP vision model on the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
from host.comfy_models import assert_parity, clip_vision, comfyui, host_inference  # noqa: F401  (fixtures)
from host.stand_in_models import small_clip_vision

pytestmark = pytest.mark.usefixtures("host_inference")


@pytest.fixture(scope="module")
def picture(comfyui: Path) -> np.ndarray:  # noqa: F811
    """A real file, as LoadImage and this package decode it: [H, W, 3] uint8."""
    from PIL import Image

    return np.asarray(Image.open(comfyui / "input" / "example.png").convert("RGB"))


def as_image(pixels: np.ndarray) -> Any:
    """ComfyUI's IMAGE, as LoadImage makes it: [1, H, W, 3] float32."""
    import torch

    return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None]


def test_a_file_gives_what_encode_image_gives(clip_vision: Any, picture: np.ndarray) -> None:  # noqa: F811
    theirs = clip_vision.encode_image(as_image(picture)).image_embeds.numpy()
    assert_parity(ImageEncoder(clip_vision).encode([picture]), theirs)


def test_float_pixels_give_what_their_bytes_give(clip_vision: Any, picture: np.ndarray) -> None:  # noqa: F811
    encoder = ImageEncoder(clip_vision)
    assert_parity(encoder.encode([as_image(picture)[0]]), encoder.encode([picture]))


def test_images_of_different_sizes_in_one_batch_give_what_each_gives_alone(clip_vision: Any, picture: np.ndarray) -> None:  # noqa: F811
    pictures = [picture[: 64 + 23 * i, : 500 - 17 * i] for i in range(20)]  # more than one batch
    alone = np.concatenate([clip_vision.encode_image(as_image(pixels)).image_embeds.numpy() for pixels in pictures])
    assert_parity(ImageEncoder(clip_vision).encode(pictures), alone)


@pytest.mark.parametrize("shape", [(7, 400), (450, 23)])
def test_a_narrow_picture_gives_what_encode_image_gives(clip_vision: Any, picture: np.ndarray, shape: tuple[int, int]) -> None:  # noqa: F811
    narrow = picture[: shape[0], : shape[1]]
    theirs = clip_vision.encode_image(as_image(narrow)).image_embeds.numpy()
    [ours] = ImageEncoder(clip_vision).encode([narrow])
    assert ours @ theirs[0] / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.9999


def test_a_line_of_pixels_is_not_scaled_as_a_whole(clip_vision: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from comfy import clip_model

    scaled, whole = [], clip_model.clip_preprocess
    monkeypatch.setattr(clip_model, "clip_preprocess", lambda pixels, **how: (scaled.append(pixels[:, :10, :10].shape), whole(pixels[:, :10, :10], **how))[1])
    lines = [np.full((1, 30_000, 3), 90, np.uint8), np.full((30_000, 1, 3), 90, np.uint8)]
    assert np.isfinite(ImageEncoder(clip_vision).encode(lines)).all()
    assert scaled == [(1, 1, 8, 3), (1, 8, 1, 3)]


def test_no_images_give_no_vectors(clip_vision: Any) -> None:  # noqa: F811
    assert ImageEncoder(clip_vision).encode([]).shape == (0, 1024)


def test_the_norm_of_a_vector_is_kept(clip_vision: Any, picture: np.ndarray) -> None:  # noqa: F811
    assert abs(np.linalg.norm(ImageEncoder(clip_vision).encode([picture])[0]) - 1) > 0.5


def test_vit_h_gives_what_transformers_gives_on_the_same_weights(comfyui: Path, picture: np.ndarray) -> None:  # noqa: F811
    """ViT-H/14's own configuration, four layers deep: all of its shapes, an eighth of its time."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = json.loads((comfyui / "comfy" / "clip_vision_config_h.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = 4
    model = small_clip_vision(3, **config)
    reference = CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).float().eval()
    missing, unexpected = reference.load_state_dict({k: v.float() for k, v in model.get_sd().items()}, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)

    theirs = reference(pixel_values=openai_preprocessing(picture)).image_embeds.numpy()
    ours = ImageEncoder(model).encode([picture])
    assert_parity(ours, theirs)
    assert ours.dtype == np.float32 and torch.is_inference_mode_enabled()


def openai_preprocessing(pixels: np.ndarray) -> Any:
    """CLIP's published steps: shorter side to 224 (bicubic, antialiased), centre crop, scale, normalise; rounded to 8 bits."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as f

    image = torch.tensor(pixels).movedim(-1, 0).float() / 255
    height, width = image.shape[-2:]
    scale = 224 / min(height, width)
    image = f.resize(image, [round(scale * height), round(scale * width)], InterpolationMode.BICUBIC, antialias=True)
    image = f.center_crop(image, [224, 224]).mul(255).clamp(0, 255).round() / 255
    return f.normalize(image, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])[None]


@pytest.mark.parametrize(("dims", "named"), [(768, "CLIP-ViT-L"), (1280, "CLIP-ViT-bigG")])
def test_another_clip_vision_is_refused_by_name(comfyui: Path, dims: int, named: str) -> None:  # noqa: F811
    with pytest.raises(EmbedderError, match=f"{named}.*{dims} dimensions.*CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"):
        ImageEncoder(small_clip_vision(1, projection_dim=dims))


def test_siglip_is_refused_by_name(comfyui: Path) -> None:  # noqa: F811
    with pytest.raises(EmbedderError, match="siglip_vision_model.*CLIP-ViT-H-14"):
        ImageEncoder(small_clip_vision(1, model_type="siglip_vision_model"))


def test_an_input_without_a_model_is_refused(comfyui: Path) -> None:  # noqa: F811
    with pytest.raises(EmbedderError, match="holds no model"):
        ImageEncoder(None)
