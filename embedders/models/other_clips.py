"""A connected CLIP of SDXL's refiner, Stable Diffusion 3 or Flux: which of SDXL's towers it has, whose they are, and what it makes of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..conditioning.mixing import CLIP_L, SECTION
from ..conditioning.other_models import FLUX, REFINER, SD3, Piece
from .clip_text import check_clip, filled_up, states_layers, tower_identity
from .fingerprint import combine

if TYPE_CHECKING:
    import numpy as np

_WANTED = {
    REFINER: "Use Load Checkpoint with sd_xl_refiner_1.0.safetensors, or the SDXL CLIP.",
    SD3: "Use Load CLIP (Triple), or Load CLIP (Dual) or Load CLIP of type sd3.",
    FLUX: "Use Load CLIP (Dual) of type flux, with clip_l and t5xxl.",
}


class OtherCLIP:
    """One of these CLIPs, for the model it belongs to.

    Raises:
        EmbedderError: it is another model's, or carries hooks.
    """

    def __init__(self, clip: Any, target: str) -> None:
        check_clip(clip, _kind(target), f"that of {target}", _WANTED[target])
        self._clip, self._target = clip, target
        self.towers = tuple(tower for tower in ("clip_l", "clip_g") if getattr(clip.cond_stage_model, tower, None) is not None)
        self.has_t5 = getattr(clip.cond_stage_model, "t5xxl", None) is not None

    def fingerprint(self, tower: str) -> str:
        """As `SDXLTextEncoder` has it: equal where the weights, LoRAs and tokenizer of this tower are those of an SDXL CLIP."""
        return combine(tower, tower_identity(self._clip, tower))

    @property
    def halves(self) -> dict[str, Any]:
        """The entries of `SDXLTextEncoder.halves` that this CLIP decides."""
        return {**{tower: self.fingerprint(tower) for tower in self.towers}, **states_layers(self._clip, self.towers)}

    def encode(self, text_g: str, text_l: str) -> Piece:
        """What its towers make of a text, with zeros for a tower that it lacks, as ComfyUI has them."""
        import numpy as np

        tokens = self._tokens(text_g, text_l)
        states, pooled = self._run(tokens)  # [T, width], [n]
        if self._target == FLUX:
            return Piece(None, pooled, None)
        length = max(len(tokens[side]) for side in ("l", "g") if side in tokens) * SECTION
        if self._target == REFINER:
            return Piece(np.pad(states[:length], ((0, 0), (CLIP_L, 0))), None, pooled)
        return Piece(states[:length, :2048], pooled[:CLIP_L], pooled[CLIP_L:])

    def t5(self, text: str) -> np.ndarray:
        """T5's states of a text, [tokens, 4096] float32."""
        of_t5 = self._clip.tokenize(text)["t5xxl"]
        if self._target == FLUX:  # whose CLIP-L always runs
            return self._run({"l": self._clip.tokenize("")["l"], "t5xxl": of_t5})[0]
        return self._run({"l": [], "g": [], "t5xxl": of_t5})[0]

    def _tokens(self, text_g: str, text_l: str) -> dict[str, list[Any]]:
        """The shorter of two different texts is filled up with empty sections, as the nodes that take two texts do."""
        tokens = self._clip.tokenize(text_l if self._target == FLUX else text_g)
        if self._target == SD3:
            tokens["l"] = self._clip.tokenize(text_l)["l"]
            tokens = filled_up(tokens, self._clip.tokenize)
        if self._target == REFINER:
            tokens.pop("l", None)  # the refiner's tokenizer is SDXL's, its model has no CLIP-L
        if "t5xxl" in tokens:
            tokens["t5xxl"] = []
        return tokens

    def _run(self, tokens: dict[str, list[Any]]) -> tuple[np.ndarray, np.ndarray]:
        import torch

        with torch.inference_mode():
            states, pooled = self._clip.encode_from_tokens(tokens, return_pooled=True)
        return states[0].float().cpu().numpy(), pooled[0].float().cpu().numpy()


def _kind(target: str) -> Any:
    if target == REFINER:
        import comfy.sdxl_clip

        return comfy.sdxl_clip.SDXLRefinerClipModel
    if target == SD3:
        import comfy.text_encoders.sd3_clip

        return comfy.text_encoders.sd3_clip.SD3ClipModel
    import comfy.text_encoders.flux

    return comfy.text_encoders.flux.FluxClipModel


def is_sdxl(clip: Any) -> bool:
    """Whether it is SDXL's own pair, which serves the refiner too: its CLIP-G is the refiner's."""
    import comfy.sdxl_clip

    return isinstance(getattr(clip, "cond_stage_model", None), comfy.sdxl_clip.SDXLClipModel)
