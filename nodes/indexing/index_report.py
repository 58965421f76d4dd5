"""The report of Index Folder, for a person to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..wording import first_lines, first_of, given, some

if TYPE_CHECKING:
    from ...db import Counts, GoingImage, Words
    from ...embedders.pipeline import Encoders, IndexReport
    from ...embedders.pipeline.records import Named

NAMED_FILES = 50
NAMED_FIRST = 3  # of the skipped ones, where a node shows them without scrolling
LABELS_NAMED = 10  # of single lines of a list
OVERWRITTEN_NAMED = 10
TOLD_AFTER = 1.0  # seconds for indexes and fits that are worth a word
WAITING = 0.2  # share of a run's time that is worth a word
PROMPTS = {
    "exact": "exact",
    "inferred": "inferred (by a rule that may be wrong)",
    "unknown": "unknown (made when the graph ran, and not kept)",
    "none": "none in the file",
}


def summary(report: IndexReport, counts: Counts) -> dict[str, Any]:
    """The report's numbers for programs, as JSON takes them."""
    return {
        "found": report.found,
        "added": report.added,
        "unchanged": report.unchanged,
        "known_elsewhere": report.known_elsewhere,
        "reread": report.reread,
        "sidecars_read": report.sidecars_read,
        "read_anew": report.read_anew,
        "elsewhere": report.elsewhere,
        "others": sorted(report.others),
        "overwritten": [list(one) for one in sorted(report.overwritten)],
        "replaced": [list(one) for one in sorted(report.replaced)],
        "missing": report.missing,
        "moved": report.moved,
        "all_gone": report.all_gone,
        "labels": sorted(report.labels),
        "labels_of_lines": sorted(report.labels_of_lines),
        "namespace": "".join(report.namespaces),
        "labelled": len(report.labelled),
        "unfinished": report.unfinished,
        "unrefreshed": report.unrefreshed,
        "prompts": report.prompts,
        "unknown": [list(file) for file in report.unknown],
        "skipped": [list(file) for file in report.skipped],
        "skipped_total": report.skipped.total,
        "seconds": report.seconds,
        "seconds_after": report.seconds_after,
        "images_per_second": _rate(report),
        "waited": report.waited,
        "images": counts.images,
        "texts": counts.texts,
        "vectors": counts.vectors,
        "images_with_vectors": counts.images_with,
        "token_states": counts.token_states,
        "token_states_bytes": counts.token_states_bytes,
    }


def _rate(report: IndexReport) -> float | None:
    """Images read in a second; None when none had to be read."""
    read = report.added + report.known_elsewhere
    return read / report.seconds if read and report.seconds > 0 else None


def report_text(
    report: IndexReport,
    counts: Counts,
    encoders: Encoders,
    warnings: Sequence[str],
    words: Words,
    overwritten: Sequence[GoingImage] = (),
    restarted: str = "",
) -> str:
    """Lines that say what this run did and what there is to do, since a node shows the first ones; then what the library now holds,
    and all that was left out, with why. `restarted` tells that the server was, where it was."""
    lines = _found(report)
    if report.unfinished:
        lines.insert(0, "This run stood back before its end; the next one goes on where it stopped.")
    lines += [restarted] if restarted else []
    skipped = _named("Skipped", report.skipped)
    lines += skipped[:NAMED_FIRST]
    if len(skipped) > NAMED_FIRST:
        lines.append(f"Skipped {report.skipped.total - NAMED_FIRST:,} more; they stand below.")
    lines += _to_do(report, encoders, words)
    lines += _overwritten(overwritten, words)
    lines += [f"Note: {warning}" for warning in warnings]
    lines += _labelled(report)
    if report.sidecars_read:
        lines.append(f"Known images whose side-car text came, went or changed: {report.sidecars_read}.")
    if report.read_anew:
        lines.append(
            f"Read by an older version before, and anew now: {some(report.read_anew, 'image')}, from the metadata that the library "
            f"keeps; files without a prompt there, which were opened again: {report.opened_again}."
        )
    if report.prompts:
        told = "; ".join(f"{meaning} {report.prompts[kind]}" for kind, meaning in PROMPTS.items() if report.prompts.get(kind))
        lines.append(f"Prompts of the images read: {told}.")
    long = [f"{seconds:.0f} s for {what}" for what, seconds in report.waited.items() if seconds >= max(1.0, WAITING * report.seconds)]
    if long and any(report.vectors.values()):
        lines.append(f"The models waited {' and '.join(long)}.")
    made = ", ".join(f"{kind} {n}" if kind == "image" else f"{kind} {some(n, 'text')}" for kind, n in report.vectors.items())
    lines.append(f"Vectors made now: {made or 'none'}.")
    held = ", ".join(_held(kind, n, counts.images_with[kind]) for kind, n in counts.vectors.items())
    lines.append(f"The library holds {some(counts.images, 'image')}, {some(counts.texts, 'text')}; images with a vector: {held}.")
    states = f"Token states: {some(counts.token_states, 'text')} kept"
    if counts.token_states:
        states += f"; their table takes {counts.token_states_bytes / 1e6:.1f} MB"
    if report.states_kept:
        states += f"; {report.states_kept} kept now ({report.states_bytes / 1e6:.1f} MB)"
    if report.states_left_out:
        states += f"; {report.states_left_out} not kept: they do not fit {words.states_budget}"
    lines.append(states + ".")
    if names := [model.name for model in (encoders.text, encoders.image, encoders.clip) if model is not None]:
        lines.append(f"Models: {'; '.join(names)}. What they took to load before this run is not counted.")
    lines += skipped[NAMED_FIRST:]
    lines += _named("Prompt unknown:", report.unknown)
    lines += _named("Indexed without all of its metadata:", report.unread_metadata)
    return "\n".join(lines)


def _to_do(report: IndexReport, encoders: Encoders, words: Words) -> list[str]:
    """What was not made or is away, each with what to do about it."""
    left_out = [
        what
        for what, model in (
            ("image vectors" + words.to_connect("clip_vision"), encoders.image),
            ("prompt and negative vectors" + words.to_connect("text_embedder"), encoders.text),
            ("CLIP-L and CLIP-G vectors, token states" + words.to_connect("clip"), encoders.clip),
        )
        if model is None
    ]
    lines = [f"Not made in this run: {'; '.join(left_out)}."] if left_out else []
    if report.elsewhere:
        who = f" ({'; '.join(sorted(report.others))})" if report.others else ""
        lines.append(f"Being indexed by another run{who}, and left to it: {report.elsewhere}.")
    if report.missing:
        moved = f", {report.moved} of them to another place" if report.moved else ""
        gone = f"Known files that are gone: {report.missing}{moved}."
        lines.append(f"{gone} They are marked, and nothing of them is removed; {words.see_gone}.")
    if report.all_gone:
        lines.append(
            f"Not there, in folders that are empty or have none of their known files left: {some(report.all_gone, 'known file')}. They were not "
            "marked as gone: if this is a drive, mount it; if a folder was renamed here, index the one above; if they are deleted, "
            f"{words.see_gone}."
        )
    return lines + [
        f"Searches by {family} go by this run's model from now on, and find no image without its vector. The former one, {former}, is taken "
        "again by a run with it."
        for family, former in sorted(report.replaced)
    ]


def _found(report: IndexReport) -> list[str]:
    """What became of the files found, in numbers that add up, and how many more were skipped that are not among them."""
    done = report.added + report.unchanged + report.known_elsewhere + report.reread + report.elsewhere
    left = max(0, report.found - done)  # they could not be read, or were not come to
    waiting, beside = max(0, left - report.skipped.total), max(0, report.skipped.total - left)
    parts = [
        f"{report.added:,} added",
        f"{report.unchanged:,} unchanged",
        f"{report.known_elsewhere:,} whose content was known (copied, moved, renamed or only touched)",
        *([f"{report.reread:,} known and read again"] if report.reread else []),
        *([f"{report.elsewhere:,} left to another run"] if report.elsewhere else []),
        *([f"{waiting:,} not read yet"] if waiting else []),
        f"{report.skipped.total:,} skipped",
    ]
    rate = _rate(report)
    took = f"Indexing took {report.seconds:.1f} s" + (f", for {rate:.1f} images read a second" if rate else "")
    took += f"; then {report.seconds_after:.1f} s went into what searches use" if report.seconds_after >= TOLD_AFTER else ""
    lines = [f"Found {some(report.found, 'image')}: {', '.join(parts)}. {took}."]
    if beside:
        lines.append(
            f"Of what was skipped, {beside:,} {'is' if beside == 1 else 'are'} not among these: not found as an image, or counted already. The "
            "reasons stand below."
        )
    return lines


def _held(kind: str, vectors: int, images: int) -> str:
    """Images of one text share its vectors, so there are fewer of these."""
    return f"{kind} {images}" if kind == "image" or not vectors else f"{kind} {images} ({some(vectors, 'text')})"


def _overwritten(images: Sequence[GoingImage], words: Words) -> list[str]:
    if not images:
        return []
    return [
        f"Overwritten by another picture or an edited one, and known by no other file: {some(len(images), 'image')} with a rating, label or namespace. The library "
        f"keeps what it knows of them: the filter -has:file finds them; {words.see_gone}. If one was moved, index the folder that it lies in.",
        *first_lines([f"  {image.root}: {image.path}{given(image)}" for image in images], OVERWRITTEN_NAMED),
    ]


def _labelled(report: IndexReport) -> list[str]:
    given = [f"{'label' if len(report.labels) == 1 else 'labels'} {', '.join(sorted(report.labels))}"] if report.labels else []
    given += [f"namespace {name}" for name in report.namespaces]
    if report.labelled:
        if report.labels_of_lines:
            given.append(f"labels of single lines: {first_of(sorted(report.labels_of_lines), LABELS_NAMED)}")
        told = f"Given to {some(len(report.labelled), 'image')}: {'; '.join(given)}."
        return [told, *_filtered_otherwise(report.labels)]
    if not given or not report.found or report.unfinished:
        return []
    return [f"All images of this run had {'; '.join(given)} before.", *_filtered_otherwise(report.labels)]


def _filtered_otherwise(labels: Iterable[str]) -> list[str]:
    """How to find labels that read as syntax where a filter is written, as `-draft` and `"a b"`: any text is taken as one."""
    from ...db import quoted

    odd = [label for label in sorted(labels) if label.startswith("-") or '"' in label]
    if not odd:
        return []
    taken = " A minus is a part of a label here; Label Images takes labels away." if any(label.startswith("-") for label in odd) else ""
    return [f"In a filter text write {' '.join(f'label:{quoted(label)}' for label in odd)}.{taken}"]


def _named(what: str, files: Named) -> list[str]:
    """A line for each file with the reason, and one that counts the rest."""
    lines = [f"{what} {path}: {reason}" for path, reason in files[:NAMED_FILES]]
    if files.total > NAMED_FILES:
        lines.append(f"{what} {files.total - NAMED_FILES} more.")
    return lines
