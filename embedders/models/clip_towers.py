"""SDXL's two text encoders on one device: sections of tokens to rows and vectors, many in one forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..conditioning.mixing import SECTION
from .batch_size import BatchSize
from .devices import free_bytes, half_dtype, make_room, working_on
from .half import LOOKED_AT, HalfPrecision

if TYPE_CHECKING:
    import numpy as np
    import torch

Tokens = dict[str, list[Any]]  # of one text, as ComfyUI's tokenizer gives them: "l" and "g", each sections of (token, weight)

_SECTIONS = {"cpu": 32}  # sections of 77 tokens in one forward
_SECTIONS_ELSEWHERE = 256
_STEP = 16  # tokens
_TOWERS = {"clip_l": "l", "clip_g": "g"}


class ClipWorker:
    """One copy of a CLIP on one device. The host has loaded it there before it is asked for anything."""

    def __init__(self, clip: Any, managed: bool, set_options: Callable[[Any], None]) -> None:
        import torch

        self.patcher = clip.patcher
        self.device = clip.patcher.load_device if managed else torch.device("cpu")
        self.batch = BatchSize(_SECTIONS.get(self.device.type, _SECTIONS_ELSEWHERE), "section of 77 tokens")
        self._clip, self._managed, self._set_options = clip, managed, set_options
        half = half_dtype(self.device)
        self._whole = {tower: [HalfPrecision(half, tower)] for tower in _TOWERS}
        dtypes = [torch.float32] if half is None else [half, torch.float32]
        self._short = {tower: [HalfPrecision(dtype, f"{tower}, of a section's first tokens,") for dtype in dtypes] for tower in _TOWERS}

    @property
    def section_bytes(self) -> int:
        """About what one section takes in a forward of the larger tower at float32."""
        weight = self._clip.cond_stage_model.clip_g.transformer.text_model.encoder.layers[0].mlp.fc1.weight  # [wide, 1280]
        return SECTION * (10 * weight.shape[1] + 2 * weight.shape[0]) * 4

    def with_states(self, texts: Sequence[Tokens]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """([1, 768], [1, 1280], [77k, 2048]) of each text, at the host's precision.

        The host's own encoding runs twice: once to see which sections it wants encoded, once with their results. In between, all
        sections of all texts go through each tower together.
        """
        import torch

        model = self._clip.cond_stage_model
        stand_in = SimpleNamespace(clip_l=_TowerReplay(model.clip_l), clip_g=_TowerReplay(model.clip_g))
        for tokens in texts:
            type(model).encode_token_weights(stand_in, tokens)
        self._within(lambda: [replay.run(self._rows) for replay in (stand_in.clip_l, stand_in.clip_g)])
        encoded = []
        with torch.inference_mode():  # weighting writes into rows that were made under it
            for tokens in texts:
                states, clip_g = type(model).encode_token_weights(stand_in, tokens)  # [1, 77k, 2048], [1, 1280]
                clip_l = stand_in.clip_l.first_pooled  # [1, 768]
                encoded.append((clip_l.cpu().numpy(), clip_g.cpu().numpy(), states[0].cpu().numpy()))
        return encoded

    def vectors(self, texts: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray]:
        """clip_l [n, 768] and clip_g [n, 1280], at half precision where that gives the same.

        A text's vector is that of its first section, whatever its weights are, so what is beyond needs no encoding.
        """
        clip_l, clip_g = self._within(lambda: [self._pooled(texts, tower) for tower in _TOWERS])
        return clip_l, clip_g

    def _within(self, work: Callable[[], list[Any]]) -> list[Any]:
        """Run with the options of `CLIP.encode_from_tokens` set, on this worker's device."""
        import torch

        model = self._clip.cond_stage_model
        self._set_options(self._clip)
        try:
            model.set_clip_options({"execution_device": self.device})
            model.clip_l.set_clip_options({"projected_pooled": False})
            with torch.inference_mode(), working_on(self.device):
                if self._managed:
                    self.batch.fit(free_bytes(self.device), self.section_bytes)
                return work()
        finally:
            model.reset_clip_options()

    def _rows(self, tower: Any, sections: list[list[Any]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(states [n, tokens, width], pooled [n, width]) of each batch of sections of one length, float32 on the CPU."""
        return self.batch.run(
            sections, tower.encode, lambda made: (made[0].float().cpu(), made[1].float().cpu()), self._relieve
        )

    def _pooled(self, texts: Sequence[Tokens], tower_name: str) -> np.ndarray:
        import torch

        tower = getattr(self._clip.cond_stage_model, tower_name)
        firsts = [[token for token, _ in text[_TOWERS[tower_name]][0]] for text in texts]
        by_length: dict[tuple[int, int], dict[Any, list[Any]]] = {}  # only sections of one length share a forward, and equal ones are one
        for section in firsts:
            by_length.setdefault((len(section), _needed(tower, section)), {})[_section_key(section)] = section

        def at(needed: int, sections: Sequence[list[Any]], dtype: torch.dtype | None) -> torch.Tensor:
            if dtype is None:  # the host's own call
                return tower.encode(list(sections))[1]
            if needed < len(sections[0]):
                return _of_first_tokens(tower, sections, needed, dtype, self.device)
            return _at_precision(tower, sections, dtype, self.device)

        def launch(needed: int, sections: Sequence[list[Any]]) -> tuple[Sequence[list[Any]], torch.Tensor, HalfPrecision]:
            ways = (self._short if needed < len(sections[0]) else self._whole)[tower_name]
            for way in ways:  # the first that gives the host's vectors
                if way.dtype is not torch.float32 or len(sections) >= LOOKED_AT:  # a search's one text is not worth a look at float32
                    way.look(sections, partial(at, needed))
                if way.dtype is not None:
                    break
            return sections, at(needed, sections, way.dtype), way

        def finish(needed: int, made: tuple[Sequence[list[Any]], torch.Tensor, HalfPrecision]) -> np.ndarray:
            sections, vectors, way = made
            return way.mended(vectors.float().cpu(), sections, partial(at, needed)).numpy()

        rows: dict[Any, np.ndarray] = {}
        for (_, needed), sections in by_length.items():
            batches = self.batch.run(list(sections.values()), partial(launch, needed), partial(finish, needed), self._relieve)
            rows.update(zip(sections, (row for batch in batches for row in batch)))
        return torch.stack([torch.from_numpy(rows[_section_key(section)]) for section in firsts]).numpy()

    def _relieve(self, everything: bool) -> None:
        if self._managed:
            make_room(self.device, self.patcher, everything)


def _at_precision(tower: Any, sections: Sequence[list[Any]], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The pooled vectors [n, width] of sections of one length. The host's layers compute at the precision of what they are given;
    its own call gives them float32, whatever their weights are, so this makes the call below it."""
    embeds, tokens, info = _embedded(tower, sections, device)
    made = tower.transformer(
        None, None, embeds=embeds.to(dtype), num_tokens=tokens, intermediate_output=None, final_layer_norm_intermediate=False,
        dtype=dtype, embeds_info=info,
    )  # fmt: skip
    return made[2] if tower.return_projected_pooled else made[3]


def _of_first_tokens(tower: Any, sections: Sequence[list[Any]], needed: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The same of the first `needed` tokens, by the host's layers: its own call wants all 77, which add nothing and take their time."""
    import comfy.ops
    import torch

    embeds, counts, _ = _embedded(tower, sections, device)
    model = tower.transformer.text_model
    positions = comfy.ops.cast_to(model.embeddings.position_embedding.weight, dtype=dtype, device=embeds.device)  # [77, width]
    rows = embeds[:, :needed].to(dtype) + positions[:needed]
    mask = torch.full((needed, needed), -torch.finfo(dtype).max, dtype=dtype, device=rows.device).triu_(1)
    rows = model.final_layer_norm(model.encoder(rows, mask=mask)[0])  # [n, needed, width]
    pooled = rows[torch.arange(len(counts), device=rows.device), torch.tensor(counts, device=rows.device) - 1]
    return tower.transformer.text_projection(pooled) if tower.return_projected_pooled else pooled


def _needed(tower: Any, section: list[Any]) -> int:
    """How many of a section's tokens its vector comes from: those up to the first end, which sees none after it. In steps, so that
    sections of about one length share a forward; all of them where the tower is not SDXL's or a token is a vector."""
    from comfy.clip_model import CLIPTextModel

    end = tower.special_tokens.get("end")
    plain = type(tower.transformer) is CLIPTextModel and not tower.enable_attention_masks and end is not None
    if not plain or not all(isinstance(token, int) for token in section) or end not in section:
        return len(section)
    return min(len(section), -(-(section.index(end) + 1) // _STEP) * _STEP)


def _embedded(tower: Any, sections: Sequence[list[Any]], device: torch.device) -> tuple[torch.Tensor, list[int], list[Any]]:
    """As the host's `process_tokens`: [n, tokens, width], and how many tokens count in each. In one transfer where it can be."""
    import torch

    end, pad = tower.special_tokens.get("end"), tower.special_tokens.get("pad", -1)
    plain = end is not None and all(section[0] != pad and all(isinstance(token, int) for token in section) for section in sections)
    if not plain or tower.enable_attention_masks:  # a textual inversion's vectors, and whatever other towers do
        embeds, _, counts, info = tower.process_tokens(list(sections), device)
        return embeds, counts, info
    counts = [section.index(end) + 1 if end in section else len(section) for section in sections]
    numbers = torch.tensor(sections, dtype=torch.long).to(device, non_blocking=True)
    return tower.transformer.get_input_embeddings()(numbers, out_dtype=torch.float32), counts, []


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

    def run(self, rows_of: Callable[[Any, list[list[Any]]], list[tuple[torch.Tensor, torch.Tensor]]]) -> None:
        """Encode the distinct sections noted so far. Only sections of one length share a forward."""
        for length in sorted({len(section) for section in self._sections.values()}):
            keys = [key for key, section in self._sections.items() if len(section) == length]
            made = rows_of(self._tower, [self._sections[key] for key in keys])
            self._rows.update(zip(keys, (row for states, pooled in made for row in zip(states, pooled))))


def _section_key(section: list[Any]) -> tuple[Any, ...]:
    """Equal for sections of equal tokens. A textual inversion's vector counts as itself; its text's tokens keep it alive."""
    return tuple(token if isinstance(token, int) else ("vector", id(token)) for token in section)
