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
        (None, None, (None, None)),
    ],
)
def test_labels_of_other_generators_become_comfyuis_names(label, scheduler, expected):
    import comfy.samplers
    from diffusion_toolkit.nodes.settings import sampler_and_scheduler

    host = comfy.samplers.KSampler
    assert sampler_and_scheduler(label, scheduler, host.SAMPLERS, host.SCHEDULERS) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sdxl/base.safetensors", "sdxl/base.safetensors"),
        ("base", "sdxl/base.safetensors"),
        ("other\\base.safetensors", "sdxl/base.safetensors"),
        ("twin", "twin"),
        ("elsewhere.ckpt", "elsewhere.ckpt"),
        (None, "a/twin.ckpt"),
    ],
)
def test_a_checkpoint_is_found_under_the_name_it_has_here(name, expected):
    from diffusion_toolkit.nodes.settings import checkpoint_here

    assert checkpoint_here(name, ["a/twin.ckpt", "b/twin.ckpt", "sdxl/base.safetensors"]) == expected
