"""Settings of files from other generators, under ComfyUI's names."""

from __future__ import annotations

import pytest
from host.comfy_models import comfyui  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.mark.parametrize(
    ("label", "scheduler", "expected"),
    [
        ("dpmpp_2m", "karras", ("dpmpp_2m", "karras")),
        ("Euler a", None, ("euler_ancestral", None)),
        ("DPM++ 2M Karras", None, ("dpmpp_2m", "karras")),
        ("DPM++ 2M", "Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", None, ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2S a", "SGM Uniform", ("dpmpp_2s_ancestral", "sgm_uniform")),
        ("DPM2 a Karras", None, ("dpm_2_ancestral", "karras")),
        ("UniPC", "Automatic", ("uni_pc", None)),
        ("Restart", None, (None, None)),
        ("k_euler", "native", ("euler", None)),
        ("k_euler_ancestral", "karras", ("euler_ancestral", "karras")),
        ("k_dpmpp_2m", None, ("dpmpp_2m", None)),
        ("k_dpmpp_2m_sde", "exponential", ("dpmpp_2m_sde", "exponential")),
        ("k_dpmpp_sde", None, ("dpmpp_sde", None)),
        ("k_dpmpp_2s_ancestral", None, ("dpmpp_2s_ancestral", None)),
        ("ddim_v3", None, ("ddim", None)),
        ("dpmpp_2m_k", None, ("dpmpp_2m", "karras")),
        ("dpmpp_sde_k", None, ("dpmpp_sde", "karras")),
        ("dpmpp_2m_sde_k", None, ("dpmpp_2m_sde", "karras")),
        ("euler_k", None, ("euler", "karras")),
        ("euler_k", "simple", ("euler", "simple")),
        ("k_euler_a", None, ("euler_ancestral", None)),
        ("euler_a", None, ("euler_ancestral", None)),
        ("k_lms", None, ("lms", None)),
        ("kdpm_2_a", None, ("dpm_2_ancestral", None)),
        ("Euler A", None, ("euler_ancestral", None)),
        ("Euler A Trailing", None, ("euler_ancestral", None)),
        ("DPM++ 2M AYS", None, ("dpmpp_2m", None)),
        ("UniPC Trailing", None, ("uni_pc", None)),
        ("k_nonesuch", None, (None, None)),
        (None, None, (None, None)),
    ],
)
def test_labels_of_other_generators_become_comfyuis_names(label, scheduler, expected):
    import comfy.samplers
    from diffusion_toolkit.nodes.settings import sampler_and_scheduler

    host = comfy.samplers.KSampler
    assert sampler_and_scheduler(label, scheduler, host.SAMPLERS, host.SCHEDULERS) == expected


def test_what_the_file_does_not_tell_is_named():
    from diffusion_toolkit.embedders.metadata import ImageMetadata
    from diffusion_toolkit.nodes.settings import not_told

    assert not_told(ImageMetadata()) == ["seed", "steps", "cfg", "sampler", "scheduler", "denoise", "checkpoint"]
    assert not_told(ImageMetadata(seed=0, steps=1, cfg=0.0, sampler="DPM++ 2M Karras", denoise=0.0)) == ["checkpoint"]
    assert not_told(ImageMetadata(sampler="Restart", scheduler="nonesuch", checkpoint="x")) == ["seed", "steps", "cfg", "denoise"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sdxl/base.safetensors", "sdxl/base.safetensors"),
        ("base", "sdxl/base.safetensors"),
        ("other\\base.safetensors", "sdxl/base.safetensors"),
        ("twin", "twin"),
        ("b\\twin.ckpt", "b/twin.ckpt"),
        ("elsewhere.ckpt", "elsewhere.ckpt"),
        (None, "a/twin.ckpt"),
    ],
)
def test_a_checkpoint_is_found_under_the_name_it_has_here(name, expected):
    from diffusion_toolkit.nodes.settings import checkpoint_here

    assert checkpoint_here(name, ["a/twin.ckpt", "b/twin.ckpt", "sdxl/base.safetensors"]) == expected


def test_of_two_of_one_name_the_folder_tells_which_is_meant_on_any_machine():
    from diffusion_toolkit.nodes.settings import name_here

    assert name_here("b/twin.ckpt", ["a\\twin.ckpt", "b\\twin.ckpt"]) == "b\\twin.ckpt"
    assert name_here("c/twin.ckpt", ["a\\twin.ckpt", "b\\twin.ckpt"]) is None
