"""What is wrong in a library, or could be better, each with what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import Connection

from .._builder_lock import being_built
from .._index_sql import TABLES, other_owner
from ..hybrid.refresh import AUTOMATIC_FROM, REFIT_AT
from ..hybrid.tail import TAIL_MOST
from ..indexes.build import larger_m
from ..indexes.bulk import another_run
from ..indexes.effort import is_due
from ..question import FAMILIES, TEXT_COLUMNS
from ..records import StoredEncoder
from ..search.kinds import SHAPES, state_of
from ..search.strategy import enough
from ..sizes import in_bytes
from ..words import Words, kind_in_words

if TYPE_CHECKING:
    from .status import Coverage, LibraryStatus

MISSING = "missing_files"  # the key of the problem that files were gone when they were last looked for
SMALL = AUTOMATIC_FROM  # rows below which no index is needed
VECTOR_TABLES = ("image_vectors", "text_vectors", "hybrid_vectors")
_FOLDERS_NAMED = 3
_DEAD_SHARE, _DEAD_LEAST = 0.2, 10_000

# Folders of images that lack a vector, those with most of them first; by a root's own name what lies in it alone.
_FOLDERS = """
SELECT concat_ws('/', r.name, CASE WHEN p.path LIKE '%%/%%' THEN split_part(p.path, '/', 1) END)
FROM images i JOIN paths p ON p.image_id = i.id JOIN roots r ON r.id = p.root_id
WHERE p.missing IS NULL AND {}
GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT %s
"""
_NO_VECTOR = "NOT EXISTS (SELECT FROM image_vectors v WHERE v.image_id = i.id AND v.encoder_id = %s)"
_NO_TEXT_VECTOR = "i.{0} IS NOT NULL AND NOT EXISTS (SELECT FROM text_vectors v WHERE v.encoder_id = %s AND v.text_id = i.{0})"
_UPKEEP = """
SELECT relname, n_live_tup, n_dead_tup, coalesce(last_analyze, last_autoanalyze) IS NOT NULL
FROM pg_stat_user_tables
WHERE relid = ANY(%s::regclass[])
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, or that could be better, and what to do about it."""

    what: str
    remedy: str
    key: str = ""  # by which another report of ours knows it

    def told(self) -> dict[str, str]:
        """For programs."""
        return {"what": self.what, "remedy": self.remedy}


def problems_of(conn: Connection, status: LibraryStatus, warnings: tuple[str, ...]) -> list[Problem]:
    """All of a library's that PostgreSQL knows of, with these `warnings` of its server."""
    found = [Problem(*_parted(warning)) for warning in warnings]
    if not status.images:
        return [*found, Problem("The library is empty.", f"{status.words.index} on a folder with images.")]
    found += _incomplete(conn, status)
    built = being_built(conn)  # what is not done yet is no problem then
    found += _index_problems(status, built)
    found += [] if built else _trial_problems(conn, status)
    found += [] if built else _postponed_problems(status, another_run(conn))
    found += _hybrid_problems(status, built)
    found += _missing(conn, status.words)
    found += _upkeep(conn)
    found += _memory(conn, status)
    return found


def _incomplete(conn: Connection, status: LibraryStatus) -> list[Problem]:
    found, words = [], status.words
    by_family: dict[str, list[Coverage]] = {}
    for coverage in status.coverage:
        by_family.setdefault(FAMILIES[coverage.kind], []).append(coverage)
    active = {known.encoder.family: known.encoder for known in status.encoders if known.encoder.active}
    begun = _families(status)
    for family, kinds in by_family.items():
        kinds = [coverage for coverage in kinds if coverage.could]
        if family not in active:
            found += [_none_of(kinds, family, words, "")] if kinds and family in begun else []
            continue
        for coverage in kinds:
            if coverage.have < coverage.could:
                missing = coverage.could - coverage.have
                found.append(
                    Problem(
                        f"{missing:,} of {_some(coverage.could, 'image')} {'has' if missing == 1 else 'have'} no {kind_in_words(coverage.kind)} vector by "
                        f"{active[family].told}.",
                        f"{words.index} on {_folders_lacking(conn, coverage.kind, active[family].id)} {words.with_that_model(family)}.",
                    )
                )
    if status.read_before:
        found.append(
            Problem(
                f"{_some(status.read_before, 'image')} {'was' if status.read_before == 1 else 'were'} read by an older version of this package, which understood less.",
                f"{words.index} on their folders: it reads what the library keeps, not the files.",
            )
        )
    for known in status.encoders:
        if not known.encoder.active and known.vectors:
            found.append(
                Problem(
                    f"{_some(known.vectors, 'vector')} {'is' if known.vectors == 1 else 'are'} kept of {known.encoder.told}, which is not the last "
                    f"one indexed with ({kind_in_words(known.encoder.family)}). Searches with that model still use them.",
                    f"Nothing. Or {words.indexing} on any folder {words.with_that_model(known.encoder.family)}: searches go by it again. Or "
                    f"give the space back, for good, while nobody uses the library: {_forgetting(status, known.encoder)}",
                )
            )
    return found


def never_made(status: LibraryStatus) -> list[Problem]:
    """Kinds whose model no run has had, each with how to have them: all are optional, so that these are no problems."""
    words, begun = status.words, _families(status)
    by_model: dict[str, list[Coverage]] = {}
    for coverage in status.coverage:
        family = FAMILIES[coverage.kind]
        if coverage.could and family not in begun:
            by_model.setdefault(words.with_model(family), []).append(coverage)
    return [_none_of(kinds, FAMILIES[kinds[0].kind], words, ", which are optional") for kinds in by_model.values()]


def _families(status: LibraryStatus) -> set[str]:
    return {known.encoder.family for known in status.encoders}


def _some(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _none_of(kinds: list[Coverage], family: str, words: Words, which: str) -> Problem:
    names = " and ".join(kind_in_words(coverage.kind) for coverage in kinds)
    return Problem(f"There are no {names} vectors{which}: searches by them find nothing.", f"{words.index} {words.with_model(family)}.")


def _folders_lacking(conn: Connection, kind: str, encoder: int) -> str:
    """Where images without such a vector lie, for a person: "output/2025 and input"."""
    lacking = _NO_VECTOR if kind == "image" else _NO_TEXT_VECTOR.format(TEXT_COLUMNS[kind])
    found = [name for (name,) in conn.execute(_FOLDERS.format(lacking), [encoder, _FOLDERS_NAMED + 1])]
    if not found:
        return "their folders"
    named = found if len(found) <= _FOLDERS_NAMED else [*found[:_FOLDERS_NAMED], "other folders"]
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _forgetting(status: LibraryStatus, encoder: StoredEncoder) -> str:
    """The statements that remove an encoder with its vectors. Its indexes are no part of its row, and only a table written anew is smaller."""
    table = TABLES[encoder.family]
    indexes = [index.name for index in status.indexes if index.encoder == encoder]
    drops = "".join(f"DROP INDEX {name}; " for name in indexes)
    return f"{drops}DELETE FROM encoders WHERE id = {encoder.id}; VACUUM FULL {table};"


def _index_problems(status: LibraryStatus, built: bool) -> list[Problem]:
    found = [
        Problem(
            f"The index {index.name} is not sound (its making was cut short): searches don't use it.",
            f"DROP INDEX {index.name}; or {status.words.make_anew}.",
        )
        for index in status.indexes
        if not index.sound and not built
    ]
    found += [
        Problem(
            f"The index {index.name} is left over (its making, or its removal, was cut short): searches don't use it, and whatever is written "
            "goes into it too.",
            f"DROP INDEX {index.name}; or let {status.words.repair} remove it.",
        )
        for index in status.indexes
        if index.sound and index.state and not built
    ]
    indexed = [index.encoder.id for index in status.indexes if index.sound and index.encoder and not index.state]
    for known in status.encoders:
        if known.encoder in status.postponed:
            continue
        table = TABLES[known.encoder.family]
        if table in VECTOR_TABLES and known.encoder.active and known.searched >= SMALL and known.encoder.id not in indexed:
            found.append(
                Problem(
                    f"{known.searched:,} {kind_in_words(known.encoder.family)} vectors have no index: each search compares with all of them.",
                    f"Make one with {status.words.build}.",
                )
            )
    return found


def _trial_problems(conn: Connection, status: LibraryStatus) -> list[Problem]:
    """Of indexes that were not tried yet, or long ago, and of those that were found to miss what people ask for."""
    found = []
    vectors = {known.encoder.id: known.searched for known in status.encoders}
    for source in state_of(conn).sources:
        encoder = source.encoder
        rows = vectors.get(encoder.id, 0)
        if source.index != "hnsw" or not encoder.active or rows < enough():
            continue
        name = f"The index of {rows:,} {kind_in_words(encoder.family)} vectors by {encoder.name}"
        owner = other_owner(conn, source.index_name)
        missed = [shape for shape in ("near", "far") if source.effort(shape) is None and (shape == "near" or encoder.details.get("picture_tower"))]
        if is_due(rows, source.tried):
            when = f"was last tried with {source.tried:,}" if source.tried else "was not tried yet"
            what = f"{name} {when}: searches may miss more than they should, or compare with every vector."
            found.append(Problem(what, f"{_by(owner, status.words.index)}: any run tries it at its end."))
        elif missed:
            asked = " and for ".join(SHAPES[shape] for shape in missed)
            more = larger_m(conn, source.index_name)
            better = f"Else make it anew with {_by(owner, f'{status.words.build} and m {more}')}, which may find enough." if more else ""
            what = f"{name} misses too many of the best images for {asked}: such searches compare with every vector."
            found.append(Problem(what, f"Nothing, while that is fast enough: they miss none. {better}".strip()))
    return found


def _by(owner: str, step: str) -> str:
    """A step that only the PostgreSQL user who owns an index, and its members if it is a group, can take; "": that is who asks."""
    return f"{step}, as the PostgreSQL user {owner}, whose index it is, or as a member of it" if owner else step


def _postponed_problems(status: LibraryStatus, run_goes_on: bool) -> list[Problem]:
    if not status.postponed:
        return []
    count = {known.encoder.id: known.searched for known in status.encoders}
    which = ", ".join(f"{kind_in_words(encoder.family)} ({_some(count[encoder.id], 'vector')})" for encoder in status.postponed)
    return [
        Problem(
            f"Indexes are put off while much is written: {which}. Searches by these compare with every vector until they are made.",
            "Nothing: the run that goes on makes them at its end." if run_goes_on else f"{status.words.index}: any run makes them at its end.",
        )
    ]


def _hybrid_problems(status: LibraryStatus, built: bool) -> list[Problem]:
    found = []
    for kinds, fitted_on, ready in status.hybrids:
        if not ready and built:
            continue
        over = ", ".join(map(kind_in_words, kinds))
        if not ready:
            found.append(Problem(f"The index over {over} was not finished.", f"{status.words.index_or_build} again."))
        elif status.images >= REFIT_AT * max(fitted_on, 1):
            found.append(
                Problem(
                    f"The index over {over} was fitted on {_some(fitted_on, 'image')}; the library has {status.images:,} now.",
                    f"{status.words.index_or_build}: it is fitted anew.",
                )
            )
    if any(ready for _, _, ready in status.hybrids) and status.hybrid_tail > TAIL_MOST:
        found.append(
            Problem(
                f"{status.hybrid_tail:,} new images are not in the index over several kinds yet. With more than {TAIL_MOST:,}, searches do "
                "without it.",
                f"{status.words.index_or_build}: it takes them in.",
            )
        )
    return found


def _missing(conn: Connection, words: Words) -> list[Problem]:
    missing = conn.execute("SELECT count(*) FROM paths WHERE missing IS NOT NULL").fetchone()[0]
    if not missing:
        return []
    return [
        Problem(
            f"{missing:,} {'file was' if missing == 1 else 'files were'} gone when they were last looked for.",
            f"{words.gone}.",
            MISSING,
        )
    ]


def _upkeep(conn: Connection) -> list[Problem]:
    found = []
    for table, live, dead, analysed in conn.execute(_UPKEEP, [["images", "paths", "texts", *VECTOR_TABLES]]):
        if dead > max(_DEAD_LEAST, _DEAD_SHARE * live):
            found.append(Problem(f"{dead:,} dead rows lie in {table}: it is larger and slower than it need be.", f"VACUUM ANALYZE {table};"))
        elif live > SMALL and not analysed:
            found.append(Problem(f"The planner knows nothing of {table} yet, and may choose slow plans.", f"ANALYZE {table};"))
    return found


def _memory(conn: Connection, status: LibraryStatus) -> list[Problem]:
    buffers, cache = conn.execute(
        "SELECT pg_size_bytes(current_setting('shared_buffers')), pg_size_bytes(current_setting('effective_cache_size'))"
    ).fetchone()
    used = sum(index.size for index in status.indexes)
    if used <= buffers or used <= cache // 2:
        return []
    return [
        Problem(
            f"The indexes of vectors take {in_bytes(used)}; the server keeps {in_bytes(buffers)} of everything in its own memory "
            f"(shared_buffers) and counts on {in_bytes(cache)} in all.",
            "Give PostgreSQL more memory (ALTER SYSTEM SET shared_buffers, then restart it), or make smaller indexes with "
            f"{status.words.build} (method binary).",
        )
    ]


def _parted(warning: str) -> tuple[str, str]:
    """What is wrong, and the sentence that says what to do."""
    what, _, remedy = warning.rpartition(". ") if warning.count(". ") else (warning, "", "")
    return (f"{what}.", remedy) if what else (warning, "")
