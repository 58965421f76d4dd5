"""Nodes that tell a test what went over a link of image vectors."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io


class ProbeVectors(io.ComfyNode):
    """The largest absolute difference between stored image vectors and the weighted average of encoded ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeVectors",
            category="DiffusionToolkit/stand-ins",
            is_output_node=True,
            inputs=[
                io.AnyType.Input("stored"),
                io.String.Input("weights"),
                *(io.ClipVisionOutput.Input(f"encoded_{n}", optional=True) for n in range(3)),
            ],
        )

    @classmethod
    def execute(cls, stored: Any, weights: str, **encoded: Any) -> io.NodeOutput:
        vectors = stored if hasattr(stored, "shape") else stored["image_embeds"]
        numbers = [float(word) for word in weights.split()]
        seen = [encoded[f"encoded_{n}"].image_embeds for n in range(len(numbers))]
        mean = sum(weight * one for weight, one in zip(numbers, seen)) / sum(numbers)
        return io.NodeOutput(
            ui={
                "difference": [float((vectors - mean).abs().max())],
                "largest": [max(float(one.abs().max()) for one in seen)],
                "shape": [list(vectors.shape)],
            }
        )


class ProbeHiddenStates(io.ComfyNode):
    """Reads what Wan, Redux and IPAdapter plus read of a CLIP_VISION_OUTPUT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeHiddenStates", category="DiffusionToolkit/stand-ins", is_output_node=True, inputs=[io.ClipVisionOutput.Input("vision")]
        )

    @classmethod
    def execute(cls, vision: Any) -> io.NodeOutput:
        return io.NodeOutput(ui={"shape": [list(vision.penultimate_hidden_states.shape)]})


VECTOR_PROBES = [ProbeVectors, ProbeHiddenStates]
