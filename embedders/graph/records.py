"""What is found in a graph, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Text = tuple[str, str]
"""(text_g, text_l); the same twice unless the encoder is SDXL's dual one."""

Confidence = Literal["exact", "inferred", "unknown"]
"""`exact`: the file states it. `inferred`: read by a rule that may be wrong here. `unknown`: made when the graph ran, and not kept."""


@dataclass(frozen=True)
class Origin:
    """How sure an answer is, and where it came from, in words for a person."""

    confidence: Confidence = "unknown"
    where: str = ""


@dataclass(kw_only=True)
class Settings:
    """What sampling was set to; None, or an empty list, where the file says nothing. Names as the file has them."""

    seed: int | None = None  # 0 .. 2^64-1
    steps: int | None = None
    cfg: float | None = None  # classifier-free guidance
    guidance: float | None = None  # distilled guidance, as Flux takes it
    sampler: str | None = None
    scheduler: str | None = None
    denoise: float | None = None  # 0..1; 1 starts from noise alone
    checkpoint: str | None = None  # or the diffusion model
    vae: str | None = None  # only where another one than the checkpoint's was loaded
    text_encoders: list[str] = field(default_factory=list)  # likewise
    loras: list[dict[str, Any]] = field(default_factory=list)  # {"name", "strength_model", "strength_clip"}
    controlnets: list[dict[str, Any]] = field(default_factory=list)  # {"name", "strength"}
    width: int | None = None  # that was asked for, in pixels; a file may have been scaled or cropped since
    height: int | None = None


@dataclass(kw_only=True)
class Pass(Settings):
    """One sampler of the image and what reached it."""

    node: str = ""  # its id in the graph
    kind: str = ""  # its class
    positive: list[Text] = field(default_factory=list)
    negative: list[Text] = field(default_factory=list)


@dataclass(kw_only=True)
class Trace(Settings):
    """What made the image: its distinct texts in the order of the passes, the settings of the pass that began it."""

    positive: list[Text] = field(default_factory=list)
    negative: list[Text] = field(default_factory=list)
    positive_origin: Origin = Origin()
    negative_origin: Origin = Origin()
    settings_origin: Origin = Origin()
    passes: list[Pass] = field(default_factory=list)  # first to last; the last one's picture was saved
    loads_no_lora: bool = False  # for certain, whatever a text beside the graph tags
