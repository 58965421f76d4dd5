"""Library Status in words and as JSON, with what only the host knows: configured folders, and space on the disk."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...db import Library, LibraryStatus, Problem, Words, has_password, library_status
from ...db.sizes import in_bytes
from ...db.words import kind_in_words
from ...embedders.metadata import READER_VERSION
from ..config import configuration_faults
from ..host import ConfigurationError, config_file, roots, toolkit_directory
from ..inside import contained
from ..wording import some

if TYPE_CHECKING:
    from ...db.health.status import VectorIndex

_STATES = {"new": "being made, or left of a making that was cut short", "former": "to be removed"}
LEAST_FREE = 2 * 10**9  # bytes on the disk of the library that comes with this package


def read_status(library: Library, words: Words | None = None) -> LibraryStatus:
    """The library's status, the host's problems included; in the nodes' words, or in these."""
    status = library_status(library, READER_VERSION, words)
    status.problems.extend(_host_problems(library, status))
    return status


def status_record(status: LibraryStatus) -> dict[str, Any]:
    """As JSON."""
    encoders = [
        {
            "family": known.encoder.family,
            "name": known.encoder.name,
            "fingerprint": known.encoder.fingerprint,
            "dims": known.encoder.dims,
            "active": known.encoder.active,
            "vectors": known.vectors,
        }
        for known in status.encoders
    ]
    return {
        "library": status.name,
        "server": status.server,
        "pgvector": status.pgvector,
        "images": status.images,
        "paths": status.paths,
        "texts": status.texts,
        "token_states": status.token_states,
        "coverage": [asdict(coverage) for coverage in status.coverage],
        "encoders": encoders,
        "indexes": [_index_record(index) for index in status.indexes],
        "postponed": [encoder.family for encoder in status.postponed],
        "hybrids": [{"kinds": kinds, "images": images, "ready": ready} for kinds, images, ready in status.hybrids],
        "hybrid_tail": status.hybrid_tail,
        "bytes": status.size,
        "wal_bytes": status.wal,
        "tables": {table: {"data": data, "indexes": indexes} for table, (data, indexes) in status.sizes.items()},
        "roots": [{"name": name, "path": path, "files": files} for name, path, files in status.roots],
        "read_before": status.read_before,
        "problems": [problem.told() for problem in status.problems],
        "never_made": [kinds.told() for kinds in status.never_made],
    }


def status_text(status: LibraryStatus) -> str:
    """Lines for a person, the problems first."""
    lines = [f"Library '{status.name}': {some(status.images, 'image')}, {some(status.paths, 'file')}, {some(status.texts, 'text')}, {in_bytes(status.size)}"]
    for number, problem in enumerate(status.problems, start=1):
        lines += [f"{number}. {problem.what}"] + [f"   -> {problem.remedy}"] * bool(problem.remedy)
    lines += [] if status.problems else ["No problem found."]
    for kinds in status.never_made:
        lines += [kinds.what, f"   -> {kinds.remedy}"]
    lines += [f"The files themselves were not looked at: {status.words.looks_at_files}."] if status.paths else []
    lines += ["", "Images with a vector, of those that could have one:"]
    lines += [f"  {kind_in_words(known.kind)}: {known.have:,} of {known.could:,}{_percent(known.have, known.could)}" for known in status.coverage]
    lines += ["", "Encoders (* is the one that searches use):"]
    for known in status.encoders:
        encoder = known.encoder
        what = f"{known.vectors:,} token states" if encoder.family == "token_states" else some(known.vectors, "vector")
        lines.append(
            f"  {'*' if encoder.active else ' '} {kind_in_words(encoder.family)}: {encoder.told}, {encoder.dims} "
            f"dimensions, {what}"
        )
    lines += [] if status.encoders else ["  none: no model has made a vector yet"]
    lines += ["", "Indexes of vectors:"]
    lines += [_index_line(index) for index in status.indexes]
    lines += [f"  put off until a run ends: {kind_in_words(encoder.family)}, {encoder.name}" for encoder in status.postponed]
    lines += [] if status.indexes or status.postponed else ["  none: each search compares with all vectors"]
    size = in_bytes(sum(status.sizes.get("hybrid_vectors", (0, 0))))
    lines += [
        f"  several kinds at once ({', '.join(map(kind_in_words, kinds))}): fitted on {some(images, 'image')}, {size if ready else 'not finished'}"
        for kinds, images, ready in status.hybrids
    ]
    data, indexes = status.vector_bytes
    lines += ["", f"On disk: vectors {in_bytes(data)}, their indexes {in_bytes(indexes)}{_an_image(data + indexes, status.images)}"]
    tables = ("token_states", "approximations", "metadata", "images", "texts", "paths")
    others = {table: sum(sizes) for table, sizes in status.sizes.items() if table in tables}
    lines.append("  " + ", ".join(f"{table.replace('_', ' ')} {in_bytes(size)}" for table, size in others.items()))
    lines += [] if status.wal is None else [f"  Beside the library: the server's log of what was written last (WAL), {in_bytes(status.wal)}"]
    if status.token_states:
        each = in_bytes(status.states_size)
        lines.append(f"  Token states of {some(status.token_states, 'text')}, {each} each: these the Loader recalls exactly with no text encoder")
    lines += ["", "Folders:", *(f"  {name}: {path}, {some(files, 'file')}" for name, path, files in status.roots)]
    lines += ["", f"PostgreSQL {status.server}, pgvector {status.pgvector}"]
    return "\n".join(lines)


def _index_record(index: VectorIndex) -> dict[str, Any]:
    by = index.encoder
    return {
        "name": index.name,
        "table": index.table,
        "kinds": list(index.kinds),
        "model": by.name if by else None,
        "fingerprint": by.fingerprint if by else None,
        "method": index.method,
        "sound": index.sound,
        "state": index.state,
        "size": index.size,
    }


def _index_line(index: VectorIndex) -> str:
    """What it serves, how, and its name in PostgreSQL."""
    served = " and ".join(map(kind_in_words, index.kinds))
    by = f" by {index.encoder.told}" if index.encoder else ""
    said = [f"  {served}{by}: {index.method}" if served else f"  another's: {index.method}", in_bytes(index.size)]
    said += [_STATES[index.state]] if index.state else []
    said += [] if index.sound else ["NOT SOUND"]
    return f"{', '.join(said)} ({index.name})"


def _host_problems(library: Library, status: LibraryStatus) -> list[Problem]:
    found = [Problem(fault, "Correct that file.") for fault in configuration_faults(config_file(), has_password)]
    try:
        allowed = list(roots().values())
    except ConfigurationError as error:
        return [*found, Problem(str(error), "Correct that file.")]
    for name, path, files in status.roots:
        folder = Path(path)
        if files and not contained(folder, allowed):
            quoted = "'" + path.replace("'", "''") + "'"  # for SQL
            found.append(
                Problem(
                    f"{some(files, 'file')} {'lies' if files == 1 else 'lie'} in {path} (root {name!r}), which is no configured folder now: no picture of it is shown.",
                    f"Add it to the roots in {config_file()}. If it was moved: UPDATE roots SET path = '<new place>' WHERE path = "
                    f"{quoted}; or, if the new place was indexed already: DELETE FROM roots WHERE path = {quoted}; (its images stay).",
                )
            )
        elif files and not folder.is_dir():
            found.append(Problem(f"The folder {path} (root {name!r}) is not there now.", "Connect its drive, or correct its path."))
    here = toolkit_directory() / "library"
    if library.embedded and here.is_dir():
        free = shutil.disk_usage(here).free
        if free < LEAST_FREE:
            found.append(Problem(f"Only {in_bytes(free)} are free on the disk of the library.", f"Free space where {here} lies."))
    return found


def _percent(have: int, could: int) -> str:
    return f" ({have / could:.1%})" if could and have < could else ""


def _an_image(size: int, images: int) -> str:
    return f", {size / images / 1000:.1f} kB an image" if images else ""
