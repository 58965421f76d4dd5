"""Pairs that tell something: two images that look alike though their prompts differ, or one prompt that gave different looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection, sql

from ..encoders import active_encoder
from ..errors import LibraryError
from ..filters import EVERYTHING, Filter, all_of
from ..filters.sql_parts import PREFIX
from ..progress import Progress, silent
from ..question import Part, Question
from ..read import find_text
from ..records import StoredEncoder, TextPair
from ..search import exact_cosines, search
from ..stream import BATCH, read_column, vectors_of
from ..vectors import image_vector, text_vector
from ..words import CONNECT
from .pairs import look_alikes_of_other_prompts

LOOK, PROMPT = "alike look, other prompt", "same prompt, other look"
_POOL = 1000  # of the images that are most alike in one way, those least alike in the other are given
_PAIRS_COMPARED = 200_000  # of the library, of other prompts each, the ones that look most alike
_MOST_OF_A_TEXT = 1024  # images of one prompt that are all compared with each other

_PROMPTS_OF = """
SELECT pair.place, 1 - (a.embedding::halfvec({dims}) <=> b.embedding::halfvec({dims}))
FROM unnest(%(first)s::bigint[], %(second)s::bigint[]) WITH ORDINALITY pair (first, second, place)
JOIN images ia ON ia.id = pair.first
JOIN images ib ON ib.id = pair.second
JOIN text_vectors a ON a.encoder_id = {encoder} AND a.text_id = ia.prompt_id
JOIN text_vectors b ON b.encoder_id = {encoder} AND b.text_id = ib.prompt_id
WHERE ia.prompt_id <> ib.prompt_id AND NOT ARRAY[ia.prompt_id, ib.prompt_id] && %(none)s::bigint[]
"""


@dataclass(frozen=True)
class Contrast:
    """Two images, and the cosines of their pictures and of their prompts; 1 for one and the same prompt."""

    first: int
    second: int
    look: float
    prompt: float


def contrasts_of_image(conn: Connection, image_id: int, how: str, lowest: float, k: int, filter: Filter | None = None) -> list[Contrast]:
    """The `k` images that differ most from this one in one way, of those that are like it in the other by at least `lowest`.

    `how` is LOOK or PROMPT. LibraryError where the image lacks one of the two vectors.
    """
    image_encoder, text_encoder = _encoders(conn)
    look = image_vector(conn, image_id, image_encoder.id)
    row = conn.execute("SELECT prompt_id FROM images WHERE id = %s", [image_id]).fetchone()
    if row is None:
        raise LibraryError(f"The library has no image {image_id}. Take an id from a search node.")
    none = _no_prompts(conn)
    prompt = text_vector(conn, row[0], text_encoder.id) if row[0] not in (None, *none) else None
    if look is None or prompt is None:
        raise LibraryError(
            f"Image {image_id} has no vector of its {'picture' if look is None else 'prompt'}, so it can't be contrasted. Choose an "
            "image with a prompt that was indexed with CLIP Vision and a text embedder."
        )
    by_look, by_prompt = Part("image", look, 1.0, image_encoder.id), Part("prompt", prompt, 1.0, text_encoder.id)
    alike = by_prompt if how == PROMPT else by_look
    others = _but_for([*none, *row] if how == LOOK else none)
    question = Question(parts=(alike,), k=_POOL, lowest_score=lowest, filter=all_of([filter, others]), leave_out=(image_id,))
    ids = [hit.image_id for hit in search(conn, question).hits]
    cosines = exact_cosines(conn, [by_look, by_prompt], ids)  # [n, 2]
    found = [Contrast(image_id, id_, float(a), float(b)) for id_, (a, b) in zip(ids, cosines) if not np.isnan(a + b)]
    return _most_different(found, how, k, of_one=True)


def contrasts_of_library(
    conn: Connection,
    how: str,
    lowest: float,
    k: int,
    filter: Filter | None = None,
    *,
    progress: Progress = silent,
) -> list[Contrast]:
    """The `k` pairs of the whole library that differ most in one way, of those that are alike in the other; each image once.

    LOOK: pairs whose pictures have a cosine of at least `lowest`, by their prompts. PROMPT: images of the very same prompt,
    the two of each that look least alike. To be called in a transaction of its own, as `look_alikes`.
    """
    image_encoder, text_encoder = _encoders(conn)
    if how == PROMPT:
        return _most_different(_of_texts(conn, image_encoder, filter, k, progress), how, k)
    none = _no_prompts(conn)
    prompted = all_of([filter, Filter(sql.SQL("i.prompt_id IS NOT NULL")), _but_for(none)])
    pairs = look_alikes_of_other_prompts(conn, lowest, _PAIRS_COMPARED, prompted, progress=progress)
    first, second, look = pairs.first, pairs.second, pairs.closeness
    statement = sql.SQL(_PROMPTS_OF).format(dims=sql.Literal(text_encoder.dims), encoder=sql.Literal(text_encoder.id))
    found = []
    for start in range(0, len(first), BATCH):
        progress("Comparing prompts", start, len(first))
        some = slice(start, start + BATCH)
        asked = {"first": first[some].tolist(), "second": second[some].tolist(), "none": none}
        for place, cosine in conn.execute(statement, asked):
            at = start + place - 1
            found.append(Contrast(int(first[at]), int(second[at]), float(look[at]), cosine))
    return _most_different(found, how, k)


def _of_texts(
    conn: Connection, encoder: StoredEncoder, filter: Filter | None, k: int, progress: Progress
) -> list[Contrast]:
    """The two images of each prompt that look least alike; of very many images of one prompt, some."""
    ids, texts = read_column(conn, "i.prompt_id", "i.prompt_id IS NOT NULL", all_of([filter, _but_for(_no_prompts(conn))]))
    order = np.argsort(texts, kind="stable")
    starts = np.flatnonzero(np.diff(texts[order])) + 1
    groups = [group[:: -(-len(group) // _MOST_OF_A_TEXT)] for group in np.split(ids[order], starts) if len(group) > 1]
    found: list[Contrast] = []
    for done, batch in _together(groups, BATCH):
        progress("Comparing images of one prompt", done, len(groups))
        vectors = vectors_of(conn, "image", encoder, np.concatenate(batch))
        for group in batch:
            known = [id_ for id_ in group.tolist() if id_ in vectors]
            if len(known) > 1:
                rows = np.stack([vectors[id_] for id_ in known])
                cosines = rows @ rows.T
                a, b = sorted(np.unravel_index(cosines.argmin(), cosines.shape))
                found.append(Contrast(known[a], known[b], float(cosines[a, b]), 1.0))
        found = _most_different(found, PROMPT, k)
    return found


def _no_prompts(conn: Connection) -> list[int]:
    """The id of the empty text, where it is recorded: an image with it is one without a prompt."""
    empty = find_text(conn, TextPair("", ""))
    return [] if empty is None else [empty]


def _but_for(prompts: Sequence[int]) -> Filter:
    """The images that have another prompt than these texts. Asked of the search itself: the nearest 1,000 can all be of one prompt."""
    if not prompts:
        return EVERYTHING
    name = f"{PREFIX}prompts"
    return Filter(sql.SQL("i.prompt_id <> ALL({}::bigint[])").format(sql.Placeholder(name)), {name: list(prompts)})


def _together(groups: Sequence[np.ndarray], size: int) -> list[tuple[int, list[np.ndarray]]]:
    """(groups before, groups) of about `size` images in all."""
    ends = np.cumsum([len(group) for group in groups]) // size if groups else []
    batches: list[tuple[int, list[np.ndarray]]] = []
    for place, (group, number) in enumerate(zip(groups, ends)):
        if not batches or ends[batches[-1][0]] != number:
            batches.append((place, []))
        batches[-1][1].append(group)
    return batches


def _most_different(found: Sequence[Contrast], how: str, k: int, of_one: bool = False) -> list[Contrast]:
    """The `k` first, by what shall differ, then by what shall be alike.

    An image is in one pair at most; `of_one`: but for the first of each pair, the one image that was asked for.
    """
    if how == PROMPT:
        ranked = sorted(found, key=lambda one: (one.look, -one.prompt, one.second))
    else:
        ranked = sorted(found, key=lambda one: (one.prompt, -one.look, one.second))
    chosen, seen = [], set()
    for one in ranked:
        pair = {one.second} if of_one else {one.first, one.second}
        if len(chosen) < k and not pair & seen:
            chosen.append(one)
            seen |= pair
    return chosen


def _encoders(conn: Connection) -> tuple[StoredEncoder, StoredEncoder]:
    image, text = active_encoder(conn, "image"), active_encoder(conn, "text")
    if image is None or text is None:
        lacking = "image" if image is None else "text"
        raise LibraryError(
            f"A contrast needs the vectors of pictures and of prompts, and the library has no {lacking} vectors yet. Index a folder "
            f"with {CONNECT[lacking]} connected to Index Folder."
        )
    return image, text
