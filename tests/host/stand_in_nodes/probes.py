"""Nodes that tell a test, through `/history`, what really went over a link."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from .clip_probes import CLIP_PROBES


def _tensor_difference(a: Any, b: Any) -> dict[str, float]:
    """`beyond`: by how much a value of `b` is farther from that of `a` than float16 rounds one of its size."""
    difference = (a - b).abs()
    beyond = (difference - a.abs() * 2**-11).max().clamp(min=0)
    return {"difference": float(difference.max()), "largest": float(a.abs().max()), "beyond": float(beyond)}


class ProbeConditioning(io.ComfyNode):
    """The largest absolute differences between two CONDITIONINGs, and the largest values of the first."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeConditioning",
            category="DiffusionToolkit/stand-ins",
            is_output_node=True,
            inputs=[io.Conditioning.Input("a"), io.Conditioning.Input("b")],
        )

    @classmethod
    def execute(cls, a: list, b: list) -> io.NodeOutput:
        [[states_a, extra_a]], [[states_b, extra_b]] = a, b
        return io.NodeOutput(
            ui={
                "states": [_tensor_difference(states_a, states_b)],
                "clip_l": [_tensor_difference(states_a[..., :768], states_b[..., :768])],
                "clip_g": [_tensor_difference(states_a[..., 768:], states_b[..., 768:])],
                "pooled": [_tensor_difference(extra_a["pooled_output"], extra_b["pooled_output"])],
                "shape": [list(states_a.shape)],
                "numbers": [{name: value for name, value in extra.items() if isinstance(value, int)} for extra in (extra_a, extra_b)],
            }
        )


class ProbeWithPooledOf(io.ComfyNode):
    """One CONDITIONING's token states with another's pooled output."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeWithPooledOf",
            category="DiffusionToolkit/stand-ins",
            inputs=[io.Conditioning.Input("states"), io.Conditioning.Input("pooled")],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, states: list, pooled: list) -> io.NodeOutput:
        return io.NodeOutput([[states[0][0], {**states[0][1], "pooled_output": pooled[0][1]["pooled_output"]}]])


class ProbeLatent(io.ComfyNode):
    """The largest absolute difference between two LATENTs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeLatent",
            category="DiffusionToolkit/stand-ins",
            is_output_node=True,
            inputs=[io.Latent.Input("a"), io.Latent.Input("b")],
        )

    @classmethod
    def execute(cls, a: dict, b: dict) -> io.NodeOutput:
        return io.NodeOutput(ui={"latent": [_tensor_difference(a["samples"], b["samples"])]})


class ProbeValues(io.ComfyNode):
    """Everything that arrives over one link, as a list: values as they are, tensors as their shapes and means."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeValues",
            category="DiffusionToolkit/stand-ins",
            is_output_node=True,
            is_input_list=True,
            inputs=[io.AnyType.Input("values")],
        )

    @classmethod
    def execute(cls, values: list) -> io.NodeOutput:
        plain = [
            {"shape": list(value.shape), "mean": float(value.float().mean())} if hasattr(value, "shape") else value
            for value in values
        ]
        return io.NodeOutput(ui={"values": plain})


class ProbeLoadByName(io.ComfyNode):
    """A custom node that is given a file's name over a link; it fails when it is run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeLoadByName",
            category="DiffusionToolkit/stand-ins",
            inputs=[io.String.Input("name"), io.Image.Input("frame", optional=True)],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, name: str, frame: Any = None) -> io.NodeOutput:
        raise RuntimeError(f"nobody should load {name}")


PROBES = [ProbeConditioning, ProbeWithPooledOf, ProbeLatent, ProbeValues, ProbeLoadByName, *CLIP_PROBES]
