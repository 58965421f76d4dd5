"""CLIP-L and CLIP-G vectors and SDXL's token states from a connected CLIP, many texts in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .errors import EmbedderError
from .fingerprint import combine, patched_weights_digest, tokenizer_digest

if TYPE_CHECKING:
    import numpy as np
    import torch

_TOKENIZING = "comfy SDXLTokenizer, 1"
_TEXTS = 64  # texts whose token states are in memory as raw rows at once, 0.6 MB a section
_SECTIONS = 32  # sections of 77 tokens in one forward
_WANTED = "Use Load Checkpoint with an SDXL checkpoint, or DualCLIPLoader with clip_l and clip_g and type sdxl."
# Not part of SDXL: checkpoints carry no CLIP-L projection, so ComfyUI leaves uninitialised memory there.
_UNUSED = ("clip_l.transformer.text_projection.weight",)


@dataclass(frozen=True)
class SDXLText:
    """What SDXL's text encoders make of texts, in the order given."""

    clip_l: np.ndarray  # [n, 768] float32: final norm at the first end token, unprojected
    clip_g: np.ndarray  # [n, 1280] float32: the same, projected; SDXL's pooled_output
    states: list[np.ndarray]  # n of [77 * sections, 2048] float32


class SDXLTextEncoder:
    """Makes what CLIPTextEncode makes, with the connected CLIP's LoRAs, CLIP layer and tokenizer options.

    Raises:
        EmbedderError: the connected CLIP is not SDXL's pair, or carries hooks.
    """

    def __init__(self, clip: Any, managed: bool = True) -> None:
        """`managed` False: the model stays where it is, on the CPU, and the host is not told of it (see `nodes.query_models`)."""
        import comfy.sdxl_clip

        model = getattr(clip, "cond_stage_model", None)
        if clip is None or model is None:
            raise EmbedderError(f"The clip input holds no model: the checkpoint has no text encoder in it. {_WANTED}")
        if not isinstance(model, comfy.sdxl_clip.SDXLClipModel):
            parts = ", ".join(name for name, _ in model.named_children())
            found = f"{type(model).__name__}: {parts}"
            raise EmbedderError(f"The connected CLIP ({found}) is not SDXL's pair of clip_l and clip_g. {_WANTED}")
        if clip.patcher.forced_hooks is not None or clip.apply_hooks_to_conds:
            raise EmbedderError("The connected CLIP carries hooks, which change over time. Connect the one before Set CLIP Hooks.")
        self._clip = clip
        self._managed = managed
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

    def encode(self, pairs: Sequence[tuple[str, str]]) -> SDXLText:
        """Encode (text_g, text_l) pairs; an equal pair gives CLIPTextEncode's result, another CLIPTextEncodeSDXL's."""
        import numpy as np
        import torch

        clip_l, clip_g, states = [], [], []
        with torch.inference_mode():
            for start in range(0, len(pairs), _TEXTS):
                tokens = [self._tokenize(text_g, text_l) for text_g, text_l in pairs[start : start + _TEXTS]]
                for l_vector, g_vector, text_states in self._encode_tokens(tokens):
                    clip_l.append(l_vector)
                    clip_g.append(g_vector)
                    states.append(text_states)
        if not states:
            return SDXLText(np.empty((0, 768), np.float32), np.empty((0, 1280), np.float32), [])
        return SDXLText(np.concatenate(clip_l), np.concatenate(clip_g), states)

    def _tokenize(self, text_g: str, text_l: str) -> dict[str, list[Any]]:
        """As comfy_extras/nodes_clip_sdxl.py: the shorter of two different texts is filled up with empty sections."""
        tokens = self._clip.tokenize(text_g)
        if text_l != text_g:
            tokens["l"] = self._clip.tokenize(text_l)["l"]
        if len(tokens["l"]) != len(tokens["g"]):
            empty = self._clip.tokenize("")
            while len(tokens["l"]) < len(tokens["g"]):
                tokens["l"] += empty["l"]
            while len(tokens["l"]) > len(tokens["g"]):
                tokens["g"] += empty["g"]
        return tokens

    def _encode_tokens(self, tokens: list[dict[str, list[Any]]]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Run the host's own encoding twice: once to see which sections it wants encoded, once with their results.

        In between, all sections of all texts go through each tower together.
        """
        import comfy.model_management as host
        import torch

        model = self._clip.cond_stage_model
        stand_in = SimpleNamespace(clip_l=_TowerReplay(model.clip_l), clip_g=_TowerReplay(model.clip_g))
        for text in tokens:
            type(model).encode_token_weights(stand_in, text)

        set_options(self._clip)
        try:
            if self._managed:
                self._clip.load_model()
            device = self._clip.patcher.load_device if self._managed else torch.device("cpu")
            model.set_clip_options({"execution_device": device})
            model.clip_l.set_clip_options({"projected_pooled": False})
            with host.cuda_device_context(device):
                stand_in.clip_l.run()
                stand_in.clip_g.run()
        finally:
            model.reset_clip_options()

        encoded = []
        for text in tokens:
            states, clip_g = type(model).encode_token_weights(stand_in, text)  # [1, 77k, 2048], [1, 1280]
            clip_l = stand_in.clip_l.first_pooled  # [1, 768]
            encoded.append((clip_l.cpu().numpy(), clip_g.cpu().numpy(), states[0].cpu().numpy()))
        return encoded


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


class _TowerReplay:
    """Takes a tower's place in the host's `encode_token_weights`, so that weighting and joining stay the host's code.

    Until `run`, `encode` only notes the sections it is given; after it, it returns their rows.
    """

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._sections: dict[Any, list[Any]] = {}
        self._rows: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}
        self.first_pooled: torch.Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tower, name)

    def encode_token_weights(self, pairs: list[Any]) -> Any:
        return type(self._tower).encode_token_weights(self, pairs)

    def encode(self, sections: list[list[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows [sections, tokens, width] and pooled [sections, width]; a fresh copy, since weighting writes into it."""
        import torch

        keys = [_section_key(section) for section in sections]
        if not self._rows:
            self._sections.update(zip(keys, sections))
            return torch.zeros(len(sections), max(map(len, sections)), 1), torch.zeros(len(sections), 1)
        rows = torch.stack([self._rows[key][0] for key in keys])
        pooled = torch.stack([self._rows[key][1] for key in keys])
        self.first_pooled = pooled[:1]
        return rows, pooled

    def run(self) -> None:
        """Encode the distinct sections noted so far. Only sections of one length share a forward."""
        for length in sorted({len(section) for section in self._sections.values()}):
            items = [(key, section) for key, section in self._sections.items() if len(section) == length]
            for start in range(0, len(items), _SECTIONS):
                batch = items[start : start + _SECTIONS]
                states, pooled = self._tower.encode([section for _, section in batch])[:2]
                for (key, _), row, vector in zip(batch, states.float().cpu(), pooled.float().cpu()):
                    self._rows[key] = (row, vector)


def _section_key(section: list[Any]) -> tuple[Any, ...]:
    """Equal for sections of equal tokens. A textual inversion's vector counts as itself; its text's tokens keep it alive."""
    return tuple(token if isinstance(token, int) else ("vector", id(token)) for token in section)


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
