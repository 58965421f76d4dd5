"""How a hit is told: as a line for a person, and as a record for programs; without ComfyUI."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..links import KINDS, AskedPart
from ..stored_images import image_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...db import Hit, StoredImage


def hit_line(hit: Hit, image: StoredImage, note: str, parts: Sequence[AskedPart], ordered: str = "") -> str:
    """Rank, score, percentile, id, what it is `ordered` by, and the text that was compared; below it, where a score was put together, of what."""
    nearer = f" \u00b7 {share(hit.percentile)} %" if hit.percentile is not None else ""
    line = f"{hit.rank}. {hit.score:.3f}{nearer}  {image_line(image, note, ordered, [part.kind for part in parts])}"
    told = list(zip(parts, hit.cosines, hit.gave))
    plain = len(told) < len(parts) or (len(told) == 1 and hit.gave == hit.cosines)  # the score says it
    gave = [] if plain else [_gave(*one) for one in told]
    gave += [f"being new: {hit.recency:+.3f} for its place, beside the score"] if hit.recency else []
    return f"{line}\n    " + "; ".join(gave) if gave else line


def what_helps(notes: Sequence[str]) -> list[str]:
    """A line above hits some of whose files are gone, as their notes begin."""
    gone = sum(note.startswith("the file is gone") for note in notes)
    if not gone:
        return []
    which = "1 file is" if gone == 1 else f"{gone} files are"
    return [f"{which} gone. Index Folder finds again what was moved or renamed; Library Upkeep removes the rest from the library."]


def hit_record(hit: Hit, image: StoredImage, path: str, note: str, parts: Sequence[AskedPart]) -> dict[str, Any]:
    """The same as JSON."""
    gave = [
        {"label": part.label, "kind": part.kind, "weight": part.weight, "cosine": cosine, "gave": gave}
        for part, cosine, gave in zip(parts, hit.cosines, hit.gave)
    ]
    return {
        "rank": hit.rank,
        "score": hit.score,
        "percentile": hit.percentile,
        "recency": hit.recency,
        "image_id": hit.image_id,
        "path": path,
        "prompt": image.prompt,
        "negative_prompt": image.negative,
        "confidence": image.prompt_confidence,
        "note": note,
        "parts": gave,
    }


def share(percentile: float) -> str:
    """A percentile with the places that a sample of a thousand images can tell; never rounded up, so that what is shown as 95 passes 95."""
    if percentile > 99.9:
        return "> 99.9"
    places = 1 if percentile >= 99 else 0
    return f"{math.floor(percentile * 10**places + 1e-6) / 10**places:.{places}f}"


def _gave(part: AskedPart, cosine: float | None, gave: float) -> str:
    """What one part gave: of its cosine, or of the standard score that was made of it."""
    if cosine is None:
        return f"{part.label}: no {KINDS[part.kind]} vector"
    if part.weight and not math.isclose(gave, cosine * part.weight, abs_tol=1e-6):
        return f"{part.label}: cosine {cosine:.3f}, standard score {gave / part.weight:+.2f} x {part.weight:g} = {gave:+.3f}"
    return f"{part.label}: {cosine:.3f} x {part.weight:g} = {gave:+.3f}"
