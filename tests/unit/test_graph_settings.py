"""Settings are those of the sampler that made the image, read where they stand or where links lead."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Trace, trace
from host.sampled_graphs import Graph, basic, node


def custom(**nodes: dict[str, Any]) -> Graph:
    """A graph of guider, noise, solver and sigmas, each a node of its own."""
    return basic(
        **{
            "noise": node("RandomNoise", noise_seed=7),
            "guider": node("CFGGuider", cfg=4.5, model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0]),
            "select": node("KSamplerSelect", sampler_name="heun"),
            "sigmas": node("BasicScheduler", scheduler="simple", steps=12, denoise=0.5, model=["ckpt", 0]),
            "sampler": node(
                "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["select", 0],
                sigmas=["sigmas", 0], latent_image=["latent", 0],
            ),
            **nodes,
        }
    )  # fmt: skip


def changed(node_id: str, **inputs: Any) -> Graph:
    graph = basic()
    graph[node_id]["inputs"].update(inputs)
    return graph


def settings(found: Trace) -> tuple[Any, ...]:
    return found.seed, found.steps, found.cfg, found.sampler, found.scheduler, found.denoise


def test_all_settings_of_one_sampler() -> None:
    found = trace(basic())
    assert settings(found) == (5, 20, 7.5, "euler", "karras", 1.0)
    assert (found.width, found.height, found.guidance, found.vae) == (64, 64, None, None)
    assert (found.text_encoders, found.loras, found.controlnets) == ([], [], [])
    assert (found.settings_origin.confidence, found.settings_origin.where.split(";")[0]) == (
        "exact",
        "node sampler (KSampler)",
    )


@pytest.mark.parametrize(("switch", "steps"), [(True, 4), (False, 40)])
def test_number_behind_a_switch_in_which_the_other_is_written(switch: bool, steps: int) -> None:
    graph = changed("sampler", steps=["way", 0])
    graph |= {"way": node("Switch", switch=switch, on_false=40, on_true=["few", 0]), "few": node("PrimitiveInt", value=4)}
    assert trace(graph, types={"Switch": ["*"]}).steps == steps


def test_setting_of_a_chosen_option_is_told_by_the_end_of_its_name() -> None:
    service = node("ImageApi", **{"model": "v4", "model.prompt": "a red fox", "model.seed": 9, "model.steps": 30})
    found = trace({"api": service, "save": node("SaveImage", filename_prefix="x", images=["api", 0])})
    assert (found.seed, found.steps) == (9, 30)


def test_model_of_a_loader_that_calls_its_file_otherwise() -> None:
    def loaded(**inputs: Any) -> Trace:
        graph = changed("sampler", model=["loader", 0]) | {"loader": node("LoaderGGUF", **inputs)}
        return trace(graph, types={"LoaderGGUF": ["MODEL"]})

    assert loaded(gguf_name="edit-Q4.gguf").checkpoint == "edit-Q4.gguf"
    assert (loaded(clip_name="t5.gguf").checkpoint, loaded(gguf_name="edit").checkpoint) == (None, None)


def test_file_of_a_lora_loader_is_no_model() -> None:
    graph = changed("sampler", model=["loader", 0])
    graph |= {"loader": node("Video", lora=["select", 0]), "select": node("Select", file="few_steps.safetensors")}
    assert trace(graph, types={"Video": ["MODEL"], "Select": ["WANVIDLORA"]}).checkpoint is None


def test_settings_of_nodes_of_their_own() -> None:
    assert settings(trace(custom())) == (7, 12, 4.5, "heun", "simple", 0.5)


def test_settings_behind_split_sigmas() -> None:
    graph = custom(split=node("SplitSigmas", sigmas=["sigmas", 0], step=3))
    graph["sampler"]["inputs"]["sigmas"] = ["split", 1]
    assert trace(graph).steps == 12


def test_solver_and_schedule_of_their_own_classes_are_called_after_them_and_inferred() -> None:
    found = trace(
        custom(select=node("SamplerDPMPP_2M_SDE", eta=1.0), sigmas=node("PolyexponentialScheduler", steps=9, rho=1.0))
    )
    assert (found.sampler, found.scheduler, found.steps) == ("dpmpp_2m_sde", "polyexponential", 9)
    assert found.settings_origin.confidence == "inferred"


def test_sigmas_that_are_written_out_tell_the_steps() -> None:
    assert trace(custom(sigmas=node("ManualSigmas", sigmas="1.0, 0.75, 0.5, .25, 0"))).steps == 4


def test_distilled_guidance_is_not_cfg() -> None:
    graph = custom(
        guider=node("BasicGuider", model=["ckpt", 0], conditioning=["flux", 0]),
        flux=node("FluxGuidance", guidance=3.5, conditioning=["pos", 0]),
    )
    assert (trace(graph).cfg, trace(graph).guidance) == (None, 3.5)


@pytest.mark.parametrize("seed", [0, 1, 2**53 + 1, 2**64 - 1])
@pytest.mark.parametrize("source", ["PrimitiveInt", "Seed (any pack)"])
def test_seed_behind_a_link_is_exact_to_the_last_bit(source: str, seed: int) -> None:
    graph = changed("sampler", seed=["number", 0])
    graph["number"] = node(source, **{"value" if source == "PrimitiveInt" else "seed": seed})
    assert trace(graph).seed == seed


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", None, True, float("nan"), [], {}])
def test_what_can_be_no_seed_is_none(seed: Any) -> None:
    assert trace(changed("sampler", seed=seed)).seed is None


def test_node_of_many_outputs_gives_the_setting_of_the_same_name() -> None:
    graph = changed("sampler", steps=["all", 1], cfg=["all", 2], sampler_name=["all", 3], scheduler=["all", 4])
    graph["all"] = node("Parameters", seed=3, steps=33, cfg=3.25, sampler_name="lcm", scheduler="beta", denoise=1.0)
    assert settings(trace(graph)) == (5, 33, 3.25, "lcm", "beta", 1.0)


def test_number_that_a_node_works_out_is_not_guessed() -> None:
    graph = changed("latent", width=["ratio", 0], height=["ratio", 1])
    for ratio in (node("Resolution", aspect="16:9", megapixels=64), node("Multiply", a=64, b=32)):
        graph["ratio"] = ratio
        assert (trace(graph).width, trace(graph).height) == (None, None)


def test_denoise_of_an_advanced_sampler_is_the_part_of_the_steps() -> None:
    graph = changed("sampler", start_at_step=15)
    del graph["sampler"]["inputs"]["denoise"]
    assert trace(graph).denoise == 0.25


def test_size_of_a_scaled_latent_is_the_scaled_one() -> None:
    graph = changed("sampler", latent_image=["by", 0])
    graph["by"] = node("LatentUpscaleBy", scale_by=1.5, samples=["latent", 0])
    assert (trace(graph).width, trace(graph).height) == (96, 96)


def test_size_of_a_picture_that_a_model_enlarged_is_unknown() -> None:
    graph = changed("sampler", latent_image=["encode", 0])
    graph["encode"] = node("VAEEncode", pixels=["up", 0], vae=["ckpt", 2])
    graph["up"] = node("ImageUpscaleWithModel", image=["first", 0], upscale_model=["m", 0])
    graph["first"] = node("Picture", width=64, height=64)
    graph["m"] = node("UpscaleModelLoader", model_name="4x.pth")
    found = trace(graph)
    assert (found.width, found.height, found.checkpoint) == (None, None, "sd_xl.safetensors")


def test_sizes_of_an_sdxl_encoder_are_not_the_images() -> None:
    pos = node("CLIPTextEncodeSDXL", width=4096, height=4096, text_g="a", text_l="a", clip=["ckpt", 1])
    assert trace(basic(pos=pos)).width == 64


def test_size_in_words_is_read() -> None:
    assert trace(basic(latent=node("SizedLatent", resolution="832x1216 (2:3)", batch_size=1))).height == 1216


PRESET = {"width": 1024, "height": 1024, "aspect_ratio": "9:16 portrait 768x1344", "swap_dimensions": "Off", "batch_size": 1}


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (768, 1344)),
        ({"swap_dimensions": "On"}, (1344, 768)),
        ({"aspect_ratio": "custom", "height": 512}, (1024, 512)),
        ({"aspect_ratio": "custom", "height": 512, "swap_dimensions": "On"}, (512, 1024)),
    ],
)
def test_a_size_that_is_chosen_in_words_wins_over_the_numbers_beside_it(changes: dict[str, Any], size: tuple[int, int]) -> None:
    chooser = node("Aspect Ratio", **(PRESET | changes))
    for first in (0, 3):
        latent = node("EmptyLatentImage", width=["ratio", first], height=["ratio", first + 1], batch_size=1)
        found = trace(basic(latent=latent, ratio=chooser))
        assert (found.width, found.height) == size
    found = trace(basic(latent=chooser))
    assert (found.width, found.height) == size


def test_outputs_of_a_chosen_size_that_are_taken_the_other_way_round_turn_it() -> None:
    latent = node("EmptyLatentImage", width=["ratio", 1], height=["ratio", 0])
    found = trace(basic(latent=latent, ratio=node("Aspect Ratio", **PRESET)))
    assert (found.width, found.height) == (1344, 768)


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({"width": 512, "height": 768, "invert": True, "text": "a"}, (512, 768)),
        ({"width": 512, "height": 768, "flip_sides": True}, (768, 512)),
        ({"width": 512, "height": 768, "invert_orientation": True}, (768, 512)),
        ({"dimensions": "512 x 768", "invert": True}, (768, 512)),
        ({"resolution": "512 x 768", "invert": True}, (512, 768)),
        ({"width": 512, "height": 768, "tile_preset": "tiles 64x64", "duration": "640x480"}, (512, 768)),
        ({"width": 512, "height": 768, "aspect_ratio": "21x10"}, (512, 768)),
    ],
)
def test_size_is_turned_or_chosen_only_by_what_says_so(inputs: dict[str, Any], size: tuple[int, int]) -> None:
    found = trace(basic(latent=node("Sized", **inputs)))
    assert (found.width, found.height) == size


@pytest.mark.parametrize("slots", [(3, 3), (3, None)])
def test_one_output_of_a_chosen_size_is_neither_side_for_certain(slots: tuple[int, int | None]) -> None:
    sides = [["ratio", slot] if slot is not None else 512 for slot in slots]
    latent = node("EmptyLatentImage", width=sides[0], height=sides[1], batch_size=1)
    found = trace(basic(latent=latent, ratio=node("Aspect Ratio", **PRESET)))
    assert (found.width, found.height) == (None, None)


def test_diffusion_model_text_encoders_and_vae_of_their_own() -> None:
    graph = basic(
        unet=node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default"),
        clips=node("DualCLIPLoader", clip_name1="clip_l.safetensors", clip_name2="t5.safetensors", type="flux"),
        vae=node("VAELoader", vae_name="ae.safetensors"),
        pos=node("CLIPTextEncode", text="a red fox", clip=["clips", 0]),
    )
    graph["sampler"]["inputs"]["model"] = ["unet", 0]
    graph["decode"]["inputs"]["vae"] = ["vae", 0]
    found = trace(graph)
    assert (found.checkpoint, found.vae) == ("flux.safetensors", "ae.safetensors")
    assert found.text_encoders == ["clip_l.safetensors", "t5.safetensors"]


def test_vae_of_the_checkpoint_is_not_named() -> None:
    graph = basic(
        other=node("VAELoader", vae_name="ae.safetensors"), encode=node("VAEEncode", vae=["other", 0], pixels=["x", 0])
    )
    assert trace(graph).vae is None


def test_controlnets_of_the_positive_side_with_their_strengths() -> None:
    graph = basic(
        one=node("ControlNetApply", conditioning=["pos", 0], control_net=["canny", 0], strength=0.5),
        two=node(
            "ControlNetApplyAdvanced", positive=["one", 0], negative=["neg", 0], control_net=["typed", 0], strength=0.75
        ),
        off=node("ControlNetApply", conditioning=["two", 0], control_net=["canny", 0], strength=0.0),
        canny=node("ControlNetLoader", control_net_name="canny.safetensors"),
        typed=node("SetUnionControlNetType", control_net=["depth", 0], type="depth"),
        depth=node("ControlNetLoader", control_net_name="depth.pth"),
    )
    graph["sampler"]["inputs"].update(positive=["off", 0], negative=["two", 1])
    assert trace(graph).controlnets == [
        {"name": "canny.safetensors", "strength": 0.5},
        {"name": "depth.pth", "strength": 0.75},
    ]


def test_settings_of_a_bundle_are_those_of_the_nearest_node() -> None:
    graph = {
        "loader": node(
            "FullLoader",
            ckpt_name="a.safetensors",
            vae_name="b.vae.pt",
            positive="a fox",
            negative="",
            seed=1,
            empty_latent_width=512,
            empty_latent_height=768,
        ),
        "run": node(
            "PipeKSampler",
            pipe=["loader", 0],
            seed=9,
            steps=3,
            cfg=2.0,
            sampler_name="lcm",
            scheduler="beta",
            denoise=1.0,
        ),
        "save": node("SaveImage", filename_prefix="x", images=["run", 1]),
    }
    found = trace(graph)
    assert settings(found) == (9, 3, 2.0, "lcm", "beta", 1.0)
    assert (found.checkpoint, found.vae, found.width, found.height) == ("a.safetensors", "b.vae.pt", 512, 768)


def test_checkpoint_is_the_model_of_the_positive_side() -> None:
    graph = custom(
        other=node("UNETLoader", unet_name="unconditional.safetensors"),
        guider=node("DualModelGuider", model_negative=["other", 0], model=["ckpt", 0], cfg=3.0, positive=["pos", 0]),
    )
    types = {"UNETLoader": ["MODEL"], "CheckpointLoaderSimple": ["MODEL", "CLIP", "VAE"]}
    assert trace(graph, types=types).checkpoint == "sd_xl.safetensors"


def test_a_node_that_is_given_a_name_does_not_name_the_sampler_by_its_class() -> None:
    graph = basic(select=node("KSamplerSelect", sampler_name=["anyone", 0]), anyone=node("Anyone", image="x.png"))
    graph["sampler"] = node(
        "SamplerCustomAdvanced", noise_seed=1, sampler=["select", 0], sigmas=["s", 0], guider=["g", 0], latent_image=["latent", 0]
    )
    graph["s"] = node("BasicScheduler", scheduler=["anyone", 0], steps=4, model=["ckpt", 0])
    graph["g"] = node("BasicGuider", model=["ckpt", 0], conditioning=["pos", 0])
    made = trace(graph)
    assert (made.sampler, made.scheduler, made.steps) == (None, None, 4)


def test_settings_go_through_contexts() -> None:
    inner = node("Context Big", model=["ckpt", 0], seed=["seed", 0], steps=["config", 0], cfg=["config", 2], sampler=["config", 3], scheduler=["config", 4])
    graph = changed("sampler", model=["outer", 1], seed=["outer", 8], steps=["outer", 9], cfg=["outer", 11], sampler_name=["outer", 13])
    graph["sampler"]["inputs"]["scheduler"] = ["outer", 14]
    config = node("KSampler Config", steps_total=30, refiner_step=24, cfg=4.5, sampler_name="heun", scheduler="simple")
    graph |= {"outer": node("Context", base_ctx=["inner", 0]), "inner": inner, "seed": node("Seed", seed=77), "config": config}
    found = trace(graph)
    assert settings(found) == (77, 30, 4.5, "heun", "simple", 1.0)
    assert found.settings_origin.confidence == "exact"


@pytest.mark.parametrize("inputs", [{"total": 40, "refiner_steps": 8}, {"base_steps": 20, "refiner_steps": 5}, {"randomize": True, "steps_value": 20}])
def test_setting_that_a_longer_name_may_not_mean_is_not_taken(inputs: dict[str, Any]) -> None:
    assert trace(changed("sampler", steps=["config", 1]) | {"config": node("Config", **inputs)}).steps is None


@pytest.mark.parametrize("inputs", [{"value": 123, "seed_mode": "fixed"}, {"value": 123, "last_seed": 99}])
def test_value_of_a_primitive_wins_over_a_longer_name(inputs: dict[str, Any]) -> None:
    assert trace(changed("sampler", seed=["config", 0]) | {"config": node("Config", **inputs)}).seed == 123


def test_word_of_a_longer_name_is_not_the_setting() -> None:
    assert trace(changed("sampler", cfg=["config", 0]) | {"config": node("Config", value=3.5, cfg_mode="x")}).cfg == 3.5


def test_file_of_a_node_that_changes_a_model_is_not_the_model() -> None:
    graph = changed("sampler", model=["motion", 0]) | {"motion": node("AnimateDiffLoader", model=["ckpt", 0], model_name="mm.ckpt")}
    assert trace(graph).checkpoint == "sd_xl.safetensors"
    graph["motion"]["inputs"]["model"] = ["nothing", 0]
    assert trace(graph).checkpoint == "mm.ckpt"
