"""A ComfyUI node pack of the demo and the tests: SDXL's models as small seeded stand-ins, each in a loader's place.

Each node has the outputs, in the order, of the ComfyUI loader that it replaces, so that exchanging a node's `class_type` in an
API prompt is enough (`host.stand_in` does it).

What was made last is kept, by seed: ComfyUI forgets a node's outputs with the first prompt that lacks the node, and a text
encoder's weights alone take longer to draw than most prompts of the tests to run.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from comfy_api.v0_0_2 import ComfyExtension, io

from .other_models import OTHER_MODELS
from .probes import PROBES
from .prompt_handler import changes_prompts
from .vector_probes import VECTOR_PROBES

CATEGORY = "DiffusionToolkit/stand-ins"
_SOURCE = Path(__file__).resolve().parent.parent / "stand_in_models.py"  # resolved: this folder is linked into custom_nodes
log = logging.getLogger("diffusion_toolkit.stand_ins")


@lru_cache(maxsize=1)
def _models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diffusion_toolkit_stand_in_models", _SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=8)  # each kind for two seeds
def _made(kind: str, seed: int) -> Any:
    more = {"embedding_directory": _embeddings()} if kind == "small_clip" else {}
    return getattr(_models(), kind)(seed, **more)


def _embeddings() -> list[str]:
    """Textual inversions work as with a real CLIP."""
    import folder_paths

    return folder_paths.get_folder_paths("embeddings")


def _seed() -> io.Input:
    return io.Int.Input(
        "seed", default=0, min=0, max=2**31, optional=True, control_after_generate=False,  # the page would draw another model for each run
        tooltip="The same seed gives the same weights everywhere.",
    )


def _schema(node_id: str, what: str, replaces: str, outputs: list[io.Output]) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=f"STAND-IN {what} (random weights)",
        category=CATEGORY,
        description=f"A small model with seeded random weights in the place of {replaces}. For tests and the demo only: "
        "its results have the right shapes and mean nothing.",
        inputs=[_seed()],
        outputs=outputs,
    )


class StandInCheckpoint(io.ComfyNode):
    """MODEL, CLIP and VAE, as CheckpointLoaderSimple gives them for SDXL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        outputs = [io.Model.Output(), io.Clip.Output(), io.Vae.Output()]
        return _schema("StandInCheckpoint", "Checkpoint", "Load Checkpoint with SDXL", outputs)

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN checkpoint: a small SDXL with random weights (seed %d)", seed)
        return io.NodeOutput(_made("small_unet", seed), _made("small_clip", seed), _made("small_vae", seed))


class StandInCLIP(io.ComfyNode):
    """CLIP, as DualCLIPLoader of type sdxl gives it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInCLIP", "CLIP", "DualCLIPLoader of type sdxl", [io.Clip.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN CLIP: a small SDXL dual CLIP with random weights (seed %d)", seed)
        return io.NodeOutput(_made("small_clip", seed))


class StandInCLIPVision(io.ComfyNode):
    """CLIP_VISION with the input and output sizes of ViT-H/14."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInCLIPVision", "CLIP Vision", "Load CLIP Vision with ViT-H/14", [io.ClipVision.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN CLIP Vision: a small ViT with random weights (seed %d)", seed)
        return io.NodeOutput(_made("small_clip_vision", seed))


class StandInVAE(io.ComfyNode):
    """VAE with SDXL's latent channels and factor."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema("StandInVAE", "VAE", "Load VAE", [io.Vae.Output()])

    @classmethod
    def execute(cls, seed: int = 0) -> io.NodeOutput:
        log.warning("STAND-IN VAE: a small VAE with random weights (seed %d)", seed)
        return io.NodeOutput(_made("small_vae", seed))


class StandIns(ComfyExtension):
    """What ComfyUI asks of a node package."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [StandInCheckpoint, StandInCLIP, StandInCLIPVision, StandInVAE, *OTHER_MODELS, *VECTOR_PROBES, *PROBES]


async def comfy_entrypoint() -> StandIns:
    from server import PromptServer

    PromptServer.instance.add_on_prompt_handler(changes_prompts)
    gc.freeze()  # ComfyUI collects garbage between prompts: half a second each time over what its imports made, which stays anyway
    return StandIns()
