"""Nodes by which a test chooses what an SDXL CLIP computes in, and sees which models ComfyUI holds in memory."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io


class ProbeTypedCLIP(io.ComfyNode):
    """The stand-in CLIP with its weights in a floating-point type of one's choice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeTypedCLIP",
            category="DiffusionToolkit/stand-ins",
            inputs=[io.Int.Input("seed", default=0), io.Combo.Input("dtype", options=["float32", "float16", "bfloat16"])],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def execute(cls, seed: int, dtype: str) -> io.NodeOutput:
        import folder_paths

        from . import _models

        return io.NodeOutput(_models().small_clip(seed, embedding_directory=folder_paths.get_folder_paths("embeddings"), dtype=dtype))


class ProbeLoadedModels(io.ComfyNode):
    """The models that ComfyUI holds, and the most memory of a GPU that was taken, once `after` has come."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeLoadedModels",
            category="DiffusionToolkit/stand-ins",
            is_output_node=True,
            not_idempotent=True,
            inputs=[io.AnyType.Input("after")],
        )

    @classmethod
    def execute(cls, after: Any) -> io.NodeOutput:
        import comfy.model_management as host
        import psutil
        import torch

        taken = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        names = [type(loaded.model.model).__name__ for loaded in host.current_loaded_models if loaded.model is not None]
        return io.NodeOutput(ui={"models": names, "gpu_bytes": [taken], "rss": [psutil.Process().memory_info().rss]})


CLIP_PROBES = [ProbeTypedCLIP, ProbeLoadedModels]
