"""The report of Library Upkeep, for a person to read and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...db import GoneOfRoot, Problem, Words
from ...db.health.problems import MISSING
from ...db.sizes import in_bytes
from ..links import KINDS
from ..wording import given, some
from .upkeep import LISTED, NAMED, Found, Pruned, place_of
from .upkeep_actions import PRUNE, REPAIR

NAMED_HERE = 10  # changed files, and gone ones, of each root


def problems(found: Found) -> list[Problem]:
    """What is wrong, each with what to do; the files first, then what is in the library, then what Library Status tells."""
    words = found.status.words
    said = [problem for name, id_, presence in found.files for problem in _of_files(name, presence, found.gone.get(id_), words)]
    make_anew = f"repair removes them, and {words.indexing} then makes them anew."
    for encoder, ids in found.vectors or ():
        said.append(Problem(f"{some(len(ids), 'vector')} by {encoder.name}: zero, not finite or of another length.", make_anew))
    for encoder, ids in found.states or ():
        said.append(Problem(f"The token states of {some(len(ids), 'text')} by {encoder.name} are damaged.", make_anew))
    if found.loose.images:
        what = f"{_are(found.loose.images, 'image')} without any known file: theirs were overwritten."
        said.append(Problem(what, "prune removes what has none."))
    if found.loose.texts:
        states = f", whose token states take {in_bytes(found.loose.states_bytes)}" if found.loose.states_bytes else ""
        remedy = f"Keep them, or let prune remove them with {words.unused_texts}."
        said.append(Problem(f"{_are(found.loose.texts, 'text')} of no image any more{states}.", remedy))
    return said + [problem for problem in found.status.problems if problem.key != MISSING]  # which goes by the marks of the last run


def _are(n: int, what: str) -> str:
    return f"{some(n, what)} {'is' if n == 1 else 'are'}"


def _of_files(name: str, presence: Any, gone: GoneOfRoot | None, words: Words) -> list[Problem]:
    if not presence.mounted:
        return []  # Library Status tells it
    said = []
    if presence.changed:
        what = f"Changed in {name} since they were indexed: {some(len(presence.changed), 'file')}."
        said.append(Problem(what, f"{words.index} on it: it reads them."))
    if presence.gone and gone:
        what = f"Gone from {name}: {some(len(presence.gone), 'file')}"
        if gone.elsewhere:
            what += f"; known elsewhere too: {some(gone.elsewhere, 'image')} of theirs (moved or copied)"
        said.append(Problem(f"{what}.", _remedy(gone, words)))
    if presence.doubtful and not presence.there:
        said.append(
            Problem(
                f"Not one of {some(len(presence.doubtful), 'known file')} in {name} ({presence.root}) is there: its drive may not be "
                "mounted.",
                f"Mount it. If they were all deleted: prune with {words.all_gone}.",
            )
        )
    elif presence.doubtful:
        folders = ", ".join(list(presence.mount_points)[:5]) + (", ..." if len(presence.mount_points) > 5 else "")
        said.append(
            Problem(
                f"Not there in {name}: {some(len(presence.doubtful), 'file')}, perhaps on a drive that is not mounted in or at {folders}.",
                "Mount it. If they were deleted: remove folders that are empty, and links that lead nowhere, or prune with "
                f"{words.all_gone}.",
            )
        )
    if presence.unread:
        said.append(Problem(f"{some(presence.unread, 'file')} in {name} can't be looked at.", "Check the permissions of their folders."))
    return said


def _remedy(gone: GoneOfRoot, words: Words) -> str:
    if not gone.lost:
        return "prune forgets these places. No image goes with them, nor what you gave it."
    if gone.unsought:
        of = "" if gone.unsought == gone.lost and not gone.elsewhere else f"{gone.unsought:,} of them nobody has looked for elsewhere: "
        return f"{of}{words.indexing} finds those again that were moved; prune then removes them from the library."
    return f"prune removes them, and the images that have no other file, once {words.indexing} has looked for them elsewhere."


def upkeep_text(found: Found, action: str, pruned: Pruned | None) -> str:
    lines = [
        f"Library '{found.status.name}': {some(found.status.images, 'image')}, {some(found.status.paths, 'file')}, "
        f"{some(found.status.texts, 'text')}"
    ]
    if pruned is not None:
        lines += _pruned_lines(pruned, action, found.status.words)
    lines += found.done or (["There was nothing to repair that needs no model."] if action == REPAIR else [])
    said = problems(found)
    for number, problem in enumerate(said, start=1):
        lines += [f"{number}. {problem.what}", f"   -> {problem.remedy}"]
    lines += [] if said else ["No problem found."]
    lines += ["", "Files:"]
    for name, _, presence in found.files:
        lines.append(
            f"  {name}: {presence.there:,} of {presence.known:,} are there, {len(presence.changed):,} of them changed; "
            f"{len(presence.gone):,} gone"
            if presence.mounted
            else f"  {name}: {presence.root} is not there now, with {some(presence.known, 'file')}, which are not judged"
        )
        lines += _some_of("changed", presence.changed)
        lines += _some_of("gone", presence.gone) if pruned is None else []  # else they stand above
    for name, path, files in found.unconfigured:
        lines.append(f"  {name}: {path} is no configured folder now; {some(files, 'file')}, not judged")
    lines += ["", "Images with a vector, of those that could have one:"]
    lines += [f"  {KINDS[known.kind]}: {known.have:,} of {known.could:,}" for known in found.status.coverage]
    if found.vectors is None:
        lines.append("Vectors and token states were not read: a thorough verify does.")
    return "\n".join(lines)


def _some_of(what: str, paths: list[str]) -> list[str]:
    lines = [f"    {what}: {path}" for path in sorted(paths)[:NAMED_HERE]]
    return lines + ([f"    {what}: {len(paths) - NAMED_HERE:,} more"] if len(paths) > NAMED_HERE else [])


def _pruned_lines(pruned: Pruned, action: str, words: Words) -> list[str]:
    done = action == PRUNE
    gone = pruned.gone
    stay = gone.images_of_them - gone.images
    lines = [
        f"{'Removed' if done else 'prune would remove'}: {some(gone.files, 'file')} gone from the disk, "
        + f"{some(gone.images, 'image')} with no other file"
        + (f" ({gone.given:,} of them with a label, namespace or rating of yours)" if gone.given else "")
        + (f"; {some(pruned.fileless, 'image')} without any known file" if pruned.fileless else "")
        + (f"; {'' if done else f'with {words.unused_texts} also '}{some(pruned.texts, 'text')} of no image" if pruned.texts else "")
        + (f". What stays: {some(stay, 'image')} with files elsewhere" if stay > 0 else "")
        + "."
    ]
    if pruned.unsought:
        lines.append(
            f"{pruned.unsought:,} of these {'has' if pruned.unsought == 1 else 'have'} gone since {words.indexing} last looked. "
            f"{words.index} first: it finds what was only moved or renamed, which keeps its labels then."
        )
    if pruned.going:
        first = ", those with something of yours first" if any(map(given, pruned.going)) else ""
        lines.append(f"Images that {'went' if done else 'go'}, with the last place of each{first}:")
        lines += [f"  {place_of(image)}{given(image)}" for image in pruned.going[:NAMED]]
        lines += _more(gone.images + pruned.fileless - NAMED)
    if pruned.moved:
        lines.append(f"Moved, or copies: {some(pruned.moved_files, 'file')} of images that stay, with all that you gave them:")
        lines += [f"  {name}" for name in pruned.moved[:NAMED_HERE]]
        lines += _more(pruned.moved_files - NAMED_HERE)
    return lines


def _more(left: int) -> list[str]:
    return [f"  and {left:,} more."] if left > 0 else []


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
                "changed": len(presence.changed),
                "changed_files": sorted(presence.changed)[:LISTED],
                "gone": len(presence.gone),
                "gone_files": sorted(presence.gone)[:LISTED],
                "elsewhere": found.gone[id_].elsewhere if id_ in found.gone else 0,
                "doubtful": len(presence.doubtful),
                "unread": presence.unread,
            }
            for name, id_, presence in found.files
        ],
        "unconfigured": [{"root": name, "path": path, "files": files} for name, path, files in found.unconfigured],
        "unsound_vectors": _counted(found.vectors),
        "damaged_token_states": _counted(found.states),
        "images_without_files": found.loose.images,
        "unused_texts": found.loose.texts,
        "done": found.done,
        "pruned": None if pruned is None else _pruned_record(pruned),
        "problems": [problem.told() for problem in problems(found)],
    }


def _pruned_record(pruned: Pruned) -> dict[str, Any]:
    return {
        **asdict(pruned.gone),
        "moved_files": pruned.moved_files,
        "without_files": pruned.fileless,
        "texts": pruned.texts,
        "named": pruned.named,
        "going": [asdict(image) for image in pruned.going],
    }


def _counted(found: Any) -> dict[str, int] | None:
    return None if found is None else {f"{encoder.family} by {encoder.name}": len(ids) for encoder, ids in found}
