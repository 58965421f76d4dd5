"""The report of Library Upkeep, for a person to read and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..db import Problem
from ..db.status import in_bytes
from .links import KINDS
from .upkeep import NAMED, Found, Pruned

_MAKE_ANEW = "repair removes them; then queue Index Folder, which makes them anew."


def problems(found: Found) -> list[Problem]:
    """What is wrong, each with what to do; the files first, then what is in the library, then what Library Status tells."""
    said = [problem for name, _, presence in found.files for problem in _of_files(name, presence)]
    for encoder, ids in found.vectors or ():
        said.append(Problem(f"{len(ids):,} vectors by {encoder.name} are zero, not finite or of another length.", _MAKE_ANEW))
    for encoder, ids in found.states or ():
        said.append(Problem(f"The token states of {len(ids):,} texts by {encoder.name} are damaged.", _MAKE_ANEW))
    if found.loose.images:
        said.append(
            Problem(f"{found.loose.images:,} images have no known file any more: theirs were overwritten.", "prune removes them.")
        )
    if found.loose.texts:
        states = f", whose token states take {in_bytes(found.loose.states_bytes)}" if found.loose.states_bytes else ""
        remedy = "Keep them, or let prune remove them with unused_texts on."
        said.append(Problem(f"{found.loose.texts:,} texts belong to no image any more{states}.", remedy))
    return said + [problem for problem in found.status.problems if not _told_better(problem)]


def _of_files(name: str, presence: Any) -> list[Problem]:
    if not presence.mounted:
        return []  # Library Status tells it
    said = []
    if presence.changed:
        what = f"{presence.changed:,} files in {name} were changed since they were indexed."
        said.append(Problem(what, "Queue Index Folder on it: it reads them."))
    if presence.gone:
        remedy = "Index Folder finds those again that were moved; prune removes the others from the library."
        said.append(Problem(f"{len(presence.gone):,} files in {name} are gone.", remedy))
    if presence.doubtful and not presence.there:
        said.append(
            Problem(
                f"Not one of the {len(presence.doubtful):,} known files in {name} ({presence.root}) is there: its drive may not be "
                "mounted.",
                "Mount it. If they were all deleted: prune with even_if_all_are_gone on.",
            )
        )
    elif presence.doubtful:
        folders = ", ".join(list(presence.mount_points)[:5]) + (", ..." if len(presence.mount_points) > 5 else "")
        said.append(
            Problem(
                f"{len(presence.doubtful):,} files in {name} are not there, and may be on a drive that is not mounted in or at {folders}.",
                "Mount it. If they were deleted: remove folders that are empty, and links that lead nowhere, or prune with "
                "even_if_all_are_gone on.",
            )
        )
    if presence.unread:
        said.append(Problem(f"{presence.unread:,} files in {name} can't be looked at.", "Check the permissions of their folders."))
    return said


def _told_better(problem: Problem) -> bool:
    """Library Status goes by the marks of the last run."""
    return "when their folder was last indexed" in problem.what


def upkeep_text(found: Found, action: str, pruned: Pruned | None) -> str:
    lines = [f"Library '{found.status.name}': {found.status.images:,} images, {found.status.paths:,} files, {found.status.texts:,} texts"]
    if pruned is not None:
        lines += _pruned_lines(pruned, action)
    lines += found.done or (["There was nothing to repair that needs no model."] if action == "repair" else [])
    said = problems(found)
    for number, problem in enumerate(said, start=1):
        lines += [f"{number}. {problem.what}", f"   -> {problem.remedy}"]
    lines += [] if said else ["No problem found."]
    lines += ["", "Files:"]
    for name, _, presence in found.files:
        lines.append(
            f"  {name}: {presence.there:,} of {presence.known:,} are there, {presence.changed:,} of them changed; "
            f"{len(presence.gone):,} gone"
            if presence.mounted
            else f"  {name}: {presence.root} is not there now, its {presence.known:,} files were not judged"
        )
    for name, path, files in found.unconfigured:
        lines.append(f"  {name}: {path} is no configured folder now, its {files:,} files were not judged")
    lines += ["", "Images with a vector, of those that could have one:"]
    lines += [f"  {KINDS[known.kind]}: {known.have:,} of {known.could:,}" for known in found.status.coverage]
    if found.vectors is None:
        lines.append("Vectors and token states were not read (thorough is off).")
    return "\n".join(lines)


def _pruned_lines(pruned: Pruned, action: str) -> list[str]:
    done = action == "prune"
    gone = pruned.gone
    stay = gone.images_of_them - gone.images
    lines = [
        f"{'Removed' if done else 'prune would remove'}: {gone.files:,} files that are gone, {gone.images:,} images that have no other file"
        + (f" ({gone.given:,} of them with a label, namespace or rating of yours)" if gone.given else "")
        + (f"; {stay:,} images stay, with files elsewhere" if stay > 0 else "")
        + (f"; {pruned.fileless:,} images without any known file" if pruned.fileless else "")
        + (f"; {pruned.texts:,} texts that no image has" if pruned.texts and done else "")
        + "."
    ]
    lines += [f"  {name}" for name in pruned.named]
    if gone.files > NAMED:
        lines.append(f"  and {gone.files - NAMED:,} more.")
    return lines


def upkeep_record(found: Found, action: str, pruned: Pruned | None) -> dict[str, Any]:
    """As JSON."""
    return {
        "library": found.status.name,
        "action": action,
        "images": found.status.images,
        "coverage": [asdict(coverage) for coverage in found.status.coverage],
        "files": [
            {
                "root": name,
                "path": str(presence.root),
                "mounted": presence.mounted,
                "known": presence.known,
                "there": presence.there,
                "changed": presence.changed,
                "gone": len(presence.gone),
                "doubtful": len(presence.doubtful),
                "unread": presence.unread,
            }
            for name, _, presence in found.files
        ],
        "unconfigured": [{"root": name, "path": path, "files": files} for name, path, files in found.unconfigured],
        "unsound_vectors": _counted(found.vectors),
        "damaged_token_states": _counted(found.states),
        "images_without_files": found.loose.images,
        "unused_texts": found.loose.texts,
        "done": found.done,
        "pruned": None if pruned is None else _pruned_record(pruned),
        "problems": [asdict(problem) for problem in problems(found)],
    }


def _pruned_record(pruned: Pruned) -> dict[str, Any]:
    return {**asdict(pruned.gone), "without_files": pruned.fileless, "texts": pruned.texts, "named": pruned.named}


def _counted(found: Any) -> dict[str, int] | None:
    return None if found is None else {f"{encoder.family} by {encoder.name}": len(ids) for encoder, ids in found}
