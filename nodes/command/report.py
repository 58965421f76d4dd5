"""What a command has to tell at its end: text on the standard output, and the same for programs as JSON."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from .errors import ReportError, UsageError


def check_report(file: str | None) -> None:
    """UsageError where it can't be written, which is better known before a night's work."""
    if file not in (None, "-"):
        there = Path(file).exists()
        try:
            Path(file).open("a", encoding="utf-8").close()
            if not there:
                Path(file).unlink()  # an empty one would be no JSON, where the run fails
        except OSError as error:
            raise UsageError(f"--json: {file} can't be written ({error.strerror or error}). Name another file.") from error


def write_report(file: str | None, record: dict[str, Any], text: str, encoding: str | None = None) -> None:
    """The text to the standard output and the record to `file`; with "-" the record in the text's place. `encoding` in place of the output's own."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")  # of what a console lacks nothing is lost, least in a path to be pasted
    encoded = json.dumps(record, indent=1)
    try:
        if file not in (None, "-"):
            Path(file).write_text(encoded + "\n", encoding="utf-8")
    except OSError as error:
        raise ReportError(f"The report can't be written to {file} ({error}). What was done is in the library.") from error
    finally:
        _print(encoded if file == "-" else text)


def _print(text: str) -> None:
    """To whoever reads the standard output, which `head` does for some lines only."""
    try:
        print(text, end="\n" * bool(text), flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and not (os.name == "nt" and error.errno == errno.EINVAL):  # a full disk, say
            raise ReportError(f"The report can't be written ({error}). What was done is in the library.") from error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
