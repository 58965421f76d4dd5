"""What lies in the folder, held against what the library knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..scan import FileEntry, scan
from .records import IndexReport, Store


@dataclass
class Files:
    changed: list[FileEntry] = field(default_factory=list)  # new, or another size or time, of the file or its side-car
    unchanged: set[str] = field(default_factory=set)
    other_sidecar: set[str] = field(default_factory=set)


def sorted_files(root: Path, subfolder: str, recursive: bool, pattern: str, store: Store, report: IndexReport) -> Files:
    known, files = store.known_files(), Files()
    for entry in scan(root, subfolder, recursive, pattern, on_error=lambda *problem: report.skipped.append(problem)):
        report.found += 1
        before = known.get(entry.path)
        if entry.sidecar_mtime_ns != (before.sidecar_mtime_ns if before is not None else 0):
            files.other_sidecar.add(entry.path)
            files.changed.append(entry)
        elif before is not None and (before.size, before.mtime_ns) == (entry.size, entry.mtime_ns):
            report.unchanged += 1
            files.unchanged.add(entry.path)
        else:
            files.changed.append(entry)
    return files
