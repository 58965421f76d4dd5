"""Averages of image vectors, and what is told of models that take them by the names and shapes of their weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit.embedders.conditioning.image_vectors import AVERAGE, AVERAGE_KEPT, EACH, StoredVision, check_ipadapter, check_unclip_model, combine
from diffusion_toolkit.embedders.errors import EmbedderError

VECTORS = np.random.default_rng(2).standard_normal((3, 16)).astype(np.float32)


def test_an_average_is_the_weighted_mean():
    made = combine(VECTORS, AVERAGE, [2, 1, 1])
    assert made.dtype == np.float32 and np.allclose(made[0], (2 * VECTORS[0] + VECTORS[1] + VECTORS[2]) / 4, atol=1e-6)


def test_an_average_at_its_length_has_the_direction_of_the_mean_and_the_mean_of_the_lengths():
    [kept], [mean] = combine(VECTORS, AVERAGE_KEPT, [1, 1, 1]), combine(VECTORS, AVERAGE, [1, 1, 1])
    assert np.linalg.norm(kept) == pytest.approx(np.linalg.norm(VECTORS, axis=1).mean(), rel=1e-6)
    assert kept @ mean == pytest.approx(np.linalg.norm(kept) * np.linalg.norm(mean), rel=1e-6)


def test_one_vector_is_itself_in_every_way():
    for way in (AVERAGE, AVERAGE_KEPT, EACH):
        assert np.allclose(combine(VECTORS[:1], way, [1]), VECTORS[:1], rtol=1e-6)


def test_each_by_itself_is_a_batch():
    assert np.allclose(combine(VECTORS, EACH, [1, 2, -1]), VECTORS * [[1], [2], [-1]])


@pytest.mark.parametrize(("vectors", "weights"), [(VECTORS, [1, 0, -1]), (VECTORS, [0, 0, 0]), (np.stack([VECTORS[0], -VECTORS[0]]), [1, 1])])
def test_an_average_of_nothing_is_refused(vectors, weights):
    with pytest.raises(EmbedderError, match="no average|cancel"):
        combine(vectors, AVERAGE, weights)


def test_a_stored_vision_has_image_embeds_by_attribute_and_by_key_and_says_what_it_lacks():
    vision = StoredVision("embeds")
    assert vision.image_embeds == vision["image_embeds"] == "embeds"
    assert not hasattr(vision, "penultimate_hidden_states") and getattr(vision, "mm_projected", None) is None
    with pytest.raises(AttributeError, match="'last_hidden_state'.*connect CLIP Vision Encode"):
        vision["last_hidden_state"]


def ipadapter(**projection) -> dict:
    """The weights of an IPAdapter as IPAdapter_plus loads them, by the shapes of some."""
    layers = {"1.to_k_ip.weight": np.empty((640, 2048))}
    return {"image_proj": {name.replace("_", "."): np.empty(shape) for name, shape in projection.items()}, "ip_adapter": layers}


NON_PLUS = dict(proj_weight=(4 * 2048, 1024), norm_weight=(2048,))


def test_a_non_plus_ipadapter_for_vit_h_fits_by_itself_and_in_a_pipeline():
    weights = ipadapter(**NON_PLUS)
    for connected in (weights, {"ipadapter": {"file": "x", "model": weights}, "clipvision": None}):
        assert check_ipadapter(connected, 1024) == "an IPAdapter for SDXL models that takes 1024 numbers"


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (ipadapter(proj_weight=(4 * 2048, 1280), norm_weight=(2048,)), r"takes vectors of 1280 numbers \(CLIP-ViT-bigG/14\); the library's have 1024"),
        (ipadapter(latents=(1, 16, 1280)), "plus model"),
        ({"image_proj": {"perceiver_resampler.proj_in.weight": 0}, "ip_adapter": {}}, "plus model"),
        (ipadapter(proj_0_weight=(1, 1), proj_2_weight=(1, 1), proj_3_weight=(1,)), "full-face"),
        (ipadapter(proj_0_weight=(1, 1), proj_2_weight=(1, 1)), "FaceID"),
        ({**ipadapter(**NON_PLUS), "ip_adapter": {"0.to_q_lora.down.weight": 0}}, "FaceID"),
        (ipadapter(other_weight=(1, 1)), "unknown kind"),
        ({}, "holds no IPAdapter"),
        ({"image_proj": {}, "ip_adapter": {}}, "holds no IPAdapter"),
        (None, "holds no IPAdapter"),
        ({"ipadapter": None}, "holds no IPAdapter"),
        ({"ipadapter": {"file": None, "model": None}}, "holds no IPAdapter"),
    ],
)
def test_another_ipadapter_is_named_and_one_that_fits_too(weights, says):
    with pytest.raises(EmbedderError, match=says) as caught:
        check_ipadapter(weights, 1024)
    assert "ip-adapter_sd15" in str(caught.value) or "Connect IPAdapter Model Loader" in str(caught.value)


def model(kind: str, takes: int | None):
    inner = type(kind, (), {})()
    if takes:
        inner.noise_augmentor = SimpleNamespace(time_embed=SimpleNamespace(dim=takes))
    return SimpleNamespace(model=inner)


def test_an_unclip_model_of_vit_h_fits_and_others_are_named():
    assert check_unclip_model(model("SD21UNCLIP", 1024), 1024) == "a model (SD21UNCLIP) that takes 1024 numbers"
    for kind, takes, says in (("SD21UNCLIP", 768, "768 numbers"), ("StableCascade_C", None, "768 numbers"), ("Flux", None, "reads no image vector")):
        with pytest.raises(EmbedderError, match=says):
            check_unclip_model(model(kind, takes), 1024)
