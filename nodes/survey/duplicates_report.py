"""What Find Duplicates tells: its groups and the copies in words, and as JSON; without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..wording import some

if TYPE_CHECKING:
    from ...db import Group, Member

GROUPS_TOLD = 100  # and images with copies
OF_A_GROUP = 12  # images that are shown, or told; and files of an image


def report_text(groups: Sequence[Group], methods: Sequence[str], notes: Sequence[str] = (), copied: Sequence[Member] = ()) -> str:
    """The groups in words, the largest first, and then the images of `copied`, which lie in more than one file."""
    lines = [f"{_of_groups(groups)}. {_of_copies(copied)}. Nothing was deleted."]
    lines += [f"Compared by: {'; '.join(methods)}."] if methods else []
    lines += notes
    for number, group in enumerate(groups[:GROUPS_TOLD], start=1):
        lines.append(f"Group {number}: {len(group.members)} images{_least(group)}. Keep the first: {group.reason}.")
        for one in list(zip(group.members, group.cosines, group.bits))[:OF_A_GROUP]:
            lines += [f"    {_line(*one)}", *_elsewhere(one[0])]
        lines += [f"    ... and {some(len(group.members) - OF_A_GROUP, 'image')} more"] * (len(group.members) > OF_A_GROUP)
    lines += _more(len(groups), "group")
    if copied:
        lines.append("In more than one file, byte for byte the same. Keep the first: the oldest; of equally old ones the shortest path.")
    for member in copied[:GROUPS_TOLD]:
        lines += [f"    #{member.id}  {_picture(member)}, {1 + len(member.copies)} files  {member.path}", *_elsewhere(member)]
    return "\n".join(lines + _more(len(copied), "image"))


def bytes_to_free(member: Member) -> int:
    """How much an image's copies take beside its one file."""
    return sum(place.bytes for place in member.copies)


def as_json(group: Group) -> dict[str, Any]:
    """A group for programs: the first member is the one to keep."""
    members = [
        {
            "image_id": member.id, "path": member.path, "width": member.width, "height": member.height, "bytes": member.bytes,
            "rating": member.rating, "labels": member.labels, "similarity": cosine, "differing_bits": bits,
            "other_files": [asdict(place) for place in member.elsewhere],
        }
        for member, cosine, bits in zip(group.members, group.cosines, group.bits)
    ]  # fmt: skip
    return {"keep": group.members[0].id, "reason": group.reason, "images": members}


def copies_as_json(member: Member) -> dict[str, Any]:
    """An image in more than one file: `keep` is one of these, and each other whose note is empty is a copy of it."""
    others = [asdict(place) for place in member.elsewhere]
    return {"image_id": member.id, "keep": member.path, "bytes": member.bytes, "bytes_to_free": bytes_to_free(member), "other_files": others}


def _of_groups(groups: Sequence[Group]) -> str:
    from ...db.sizes import in_bytes

    said = f"{some(len(groups), 'group')} of near-duplicates"
    others = [member for group in groups for member in group.members[1:]]
    size = sum(member.bytes for member in others)
    return f"{said}: {some(len(others), 'image')} beside the one{'s' * (len(groups) > 1)} to keep, {in_bytes(size)}" if groups else said


def _of_copies(copied: Sequence[Member]) -> str:
    from ...db.sizes import in_bytes

    if not copied:
        return "No image lies in more than one file"
    copies, size = sum(len(member.copies) for member in copied), sum(map(bytes_to_free, copied))
    number = "copy" if copies == 1 else "copies"
    return f"{some(len(copied), 'image')} lie{'s' * (len(copied) == 1)} in more than one file: {copies:,} {number}, {in_bytes(size)}"


def _least(group: Group) -> str:
    """How near the farthest is to the one to keep."""
    known = [cosine for cosine in group.cosines[1:] if cosine is not None]
    return f", similarity to the one to keep {min(known):.3f}{' or more' * (len(known) > 1)}" if known else ""


def _line(member: Member, cosine: float | None, bits: int | None) -> str:
    near = [f"similarity {cosine:.3f}"] if cosine is not None else []
    near += [f"{some(bits, 'bit')} differ{'s' * (bits == 1)}"] if bits is not None else []
    return f"#{member.id}  {_picture(member)}  {member.path}  ({', '.join(near) or 'not compared'})"


def _picture(member: Member) -> str:
    from ...db.sizes import in_bytes

    return f"{member.width} x {member.height}, {in_bytes(member.bytes)}"


def _elsewhere(member: Member) -> list[str]:
    """A line for each further file of an image."""
    told = [f"        {place.path}  [{place.note or 'a copy'}]" for place in member.elsewhere[:OF_A_GROUP]]
    left = len(member.elsewhere) - OF_A_GROUP
    return told + [f"        ... and {some(left, 'file')} more"] * (left > 0)


def _more(count: int, what: str) -> list[str]:
    left = count - GROUPS_TOLD
    return [f"... and {some(left, what)} more: save_report_as writes all of them to a file."] if left > 0 else []
