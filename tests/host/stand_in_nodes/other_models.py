"""Stand-ins in the place of the loaders of other models than SDXL's base: its refiner, SD 2.1 unCLIP, Flux and SD3."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from types import ModuleType

from comfy_api.v0_0_2 import io

_HOST = "diffusion_toolkit_tests_host"  # tests/host as a package, so that its files find each other
log = logging.getLogger("diffusion_toolkit.stand_ins")


def models(name: str = "other_stand_ins") -> ModuleType:
    if _HOST not in sys.modules:
        package = ModuleType(_HOST)
        package.__path__ = [str(Path(__file__).resolve().parent.parent)]
        sys.modules[_HOST] = package
    return importlib.import_module(f"{_HOST}.{name}")


def _schema(node_id: str, what: str, outputs: list[io.Output], more: list[io.Input] | None = None) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=f"STAND-IN {what} (random weights)",
        category="DiffusionToolkit/stand-ins",
        description=f"A small {what} with seeded random weights. For tests and the demo only: its results have the right shapes and mean nothing.",
        inputs=[
            io.Int.Input("seed", default=0, min=0, max=2**31, optional=True, tooltip="The same seed gives the same weights everywhere."),
            *(more or []),
        ],
        outputs=outputs,
    )


class StandInRefiner(io.ComfyNode):
    """In Load Checkpoint's place for SDXL's refiner."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInRefiner", "SDXL refiner", [io.Model.Output(), io.Clip.Output(), io.Vae.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN SDXL refiner: small, with random weights (seed %d)", seed)
        return io.NodeOutput(models().refiner_unet(seed), models().refiner_clip(seed), models("stand_in_models").small_vae(seed))


class StandInUnCLIP(io.ComfyNode):
    """In unCLIPCheckpointLoader's place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        outputs = [io.Model.Output(), io.Clip.Output(), io.Vae.Output(), io.ClipVision.Output()]
        return _schema("StandInUnCLIP", "SD 2.1 unCLIP-h checkpoint", outputs)

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN unCLIP checkpoint: a small SD 2.1 unCLIP-h with random weights (seed %d)", seed)
        return io.NodeOutput(*models().unclip_checkpoint(seed))


class StandInFlux(io.ComfyNode):
    """MODEL, CLIP and VAE of Flux in one, for tests."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInFlux", "Flux", [io.Model.Output(), io.Clip.Output(), io.Vae.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN Flux: small, with random weights (seed %d)", seed)
        return io.NodeOutput(models().flux_model(seed), models().flux_clip(seed), models().wide_vae(seed))


class StandInFluxModel(io.ComfyNode):
    """In Load Diffusion Model's place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInFluxModel", "Flux model", [io.Model.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN Flux model: small, with random weights (seed %d)", seed)
        return io.NodeOutput(models().flux_model(seed))


class StandInFluxCLIP(io.ComfyNode):
    """In DualCLIPLoader's place, of type flux."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInFluxCLIP", "Flux CLIP", [io.Clip.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN Flux CLIP: a small CLIP-L and T5 with random weights (seed %d)", seed)
        return io.NodeOutput(models().flux_clip(seed))


class StandInFluxVAE(io.ComfyNode):
    """In Load VAE's place, for Flux."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInFluxVAE", "Flux VAE", [io.Vae.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN Flux VAE: a small VAE of 16 channels with random weights (seed %d)", seed)
        return io.NodeOutput(models().wide_vae(seed))


class StandInSD3(io.ComfyNode):
    """MODEL, CLIP and VAE of SD3, with any of its three text encoders."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        more = [io.String.Input("encoders", default="l g t5", optional=True, tooltip="Which of l, g and t5 the CLIP has.")]
        return _schema("StandInSD3", "Stable Diffusion 3", [io.Model.Output(), io.Clip.Output(), io.Vae.Output()], more)

    @classmethod
    def execute(cls, seed: int = 0, encoders: str = "l g t5") -> io.NodeOutput:
        log.warning("STAND-IN SD3: small, with random weights (seed %d)", seed)
        has = encoders.split()
        clip = models().sd3_clip(seed, clip_l="l" in has, clip_g="g" in has, t5="t5" in has)
        return io.NodeOutput(models().sd3_model(seed), clip, models().wide_vae(seed))


OTHER_MODELS = [StandInRefiner, StandInUnCLIP, StandInFlux, StandInFluxModel, StandInFluxCLIP, StandInFluxVAE, StandInSD3]
