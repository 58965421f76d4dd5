"""Find Duplicates: groups of images that are nearly the same, with the one to keep, and copies of files. It never deletes anything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from comfy_api.v0_0_2 import io

from ..blocked import or_blocked
from ..host import ReadableFiles, fresh_fingerprint, log, names_missing_requirements, numbers_in_range, open_library, progress_on, show_text
from ..links import Hits as HitsRecord
from ..links import ImageId
from ..pictures import bytes_of, most_bytes
from ..search.asking import all_of, just_below
from ..types import CATEGORY, Hits
from ..wording import some
from .duplicates_report import OF_A_GROUP, as_json, bytes_to_free, copies_as_json, report_text
from .shown_images import library_inputs, load_pictures, none_passes, report_input, report_place, save_report

if TYPE_CHECKING:
    from ...db import Alike, Connection, Filter, Group, Library, Member, Pairs, Place, StoredFile

EITHER, LOOK, PIXELS, BOTH = "look or pixels", "look", "pixels", "look and pixels"
_PICTURES = 100  # that are loaded in all, of `most_bytes` together: 12 MB each at 1024 x 1024
_HASHED = 16  # pictures that are decoded for one transaction


class FindDuplicates(io.ComfyNode):
    """Looks at the whole library, or at what a filter lets pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitFindDuplicates",
            display_name="Find Duplicates",
            category=CATEGORY,
            description="Finds images that are nearly the same: upscales, recompressed or slightly changed versions. Suggests which of "
            "each group to keep, and why. Tells too which images lie in more than one file. Nothing is deleted or moved.",
            search_aliases=["near duplicates", "similar images", "copies of files", "dedupe", "phash", "clean up", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "alike_in",
                    options=[EITHER, LOOK, PIXELS, BOTH],
                    default=EITHER,
                    tooltip="look: the image vectors are near. pixels: the perceptual hashes of the pictures are near, which also "
                    "finds them where no CLIP Vision was connected. or: either will do; and: both.",
                ),
                io.Float.Input(
                    "lowest_similarity",
                    default=0.96,
                    min=0.5,
                    max=1.0,
                    step=0.005,
                    tooltip="For look: the least cosine similarity of two image vectors. Higher is stricter.",
                ),
                io.Int.Input(
                    "most_bits",
                    default=4,
                    min=0,
                    max=8,
                    tooltip="For pixels: in how many of their 64 bits two hashes may differ. 0 is strictest.",
                ),
                io.Boolean.Input(
                    "hash_missing",
                    default=True,
                    tooltip="For pixels: open the pictures that have no hash yet (indexed by an older version), once. That may take long.",
                ),
                io.Int.Input(
                    "show_groups",
                    default=8,
                    min=0,
                    max=200,
                    tooltip="So many groups are given as pictures and lists, the largest first: at most 12 images of each, and 100 in all. "
                    "The report file has all of them.",
                ),
                report_input("reports/duplicates"),
                *library_inputs(),
            ],
            outputs=[
                io.Image.Output("image", is_output_list=True, tooltip="The pictures of the groups shown, the one to keep first in each."),
                io.Int.Output("image_id", is_output_list=True, tooltip="Their ids in the library."),
                io.String.Output("path", is_output_list=True, tooltip="Where their files are; of an image in several, the one to keep."),
                io.Int.Output("group", is_output_list=True, tooltip="The number of the group, from 1."),
                io.Boolean.Output("keep", is_output_list=True, tooltip="True for the one to keep."),
                io.Float.Output(
                    "similarity", is_output_list=True, tooltip="Cosine similarity to the one to keep; 0 where a vector is missing."
                ),
                io.String.Output("report", tooltip="What was found, in words."),
                io.Int.Output("groups", tooltip="How many groups there are."),
                io.String.Output("report_file", tooltip="Where the report was written; empty where it was not."),
                Hits.Output(
                    "others", tooltip="All images of all groups but the ones to keep, for Label Images; only where there are any."
                ),
                io.Int.Output("copies", tooltip="How many files are copies of another, byte for byte. They are not among the others."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        """It looks at the disk: a report from before a file was deleted would keep that one, and let the last copy go."""
        return fresh_fingerprint()

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        alike_in: str,
        lowest_similarity: float,
        most_bits: int,
        hash_missing: bool,
        show_groups: int,
        save_report_as: str,
        library_name: str,
        library: str | None = None,
        filter_text: str = "",
        filter=None,
    ) -> io.NodeOutput:
        from ... import db
        from ...db.encoders import no_vectors

        report_place(save_report_as)
        opened, chosen, progress = open_library(library_name, library), all_of(filter, filter_text), progress_on(cls)
        with opened.connection() as connection:
            why = none_passes(connection, chosen)
            asked = {"alike_in": alike_in, "lowest_similarity": lowest_similarity, "most_bits": most_bits}
            if alike_in != PIXELS and db.active_encoder(connection, "image") is None:
                if alike_in != EITHER:
                    raise db.LibraryError(no_vectors("image"))
                alike_in = PIXELS  # which will do; the report says by what was compared
            notes = [why] if why else [db.unknown_names(connection, chosen), unsure_of_looks(connection) if alike_in != PIXELS else ""]
        found, groups, copied = [], [], []
        if not why:
            notes.append(hash_pictures(opened, chosen, progress) if alike_in != LOOK and hash_missing else "")
            lowest = just_below(lowest_similarity)
            found = _pairs(opened, alike_in, lowest, most_bits, chosen, progress)
            alike = db.Alike(lowest if alike_in != PIXELS else None, most_bits if alike_in != LOOK else None, alike_in == BOTH)
            groups, left_out = _groups(opened, found, alike, progress)
            notes.append(left_out)
            copied = _copied(opened, chosen, progress)
        show_text(cls, f"Done: {some(len(groups), 'group')}")
        text = report_text(groups, [pairs.method for pairs in found], [note for note in notes if note], copied)
        told = {"groups": [as_json(group) for group in groups], "copies": [copies_as_json(member) for member in copied]}
        written = save_report(save_report_as, {"library": opened.name, **asked, **told})
        text += f"\nAll of it: {written}" if written else ""
        return _outputs(opened, groups, show_groups, text, written, sum(len(member.copies) for member in copied))


class _OneFile(NamedTuple):
    """An image of which one file is asked for."""

    files: tuple[StoredFile]


class FilesThere:
    """Of the files of `count` images, asked for one image after another, which hold it now and may be read.

    Names of one file (links, a folder that lies in two roots) count once: as a copy, the only file there is might be deleted.
    """

    def __init__(self, stage: str, count: int, progress: Callable[[str, int, int], None]) -> None:
        self._stage, self._count, self._progress = stage, count, progress
        self._readable, self._asked = ReadableFiles(), 0
        self._without: Counter[str] = Counter()  # images, by why no file of them is there

    def __call__(self, files: Sequence[StoredFile]) -> list[Place]:
        from ... import db

        if self._asked % 100 == 0:
            self._progress(self._stage, self._asked, self._count)
        self._asked += 1
        places, seen = [], set()
        for file in files:
            place, note = self._readable.place_of(_OneFile((file,)))
            if place is None:
                places.append(db.Place(os.path.join(file.root, *file.path.split("/")), file.size, note))
            elif (itself := _itself(place)) not in seen:
                seen.add(itself)
                places.append(db.Place(place, file.size))
        if not seen:
            self._without[places[0].note if places else "no file of it is known any more"] += 1
        return places

    def left_out(self) -> str:
        """Of how many images no file is there, and why; '' where each has one."""
        count = self._without.total()
        if not count:
            return ""
        why = ", ".join(f"{note} ({number:,})" for note, number in self._without.most_common())
        return (
            f"{some(count, 'image')} near to others {'was' if count == 1 else 'were'} left out, without a file that can be read: {why}. "
            "Index Folder finds again what was moved, renamed or changed; Library Upkeep removes the rest from the library."
        )


def _itself(place: str) -> tuple[int, int] | str:
    """The same for all names of one file."""
    try:
        status = os.stat(place)
    except OSError:  # gone just now
        return place
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.normcase(place)  # some network drives number nothing


def hash_pictures(library: Library, chosen: Filter | None, progress: Callable[[str, int, int], None]) -> str:
    """Give every picture that has no perceptual hash one; a note where files could not be opened."""
    from ... import db
    from ...embedders.pictures.decode import ImageError, decode
    from ...embedders.pictures.phash import phash

    with library.connection() as connection:
        missing = db.images_without_phash(connection, chosen)
    unread, readable = 0, ReadableFiles()
    for start in range(0, len(missing), _HASHED):
        progress("Opening pictures without a hash", start, len(missing))
        with library.connection() as connection:
            images = db.get_images(connection, missing[start : start + _HASHED], gone_ones=True)
        hashes = {}
        for image in images:
            file, note = readable.of(image)
            try:
                if file is not None:
                    hashes[image.id] = phash(decode(file).pixels)
            except (ImageError, OSError) as error:
                file, note = None, f"the file can't be read: {error}"
            if file is None:
                unread += 1
                log.info("Image %d has no perceptual hash: %s", image.id, note)
        with library.connection() as connection:
            db.write_phashes(connection, hashes)
    were = "was not compared by its" if unread == 1 else "were not compared by their"
    return f"{some(unread, 'picture')} could not be opened, and {were} pixels." if unread else ""


def unsure_of_looks(connection: Connection) -> str:
    """What is to be said of similarities by another model than lowest_similarity is meant for, as a stand-in is."""
    from ... import db

    encoder = db.active_encoder(connection, "image")
    if encoder is None or encoder.name == "CLIP-ViT-H/14":
        return ""
    return (
        f"The looks are those of {encoder.name}: unlike pictures may be as near as lowest_similarity asks, which is meant for CLIP-ViT-H/14. "
        "Look at the groups before you label the others."
    )


def _pairs(
    library: Library, alike_in: str, lowest: float, most_bits: int, chosen: Filter | None, progress: Callable[[str, int, int], None]
) -> list[Pairs]:
    """Of looks and pixels both, those by pixels: which of them look alike is asked when their groups are parted."""
    from ... import db

    found = []
    if alike_in in (EITHER, LOOK):
        with library.connection() as connection:  # its own: it sets the planner's options
            found.append(db.look_alikes(connection, lowest, chosen, progress=progress))
    if alike_in != LOOK:
        with library.connection() as connection:
            pairs = db.same_hashes(connection, most_bits, chosen, progress=progress)
        found.append(replace(pairs, method=f"{pairs.method}, and the image vectors of those near by them") if alike_in == BOTH else pairs)
    return found


def _groups(
    library: Library, found: Sequence[Pairs], alike: Alike, progress: Callable[[str, int, int], None]
) -> tuple[list[Group], str]:
    """The largest first, each with those alone that are near to its kept one, so that the others may go; and who was left out."""
    from ... import db

    hanging = db.groups_of(*found)
    there = FilesThere("Choosing the ones to keep", sum(map(len, hanging)), progress)
    with library.connection() as connection:
        groups = list(db.duplicate_groups(connection, hanging, there, alike))
    return sorted(groups, key=lambda group: -len(group.members)), there.left_out()


def _copied(library: Library, chosen: Filter | None, progress: Callable[[str, int, int], None]) -> list[Member]:
    """The images that lie in more than one file, those first whose copies take most."""
    from ... import db

    with library.connection() as connection:
        ids = db.ids_with_copies(connection, chosen)
        copied = list(db.copied_images(connection, ids, FilesThere("Looking at copies", len(ids), progress)))
    return sorted(copied, key=lambda member: -bytes_to_free(member))


def shown_members(groups: Sequence[Group], show_groups: int) -> list[tuple[int, int]]:
    """(place of the group, place in it) of the images that are shown: each group's kept one and some of its others, 100 in all."""
    places, room = [], most_bytes()
    for number, group in enumerate(groups[:show_groups]):
        count = min(len(group.members), OF_A_GROUP, _PICTURES - len(places))
        while count > 1 and bytes_of(group.members[:count]) > room:
            count -= 1
        if count < 2:
            break
        room -= bytes_of(group.members[:count])
        places += [(number, place) for place in range(count)]
    return places


def not_shown(groups: Sequence[Group], show_groups: int, places: Sequence[tuple[int, int]]) -> str:
    """Which images of the groups asked for are not among the `places` of `shown_members`; '' where all are."""
    asked = groups[:show_groups]
    if len(places) == sum(len(group.members) for group in asked):
        return ""
    groups_shown = len({number for number, _ in places})
    return (
        f"Shown are {len(places)} images of the first {groups_shown} groups, at most {OF_A_GROUP} of a group and {_PICTURES} in all. "
        f"All their pictures take {most_bytes() / 1e9:.1f} GB of memory at most. "
        "save_report_as writes all of them to a file, and others has all but the ones to keep."
    )


def _outputs(library: Library, groups: Sequence[Group], show_groups: int, text: str, written: str, copies: int) -> io.NodeOutput:
    from ... import db

    places = shown_members(groups, show_groups)
    rows = [
        (ImageId(one.members[place].id, library.name), one.members[place].path, number + 1, place == 0, one.cosines[place] or 0.0)
        for number, place in places
        for one in [groups[number]]
    ]
    text = "\n".join(filter(None, [text, not_shown(groups, show_groups, places)]))
    pictures = load_pictures(library, [row[0] for row in rows], "show_groups", show_groups)
    ids, paths, numbers, keep, similarity = map(list, zip(*rows)) if rows else ([], [], [], [], [])
    others = [(member.id, cosine) for group in groups for member, cosine in zip(group.members[1:], group.cosines[1:])]
    hits = tuple(db.Hit(id_, cosine or 0.0, rank) for rank, (id_, cosine) in enumerate(others, start=1))
    return io.NodeOutput(
        *(or_blocked(values) for values in (pictures.tensors, ids, paths, numbers, keep, similarity)),
        text,
        len(groups),
        written,
        or_blocked(hits and HitsRecord(library.name, hits, method="near-duplicates of the ones to keep")),
        copies,
        ui={"images": pictures.shown, "text": [text]},
    )
