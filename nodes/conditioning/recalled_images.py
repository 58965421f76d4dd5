"""Several stored images recalled at once by one encoder, and where their conditioning came from in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import db
from ..stored_images import image_line
from ..wording import first_of
from .recall import Recall, Recalled

if TYPE_CHECKING:
    from ...db import StoredImage
    from ..links import Hits
    from .other_recall import OtherRecall, RecalledPiece

_NAMED = 6  # images named by id in a line; more are counted


@dataclass(frozen=True)
class RecalledImage:
    """A stored image with what its prompt and its negative prompt, or the empty text, became: for SDXL, or for another model."""

    image: StoredImage
    positive: Recalled | RecalledPiece
    negative: Recalled | RecalledPiece

    @property
    def line(self) -> str:
        return image_line(self.image)


def given(hits: Hits | None, image_ids: Any) -> bool:
    """Whether images were chosen by these at all, where they need not be."""
    return hits is not None or (image_ids is not None and str(image_ids).strip() not in ("", "[]"))


def recall_images(recall: Recall | OtherRecall, ids: Sequence[int], progress: Callable[[str, int, int], None]) -> list[RecalledImage]:
    """The images of these ids, aligned with them. NothingStored names the first that can't be recalled."""
    found = []
    for done, image in enumerate(db.get_images(recall.connection, ids), start=1):
        hint = " (has:prompt in a search's filter_text leaves such images out)" if len(ids) > 1 else ""
        positive = recall.text(image.prompt_id, f"image {image.id} has no stored prompt{hint}")
        found.append(RecalledImage(image, positive, recall.text(image.negative_id)))
        if len(ids) > 1:  # it hears a cancel too
            progress("Recalled", done, len(ids))
    return found


def sources(images: Sequence[RecalledImage]) -> list[str]:
    """Where the positives came from, and the negatives: a line for each that differs, with the images that it is true of."""
    positives: dict[str, list[int]] = {}
    negatives: dict[str, list[int]] = {}
    for one in images:
        joined = " (joined from several texts)"
        said = f"positive: {one.positive.source}" + (joined if one.image.prompt_joined else "")
        positives.setdefault(said, []).append(one.image.id)
        said = f"negative: {one.negative.source}" + (joined if one.image.negative_joined else "")
        said += " (none known: the empty text)" if one.image.negative_id is None else ""
        negatives.setdefault(said, []).append(one.image.id)
    lines = []
    for group in (positives, negatives):
        lines += [said + (f" ({told_ids(ids)})" if len(group) > 1 else "") for said, ids in group.items()]
    return lines


def told_ids(ids: Sequence[int]) -> str:
    """`#12, #15`; of many images the first few and how many more."""
    return first_of([f"#{id_}" for id_ in ids], _NAMED)
