"""Make the hybrid index: fit its projection, write its rows, and find out how many of the nearest by these a search has to compare."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence

import numpy as np
from psycopg import Connection, errors

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from ..connection import Library
from ..encoders import active_encoders
from ..errors import LibraryError
from ..progress import Progress, silent
from ..question import FAMILIES
from ..stream import count_vectors
from ..words import kind_in_words
from .check import Check
from .projection import MOST, Projection, fit
from .rows import Kinds, read_images, write_rows

_ATTEMPTS, _PATIENCE = 60, 2.0  # seconds of each, and between them
_SAMPLED = 8000  # images that a projection is fitted on
_FEW = 0.05  # of the images: a kind that fewer have is left out, since its dimensions would be taken from the others


def build_hybrid(library: Library, kinds: Sequence[str] | None = None, progress: Progress = silent, components: int = MOST) -> dict:
    """Make the hybrid index over these kinds, by default all that the library has, in place of the one there is; at most `components` of each.

    Returns the index's details, its kinds and its images. LibraryError where there is nothing to make it of, or another process is making one. Until
    it is ready, searches do without one; writers go on meanwhile, and what they write is in `hybrid_tail`. When `progress` raises,
    nothing of it stays in use, and `refresh_hybrid` makes it anew over the same kinds.
    """
    with alone(library), library.connection() as conn:
        chosen = choose_kinds(conn, kinds)
        settings = {"chosen": kinds is not None}  # by a person, or all that there are
        hybrid_id, images = _replace(library, chosen.names, [encoder.id for encoder in chosen.encoders], settings, progress)
        sample = _sample(conn, chosen)
        progress("Fitting the hybrid index", 0, 1)
        if rare := [name for name, of_kind in zip(chosen.names, sample) if np.isnan(of_kind).all()]:
            raise LibraryError(f"Too few images have {kind_in_words(rare[0])} vectors for an index over them. Leave that kind out.")
        projection = fit([of_kind[~np.isnan(of_kind[:, 0])] for of_kind in sample], components)
        check = Check(chosen.names, sample, projection, np.random.default_rng(hybrid_id))
        filled = _fill(library, conn, hybrid_id, chosen, projection, check, progress)
        result = check.result()
        details = {**settings, "sizes": projection.sizes, "kept": projection.kept, **result, "recall": min(result["recalls"].values())}
        _finish(library, hybrid_id, projection, details, images)
    return {**details, "kinds": list(chosen.names), "images": filled}


def drop_hybrid(library: Library) -> None:
    """Remove the hybrid index; Index Folder makes none by itself from now on."""
    with alone(library):
        _replace(library, [], [], {}, silent)  # an index over nothing, never ready


def choose_kinds(conn: Connection, names: Sequence[str] | None = None) -> Kinds:
    """These kinds, or all that enough images have, with their active encoders."""
    active = active_encoders(conn)
    images = conn.execute("SELECT count(*) FROM images").fetchone()[0]
    chosen = []
    for name, family in FAMILIES.items():
        encoder = active.get(family)
        if names is not None and name not in names:
            continue
        count = count_vectors(conn, name, encoder) if encoder else 0
        if count and (names is not None or count >= _FEW * images):
            chosen.append((name, encoder))
        elif names is not None:
            raise LibraryError(f"The library has no {kind_in_words(name)} vectors, so no index can be made over them. Index a folder with its model first.")
    if not images:
        raise LibraryError("The library is empty: there is nothing to make an index of. Queue Index Folder first.")
    if len(chosen) < 2 and names is None:
        raise LibraryError("The library has vectors of fewer than two kinds, so there are none to mix. Index a folder with more models first.")
    if len(chosen) < 2:
        raise LibraryError("A hybrid index is over two kinds or more; one kind has an index of its own. Choose more kinds.")
    return Kinds(tuple(name for name, _ in chosen), tuple(encoder for _, encoder in chosen))


def _replace(library: Library, kinds: Sequence[str], encoder_ids: Sequence[int], settings: dict, progress: Progress) -> tuple[int, int]:
    """Remove the index there is, and record another that is not made yet; its id, and how many images there are.

    From here on writers note what they change. Kinds and settings are recorded now, for the case that the making is broken off.
    To remove it, nobody may be reading it: whoever comes meanwhile waits behind us, so we wait shortly, and again.
    """
    for attempt in itertools.count(1):
        with library.connection() as conn:
            one_writer(conn)
            conn.execute("SELECT set_config('lock_timeout', %s, true)", [f"{_PATIENCE:g}s"])
            try:
                conn.execute("TRUNCATE hybrid_vectors, hybrid_tail")
            except errors.LockNotAvailable:
                if attempt == _ATTEMPTS:
                    raise
                conn.rollback()
                progress("Waiting for searches to end", attempt, _ATTEMPTS)
                time.sleep(_PATIENCE)
                continue
            conn.execute("DELETE FROM hybrids")
            bump_generation(conn)
            images = conn.execute("SELECT count(*) FROM images").fetchone()[0]
            hybrid_id = conn.execute(
                "INSERT INTO hybrids (kinds, encoder_ids, dims, projection, details, fitted_on) VALUES (%s, %s, 1, '', %s::jsonb, 0)"
                " RETURNING id",
                [list(kinds), list(encoder_ids), json.dumps(settings)],
            ).fetchone()[0]
            return hybrid_id, images


def _sample(conn: Connection, kinds: Kinds) -> list[np.ndarray]:
    ids = [row[0] for row in conn.execute("SELECT id FROM images ORDER BY random() LIMIT %s", [_SAMPLED])]
    batches = [vectors for _, vectors in read_images(conn, kinds, ids)]
    return [np.concatenate(of_kind) for of_kind in zip(*batches)]


def _fill(
    library: Library, conn: Connection, hybrid_id: int, kinds: Kinds, projection: Projection, check: Check, progress: Progress
) -> int:
    """Write the rows of all images, batch by batch in transactions of their own; returns how many."""
    conn.commit()  # so that the images of writers who did not know of this index yet are seen
    total, done = conn.execute("SELECT count(*) FROM images").fetchone()[0], 0
    for ids, vectors in read_images(conn, kinds):
        progress("Filling the hybrid index", done, total)
        rows = projection.rows(vectors)
        check.see(vectors, rows)
        with library.connection() as writer:
            write_rows(writer, hybrid_id, ids, rows)
        done += len(ids)
        conn.commit()  # no lock on the vectors' tables is held for longer than a batch
    return done


def _finish(library: Library, hybrid_id: int, projection: Projection, details: dict, images: int) -> None:
    """`images` is all that the library had, those without any of the kinds too: by them `refresh_hybrid` sees it grow."""
    with library.connection() as conn:
        conn.execute(
            "UPDATE hybrids SET dims = %s, projection = %s, fitted_on = %s, ready = true,"
            " details = %s::jsonb || jsonb_build_object('last', (SELECT coalesce(max(place), 0) FROM hybrid_vectors)) WHERE id = %s",
            [projection.dims, projection.to_bytes(), images, json.dumps(details), hybrid_id],
        )
        bump_generation(conn)
