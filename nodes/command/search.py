"""`run.py search`: List Images, from a shell."""

from __future__ import annotations

import sys

from .context import Context
from .errors import DONE, UsageError
from .report import check_report, write_report


def search(context: Context) -> int:
    """Print what was found, which may be nothing; the exit code.

    Raises:
        UsageError: there is no word in the words, the filter can't be understood, or two reports go to one place.
    """
    from ...db import FilterError
    from ..host import ReadableFiles
    from ..routes.images import among_others
    from ..search.asking import all_of, list_by_filter
    from ..search.filter_text import filter_text
    from ..stored_images import image_line, ordered_by
    from ..wording import some

    given = context.given
    if given.paths and given.json == "-":
        raise UsageError("--paths and --json - both ask for the standard output. Leave one out, or name a file after --json.")
    check_report(given.json)
    words = " ".join(given.words)
    if words.strip() and not filter_text(words=words):
        raise UsageError(f"There is no word in {words!r}. Write at least one letter or digit.")
    try:
        wanted = all_of(all_of(None, filter_text(words=words)), given.filter)
    except FilterError as error:
        raise UsageError(str(error)) from error
    library = context.library()
    listed = list_by_filter(library, wanted, given.order, given.top_k, given.offset)
    records = [among_others(image) for image in listed.images]
    asked = wanted.text if wanted else ""
    that = f" that pass{'es' * (listed.total == 1)} {asked}" if asked else ""
    if records:
        first, note = f"{given.offset + 1} to {given.offset + len(records)} of {some(listed.total, 'image')}{that}", listed.note
    elif listed.total:
        first = note = f"Of {some(listed.total, 'image')}{that} none is after the first {given.offset:,}. Lower --offset."
    else:
        note = listed.note or ("Ask with fewer or other words (*ox: the end of one), or a looser filter." if wanted else "Run `index`.")
        first = f"There are no images{that}. {note}"
    record = {"library": library.name, "filter": asked, "order": given.order, "total": listed.total, "note": note, "images": records}
    lines = [first, *([note] if records and note else [])]
    for rank, (image, told) in enumerate(zip(listed.images, records), given.offset + 1):
        lines += [f"{rank}. {image_line(image, told['note'], ordered_by(image, given.order))}", f"   {told['path']}"]
    if given.paths:
        paths = [place for place, _ in map(ReadableFiles().place_of, listed.images) if place]
        gone = len(records) - len(paths)
        left_out = f"{some(gone, 'file')} of these can't be had: {'it is' if gone == 1 else 'they are'} left out." if gone else ""
        print("\n".join(filter(None, [first, listed.note if records else "", left_out])), file=sys.stderr)  # so that the paths stand alone
        lines = paths
    write_report(given.json, record, "\n".join(lines), "utf-8" if given.paths and not sys.stdout.isatty() else None)
    return DONE
