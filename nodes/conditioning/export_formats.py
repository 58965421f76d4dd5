"""The formats that Export Embeddings offers, how each is written, and what is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..wording import some

if TYPE_CHECKING:
    from ...db import StoredEncoder, StoredImage
    from ...embedders.exchange import Embeddings, MadeBy

ONE, EACH, JSON, PARQUET = (
    "safetensors, one file",
    "safetensors, one file for each image",
    "DiffusionToolkit JSON, one file for each image",
    "Parquet, one file",
)
SUFFIXES = {ONE: ".safetensors", PARQUET: ".parquet", EACH: "", JSON: ""}  # "": a folder
WITH_STATES = (ONE, EACH)
_ELSEWHERE = "where the library has none of the same text by the same encoder, conditioning from it without a CLIP is an approximation"
_TOLD = 20  # images, and texts, that are named


@contextmanager
def writer(format: str, place: Path, n: int, made_by: Mapping[str, MadeBy]) -> Iterator[Callable[[StoredImage, Embeddings], None]]:
    """A function that takes `n` images in order. A single file is there when the block ends well; those by image, one after another."""
    from ...embedders.exchange import ParquetWriter, SafetensorsWriter, write_json

    if format in (ONE, PARQUET):
        with SafetensorsWriter(place, n, made_by) if format == ONE else ParquetWriter(place, made_by) as file:
            yield lambda image, record: file.add(record)
        return

    def one_json(image: StoredImage, record: Embeddings) -> None:
        write_json(place, record, image.width, image.height, datetime.now(timezone.utc))

    def one_safetensors(image: StoredImage, record: Embeddings) -> None:
        with SafetensorsWriter(place / f"image_{image.id}.safetensors", 1, made_by) as file:
            file.add(record)

    place.mkdir()
    try:
        yield one_json if format == JSON else one_safetensors
    finally:
        if not any(place.iterdir()):
            place.rmdir()


class Tally:
    """What a run has written."""

    def __init__(self) -> None:
        self._images = 0
        self._vectors: Counter[str] = Counter()
        self._sides: Counter[str] = Counter()
        self._texts: set[int | None] = set()
        self._unprompted = 0  # images of which no prompt is known
        self._without: list[int] = []  # ids of images without any vector
        self._seeds: list[int] = []  # ids of images whose seed no unsigned 64 bits hold
        self._left_out: list[str] = []

    def add(self, record: Embeddings) -> None:
        """One image more."""
        self._images += 1
        self._vectors.update(record.vectors.keys())
        self._sides.update(record.states.keys())
        self._texts.update(states.key for states in record.states.values())
        self._unprompted += record.about.get("prompt_texts") is None
        self._without += [] if record.vectors else [record.image_id]
        self._seeds += [] if 0 <= (record.about.get("seed") or 0) < 2**64 else [record.image_id]

    def tell(self, what: str) -> None:
        """Something was left out; `what` says why and what to do."""
        self._left_out.append(what)

    def lines(self, format: str, encoders: Mapping[str, StoredEncoder], with_states: bool = True) -> list[str]:
        """What is in it, what is not, and by which encoders it was made. `with_states` says whether token states were asked for."""
        from ...embedders.exchange import VECTORS

        names = [name for name in VECTORS if format != JSON or name in ("clip_l", "clip_g", "image")]
        lines = ["Images with a vector: " + ", ".join(f"{name} {self._vectors[name]}" for name in names) + "."]
        if format in WITH_STATES and not with_states:
            lines.append(f"Token states: none, since token_states is off: {_ELSEWHERE}.")
        elif format in WITH_STATES:
            unknown = f", {self._unprompted} of which have no known prompt" if self._unprompted else ""
            missing = self._images - self._sides["positive"]
            lines.append(f"Token states: {some(len(self._texts), 'distinct text')}; {some(missing, 'image')} without those of their prompt{unknown}.")
        else:
            lines.append(f"Token states: none, this format has no place for them: {_ELSEWHERE}.")
        if format == JSON:
            lines.append("This format does not tell which encoders made the vectors, and has no prompts.")
        if self._without:
            lines.append(f"{_have(self._without)} no vector: {_named(self._without)}. Run Index Folder on them with the models connected.")
        if self._seeds and format == PARQUET:
            lines.append(f"{_have(self._seeds)} a seed that this format can't hold: {_named(self._seeds)}. It is left empty.")
        lines += [f"Left out: {what}" for what in self._left_out[:_TOLD]]
        if len(self._left_out) > _TOLD:
            lines.append(f"Left out: {some(len(self._left_out) - _TOLD, 'text')} more.")
        families = dict.fromkeys(VECTORS[name][0] for name in names)
        told = [f"{family} by {encoders[family].told}" for family in families if family in encoders]
        return [*lines, f"Made by: {'; '.join(told) or 'no encoder yet'}."]


def _have(ids: Sequence[int]) -> str:
    return f"{some(len(ids), 'image')} {'has' if len(ids) == 1 else 'have'}"


def _named(ids: Sequence[int]) -> str:
    return ", ".join(f"#{image_id}" for image_id in ids[:_TOLD]) + (" ..." if len(ids) > _TOLD else "")
