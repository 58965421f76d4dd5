"""CLIP-L and CLIP-G vectors and SDXL's token states from a connected CLIP, many texts in one forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..errors import EmbedderError
from .clip_towers import ClipWorker, Tokens
from .devices import Crew, load
from .fingerprint import combine, patched_weights_digest, tokenizer_digest
from .sharing import share_out

if TYPE_CHECKING:
    import numpy as np
    import torch

_TOKENIZING = "comfy SDXLTokenizer, 1"
_TEXTS = 64  # texts whose token states are in memory as raw rows at once, 0.6 MB a section
_WORTH_TWINS = 5000  # texts in a run, before the model is loaded onto other devices too
_WANTED = "Use Load Checkpoint with an SDXL checkpoint, or Load CLIP (Dual) with clip_l and clip_g and type sdxl."
# Not part of SDXL: checkpoints carry no CLIP-L projection, so ComfyUI leaves uninitialised memory there.
_UNUSED = ("clip_l.transformer.text_projection.weight",)


@dataclass(frozen=True)
class SDXLText:
    """What SDXL's text encoders make of texts, in the order given."""

    clip_l: np.ndarray  # [n, 768] float32: final norm at the first end token, unprojected
    clip_g: np.ndarray  # [n, 1280] float32: the same, projected; SDXL's pooled_output
    states: list[np.ndarray]  # n of [77 * sections, 2048] float32; none where only vectors were wanted


class SDXLTextEncoder:
    """Makes what CLIPTextEncode makes, with the connected CLIP's LoRAs, CLIP layer and tokenizer options.

    Raises:
        EmbedderError: the connected CLIP is not SDXL's pair, or carries hooks.
    """

    def __init__(self, clip: Any, managed: bool = True) -> None:
        """`managed` False: the model stays where it is, on the CPU, and the host is not told of it (see `nodes.routes.query_models`)."""
        import comfy.sdxl_clip

        check_clip(clip, comfy.sdxl_clip.SDXLClipModel, "SDXL's pair of clip_l and clip_g", _WANTED)
        self._clip = clip
        self._managed = managed
        self._crew = Crew(ClipWorker(clip, managed, set_options), _twin_of(clip) if managed else None, "The CLIP", _WORTH_TWINS)
        self.name = _name(clip)

    @property
    def clip_l_fingerprint(self) -> str:
        """Of the clip_l vectors; another CLIP layer or CLIP-G leaves it as it is."""
        return combine("clip_l", tower_identity(self._clip, "clip_l"))

    @property
    def clip_g_fingerprint(self) -> str:
        """Of the clip_g vectors; another CLIP layer or CLIP-L leaves it as it is."""
        return combine("clip_g", tower_identity(self._clip, "clip_g"))

    @property
    def fingerprint(self) -> str:
        """Of the token states: both towers and the layer that they are taken from."""
        towers = [tower_identity(self._clip, tower) for tower in ("clip_l", "clip_g")]
        return combine("token_states", *towers, list(states_layers(self._clip, ("clip_l", "clip_g")).values()))

    @property
    def halves(self) -> dict[str, Any]:
        """What the token states' two halves are of, by which a CLIP that has only one of the towers (SDXL's refiner) finds its own."""
        return {"clip_l": self.clip_l_fingerprint, "clip_g": self.clip_g_fingerprint, **states_layers(self._clip, ("clip_l", "clip_g"))}

    @property
    def batch_size(self) -> int:
        """How many texts are worth handing over at once."""
        return sum(worker.batch.most for worker in self._crew.workers)

    def tokenized(self, pairs: Sequence[tuple[str, str] | Tokens]) -> list[Tokens]:
        """What `encode` takes in place of pairs, so that a thread may make it ahead."""
        return [pair if isinstance(pair, dict) else self._tokenize(*pair) for pair in pairs]

    def encode(self, pairs: Sequence[tuple[str, str] | Tokens], states: bool = True) -> SDXLText:
        """Encode (text_g, text_l) pairs; an equal pair gives CLIPTextEncode's result, another CLIPTextEncodeSDXL's.

        Without `states` only the vectors are made: of the first section alone, and on an accelerator at half precision where that
        gives the same (see `half.HalfPrecision`). On several devices where there are several and much to do.
        """
        import numpy as np
        import torch

        if not len(pairs):
            return SDXLText(np.empty((0, 768), np.float32), np.empty((0, 1280), np.float32), [])
        workers = self._crew.for_more(len(pairs))
        most = _TEXTS if states else max(_TEXTS, workers[0].batch.most)
        size = max(1, min(most, -(-len(pairs) // len(workers))))
        chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        with torch.inference_mode(), ThreadPoolExecutor(1) as ahead:  # the next chunk's tokens, while a device works on this one's
            if self._managed:
                load([worker.patcher for worker in workers], min(size, workers[0].batch.most) * workers[0].section_bytes)
            tokens = [ahead.submit(self.tokenized, chunk) for chunk in chunks]
            try:
                if states:
                    rows = [row for made in share_out(tokens, [_with_states(worker) for worker in workers]) for row in made]
                    clip_l, clip_g, all_states = zip(*rows)
                    return SDXLText(np.concatenate(clip_l), np.concatenate(clip_g), list(all_states))
                made = share_out(tokens, [_vectors(worker) for worker in workers])
            finally:
                for one in tokens:
                    one.cancel()
        return SDXLText(np.concatenate([clip_l for clip_l, _ in made]), np.concatenate([clip_g for _, clip_g in made]), [])

    def _tokenize(self, text_g: str, text_l: str) -> dict[str, list[Any]]:
        """As comfy_extras/nodes_clip_sdxl.py: the shorter of two different texts is filled up with empty sections."""
        tokens = self._clip.tokenize(text_g)
        if text_l != text_g:
            tokens["l"] = self._clip.tokenize(text_l)["l"]
        return filled_up(tokens, self._clip.tokenize)


def check_clip(clip: Any, kind: type, whose: str, wanted: str) -> None:
    """EmbedderError where a connected CLIP has no model, one of another kind, or hooks; `wanted` is what to use instead."""
    model = getattr(clip, "cond_stage_model", None)
    if clip is None or model is None:
        raise EmbedderError(f"The clip input holds no model: the checkpoint has no text encoder in it. {wanted}")
    if not isinstance(model, kind):
        parts = ", ".join(name for name, _ in model.named_children())
        raise EmbedderError(f"The connected CLIP ({type(model).__name__}: {parts}) is not {whose}. {wanted}")
    if clip.patcher.forced_hooks is not None or clip.apply_hooks_to_conds:
        raise EmbedderError("The connected CLIP carries hooks, which change over time. Connect the one before Set CLIP Hooks.")


def filled_up(tokens: Tokens, tokenize: Callable[[str], Tokens]) -> Tokens:
    """The shorter tower's tokens, filled up with the sections of the empty text: of two texts, as CLIPTextEncodeSDXL does it."""
    for side, other in (("l", "g"), ("g", "l")):
        while len(tokens[side]) < len(tokens[other]):
            tokens[side] = tokens[side] + tokenize("")[side]
    return tokens


def _with_states(worker: ClipWorker) -> Callable[[Future], list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    return lambda tokens: worker.with_states(tokens.result())


def _vectors(worker: ClipWorker) -> Callable[[Future], tuple[np.ndarray, np.ndarray]]:
    return lambda tokens: worker.vectors(tokens.result())


def _twin_of(clip: Any) -> Callable[[torch.device], ClipWorker]:
    """Makes a copy for another device in the host's own way: loaded anew from its files, with the same patches."""

    def twin(device: torch.device) -> ClipWorker:
        copy = clip.clone()
        copy.patcher = clip.patcher.deepclone_multigpu(new_load_device=device)
        copy.cond_stage_model = copy.patcher.model
        return ClipWorker(copy, True, set_options)

    return twin


def tower_identity(clip: Any, tower: str) -> list[Any]:
    """What the pooled vector of a CLIP's `clip_l` or `clip_g` depends on, in any CLIP that has it: SDXL's, its refiner's, Flux's, SD3's.

    A tower's final layer is always the last, whatever the CLIP layer is.
    """
    tokenizer = getattr(clip.tokenizer, tower)
    others = tuple(name for name in ("clip_l_", "clip_g_", "t5xxl_") if name != f"{tower}_")
    options = {key: value for key, value in clip.tokenizer_options.items() if not key.startswith(others)}
    settings = {key: getattr(tokenizer, key) for key in _TOKENIZER_SETTINGS}
    weights = patched_weights_digest(clip.patcher, f"{tower}.", _UNUSED)
    return [weights, tokenizer_digest(tokenizer.tokenizer), settings, options, _TOKENIZING]


def states_layers(clip: Any, towers: Sequence[str]) -> dict[str, Any]:
    """`{"clip_l_layer": 10, ...}`: which layer the token states of these towers are taken from, with the CLIP layer that is set."""
    set_options(clip)
    layers = {f"{tower}_layer": _layer(getattr(clip.cond_stage_model, tower)) for tower in towers}
    clip.cond_stage_model.reset_clip_options()
    return layers


def set_options(clip: Any) -> None:
    """The calls of `CLIP.encode_from_tokens`, in its order: a layer beyond the model's depth is undone by the second."""
    model = clip.cond_stage_model
    model.reset_clip_options()
    if clip.layer_idx is not None:
        model.set_clip_options({"layer": clip.layer_idx})
    model.set_clip_options({})


_TOKENIZER_SETTINGS = (
    "max_length", "min_length", "min_padding", "pad_left", "pad_to_max_length", "max_word_length", "disable_weights",
    "start_token", "end_token", "pad_token",
)  # fmt: skip


def _layer(tower: Any) -> Any:
    """The layer a tower's states come from, counted from the first, so that -2 and its like are not told apart."""
    if tower.layer != "hidden":
        return tower.layer
    return tower.layer_idx if tower.layer_idx >= 0 else tower.num_layers + tower.layer_idx


def _name(clip: Any) -> str:
    """The files that ComfyUI's loader read, without their folders, where it noted them; a small stand-in is called one."""
    model = clip.cond_stage_model
    layers = (model.clip_l.num_layers, model.clip_g.num_layers)
    if layers != (12, 32):
        return f"a CLIP of {layers[0]} and {layers[1]} layers, not SDXL's 12 and 32"
    noted = getattr(clip.patcher, "cached_patcher_init", None) or (None, ())
    first = noted[1][0] if noted[1] else ()
    files = [first] if isinstance(first, str) else first if isinstance(first, (list, tuple)) else []
    names = [PurePath(file).name for file in files if isinstance(file, str)]
    return f"SDXL CLIP ({', '.join(names)})" if names else "SDXL CLIP"
