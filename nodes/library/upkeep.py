"""What Library Upkeep does: look at everything, mend what needs no model, remove what is gone. Not one picture is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ... import db
from ...embedders.folders.presence import Presence, look_at, still_gone
from ..host import log, roots
from ..inside import contained
from ..wording import some
from .status_report import read_status
from .upkeep_actions import PRUNE, REPAIR, VERIFY, WOULD_PRUNE

Progress = Callable[[str, int, int], None]
NAMED = 50
LISTED = 10_000  # for programs


@dataclass
class Found:
    """What was looked at, and what was done about it."""

    status: db.LibraryStatus
    files: list[tuple[str, int, Presence]] = field(default_factory=list)  # root's name and id
    gone: dict[int, db.GoneOfRoot] = field(default_factory=dict)  # by root, where any are
    unconfigured: list[tuple[str, str, int]] = field(default_factory=list)  # name, path, files
    vectors: list[tuple[db.StoredEncoder, list[int]]] | None = None  # unsound ones; None: not looked at
    states: list[tuple[db.StoredEncoder, list[int]]] | None = None
    loose: db.LooseEnds = field(default_factory=lambda: db.LooseEnds(0, 0, 0))
    done: list[str] = field(default_factory=list)


@dataclass
class Pruned:
    """What is removed, or would be."""

    gone: db.Gone
    going: list[db.GoingImage] = field(default_factory=list)  # the first LISTED, those without a file among them
    moved: list[str] = field(default_factory=list)  # the first of the files whose image stays: moved, or copies
    moved_files: int = 0
    fileless: int = 0
    texts: int = 0
    unsought: int = 0  # files of images that go, which nobody has looked for in other places: they may be moved only

    @property
    def named(self) -> list[str]:
        """The first of all, what goes for good before what was only moved."""
        return [*map(place_of, self.going[:NAMED]), *self.moved][:NAMED]


def place_of(image: db.GoingImage) -> str:
    """Where an image was last, in words; of one that was overwritten its prompt tells which it was."""
    if image.root:
        return f"{image.root}: {image.path}"
    prompt = f": {' '.join(image.prompt.split())}" if image.prompt else ""
    return f"image {image.image_id}, without any known file{prompt}"


def attend(
    library: db.Library,
    action: str,
    thorough: bool,
    even_doubtful: bool,
    unused_texts: bool,
    progress: Progress,
    words: db.Words | None = None,
) -> tuple[Found, Pruned | None]:
    """Look at everything and do what was asked for: what is found at the end, and what was or would be removed.

    As `look`, `prune`; the report is in the nodes' words, or in these. `thorough` is not heard where something is to be removed.
    """
    thorough = thorough and action in (VERIFY, REPAIR)
    found, pruned = look(library, thorough, even_doubtful, progress, words), None
    if action == VERIFY:
        return found, None
    if action == WOULD_PRUNE:
        return found, would_prune(library, found)
    if action == REPAIR:
        repair(library, found, progress)
    elif action == PRUNE:
        pruned = prune(library, found, unused_texts, progress)
        images = pruned.gone.images + pruned.fileless
        removed = f"{some(pruned.gone.files, 'file')} and {some(images, 'image')}"
        log.info("Removed from library %r: %s. %s", library.name, removed, ", ".join(pruned.named))  # the look below may be broken off
    else:
        raise ValueError(f"There is no action {action!r}.")
    after = look(library, False, even_doubtful, progress, words)
    after.done, after.vectors, after.states = found.done, [] if thorough else None, [] if thorough else None
    return after, pruned


def look(library: db.Library, thorough: bool, even_doubtful: bool, progress: Progress, words: db.Words | None = None) -> Found:
    """Everything; `thorough` also reads every vector and token state. With `even_doubtful`, doubtful files count as gone."""
    found = Found(read_status(library, words))
    allowed = list(roots().values())
    with library.connection() as conn:
        known = db.known_roots(conn)
        found.loose = db.loose_ends(conn)
    for root_id, name, path, files in known:
        folder = Path(path)
        if not contained(folder, allowed):
            found.unconfigured.append((name, path, files))
            continue
        presence = look_at(folder, _pages(library, root_id), partial(_tell, progress, f"Files in {name}", files))
        if even_doubtful and presence.mounted:
            presence.gone += presence.doubtful
            presence.doubtful, presence.mount_points = [], {}
        found.files.append((name, root_id, presence))
    with library.reading() as conn:
        found.gone = db.gone_by_root(conn, _gone(found))
    if thorough:
        found.vectors = db.unsound_vectors(library, progress)
        found.states = db.damaged_states(library, progress)
    return found


def repair(library: db.Library, found: Found, progress: Progress) -> None:
    """Mend what needs no model; what was done is added to `found.done`. Vectors that are removed here are made by the next run."""
    indexing = found.status.words.indexing
    for name, root_id, presence in found.files:
        if presence.unmarked or presence.returned:
            with library.connection() as conn:
                db.mark_all(conn, root_id, presence.gone, presence.returned)
            found.done.append(f"Marked as missing in {name}: {some(presence.unmarked, 'file')}; unmarked: {len(presence.returned):,}.")
    for encoder, ids in found.vectors or ():
        db.forget(library, encoder.id, ids)
        found.done.append(f"Removed as no good: {some(len(ids), 'vector')} by {encoder.name}. {indexing} makes them anew.")
    for encoder, ids in found.states or ():
        db.forget(library, encoder.id, ids)
        found.done.append(f"Removed the damaged token states of {some(len(ids), 'text')} by {encoder.name}: {indexing} makes them anew.")
    try:
        mended = db.mend_indexes(library, progress)
    except db.LibraryError as error:  # what was done before is told all the same
        mended = []
        found.done.append(f"Indexes were left as they are: {error}")
    if mended:
        found.done.append(f"Made anew, or removed what was left of it: {', '.join(mended)}.")
    if refreshed := db.refresh_search(library, progress):
        found.done.append(f"Search: {refreshed}.")
    if swept := db.vacuum(library, progress):
        found.done.append(f"Vacuumed: {', '.join(swept)}.")


def would_prune(library: db.Library, found: Found) -> Pruned:
    """What `prune` would remove, with the texts that no image has then; nothing is written, and a user who may only read can ask."""
    gone = _gone(found)
    with library.reading() as conn:
        moved = db.places_of_staying(conn, gone, NAMED)
        return Pruned(
            gone=db.count_gone(conn, gone),
            going=db.going_images(conn, gone, LISTED),
            moved=[f"{root}: {path}" for root, path, _ in moved],
            moved_files=moved[0][2] if moved else 0,
            fileless=found.loose.images,
            texts=db.count_texts_left(conn, gone),
            unsought=sum(gone.unsought for gone in found.gone.values()),
        )


def prune(library: db.Library, found: Found, texts: bool, progress: Progress) -> Pruned:
    """Remove the files that are gone, the images that have no other, and with `texts` the texts that no image has then.

    Each lot of files is looked at once more just before: what came back stays, and is not told as removed. LibraryError while a run
    indexes, or when a drive goes away meanwhile; it says how much was removed before, which a cancel leaves in the log.
    """
    gone, by_root, went = _gone(found), [], {}
    with library.connection() as conn:
        db.refuse_beside_a_run(conn)
        for _, root_id, presence in found.files:
            db.mark_all(conn, root_id, presence.gone, [*presence.returned, *presence.doubtful])
        going = db.going_images(conn, gone, LISTED)  # as long as their places and labels are known
    try:
        for name, root_id, presence in found.files:
            if presence.mounted:
                ask, tell = partial(_still_gone, name, presence), partial(_tell, progress, "Removing files", sum(map(len, gone.values())))
                by_root.append((name, {}))
                db.remove_missing(library, root_id, ask, tell, by_root[-1][1], went)
        fileless = db.remove_fileless_images(library, progress)
        unused = db.remove_unused_texts(library, progress) if texts else 0
    except BaseException as error:  # a cancel is no Exception
        if count := sum(len(removed) for _, removed in by_root):
            told = f"Removed before, for good: {some(count, 'file')} and {some(len(went), 'image')}."
            log.info("Library %r was pruned in part. %s", library.name, told)
            if isinstance(error, db.LibraryError):
                error.args = (f"{error} {told}",)
        raise
    files = [(f"{name}: {path}", image_id) for name, removed in by_root for path, image_id in removed.items()]
    moved = sorted(place for place, image_id in files if image_id not in went)
    return Pruned(
        gone=db.Gone(len(files), len({image_id for _, image_id in files}), len(went), sum(went.values())),
        going=[image for image in going if image.image_id in went or not image.path],
        moved=moved[:NAMED],
        moved_files=len(moved),
        fileless=fileless,
        texts=unused,
    )


def _gone(found: Found) -> dict[int, list[str]]:
    return {root_id: presence.gone for _, root_id, presence in found.files}


def _pages(library: db.Library, root_id: int) -> Iterator[list[db.FileOfRoot]]:
    """Each on its own: a drive may take an hour to answer for a million files."""
    after = ""
    while True:
        with library.connection() as conn:
            page = db.page_of_files(conn, root_id, after)
        if not page:
            return
        after = page[-1].path
        yield page


def _tell(progress: Progress, stage: str, total: int, done: int) -> None:
    progress(stage, done, total)


def _still_gone(name: str, presence: Presence, paths: list[str]) -> list[str]:
    try:
        return still_gone(presence, paths)
    except OSError as error:
        raise db.LibraryError(
            f"The folder of {name} went away meanwhile ({error}). Nothing more was removed. Try again when it is there."
        ) from error
