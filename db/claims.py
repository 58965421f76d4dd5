"""Runs that index at the same time: which of them has taken which files to read, so that none is read twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import Connection, Error

from ._clean import clean_text
from ._generation import one_writer
from ._lock_numbers import RUN_LOCK
from .errors import LibraryError

if TYPE_CHECKING:
    from .connection import Library

ENDING_SECONDS = 1.0  # that a claim under way is waited for; what it waits for may be a server that recovers

_LIVES = """
EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %(lock)s AND l.objid = r.id AND l.objsubid = 2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_END_DEAD = f"DELETE FROM runs r WHERE r.id <> %(run)s AND NOT {_LIVES}"
# In the order of the alphabet, so that two runs never wait for each other; what was ours before an answer got lost is ours still.
_TAKE = """
INSERT INTO claims (root_id, path, run_id)
SELECT %(root)s, f.path, %(run)s FROM unnest(%(paths)s::text[]) f (path)
WHERE NOT EXISTS (SELECT FROM claims c WHERE c.root_id = %(root)s AND c.path = f.path AND c.run_id <> %(run)s)
ORDER BY f.path COLLATE "C"
ON CONFLICT (root_id, path) DO UPDATE SET run_id = excluded.run_id WHERE claims.run_id = excluded.run_id
RETURNING path
"""
_GIVE_BACK_DONE = """
DELETE FROM claims c
USING unnest(%(paths)s::text[], %(sizes)s::bigint[], %(times)s::bigint[], %(sidecars)s::bigint[]) f (path, size, mtime, sidecar), paths p
WHERE c.root_id = %(root)s AND c.run_id = %(run)s AND c.path = f.path
  AND p.root_id = c.root_id AND p.path = c.path AND (p.file_size, p.mtime_ns, p.sidecar_mtime_ns) = (f.size, f.mtime, f.sidecar)
RETURNING c.path
"""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as the scan found it."""

    path: str
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of the files that a run asked for, by path."""

    taken: frozenset[str]
    done: frozenset[str]  # in the library as they are: another run has written them since the scan
    others: tuple[str, ...]  # who has what is in neither


class Run:
    """One indexing run, as long as its session lives; what a run that died had taken is free at once.

    Claims are made on that session alone: one that has ended, as on a server that was restarted, cannot go on claiming, and
    the run begins anew with what it still holds. The session holds a lock, so it must not be a pooler's that lends it by
    transaction.
    """

    def __init__(self, library: Library, who: str) -> None:
        """`who` tells other people whose run it is: computer and process."""
        self._library = library
        self._who = clean_text(who)
        self._lock = threading.Lock()
        self._conn: Connection | None = None
        self._id: int | None = None
        self._ended = False

    @property
    def id(self) -> int | None:
        """The run's number; None before it has begun."""
        return self._id

    def begin(self) -> None:
        """Be a run to others, also before anything is claimed; anew where the session was lost."""
        with self._in_session() as conn, conn.transaction():
            conn.execute("SELECT")

    def claim(self, root_id: int, files: Sequence[FileState]) -> Claimed:
        """Take those of these files that no other living run has, and that are not yet in the library as they are."""
        values = {
            "lock": RUN_LOCK,
            "root": root_id,
            "paths": [file.path for file in files],
            "sizes": [file.size for file in files],
            "times": [file.mtime_ns for file in files],
            "sidecars": [file.sidecar_mtime_ns for file in files],
        }
        with self._in_session() as conn, conn.transaction():
            conn.execute("SELECT set_config('synchronous_commit', 'off', true)")  # a crash ends the run too
            values["run"] = self._id
            conn.execute(_END_DEAD, values)
            taken = {path for (path,) in conn.execute(_TAKE, values)}
            # A statement of its own, which sees all that was written before the files became ours.
            done = {path for (path,) in conn.execute(_GIVE_BACK_DONE, values)}
            others = []
            if len(taken) < len(values["paths"]):
                others = conn.execute(
                    "SELECT DISTINCT r.who FROM claims c JOIN runs r ON r.id = c.run_id"
                    " WHERE c.root_id = %(root)s AND c.path = ANY(%(paths)s) AND c.run_id <> %(run)s ORDER BY r.who",
                    values,
                ).fetchall()
        return Claimed(frozenset(taken - done), frozenset(done), tuple(who for (who,) in others))

    def end(self) -> None:
        """Give back what was taken and not written, and end the session, for good.

        A claim that takes long at the moment, as while the server recovers, does that itself when it is through.
        """
        self._ended = True
        if self._lock.acquire(timeout=ENDING_SECONDS):
            try:
                self._leave()
            finally:
                self._lock.release()

    @contextmanager
    def _in_session(self) -> Iterator[Connection]:
        """The run's session, for one who uses it at a time; LibraryError once the run has ended."""
        with self._lock, self._library.told():
            try:
                if self._ended:  # by a thread that was left behind: nobody would end what it began
                    raise LibraryError("This run has ended.")
                yield self._session()
                if self._ended:
                    raise LibraryError("This run has ended.")
            except Error:
                if self._conn is not None and self._conn.closed:
                    self._conn = None
                raise
            finally:
                if self._ended:
                    self._leave()

    def _leave(self) -> None:
        conn, self._conn = self._conn, None
        if conn is None:
            return
        try:
            conn.execute("DELETE FROM runs WHERE id = %s", [self._id])
            conn.commit()
        except Error:  # the server is gone, and the lock with it
            pass
        finally:
            conn.close()
            self._id = None

    def _session(self) -> Connection:
        """The run's own connection, which holds its lock; made anew where it was lost."""
        if self._conn is not None and not self._conn.closed:
            return self._conn
        conn = self._library.connect()
        try:
            (number,) = conn.execute("INSERT INTO runs (who) VALUES (%s) RETURNING id", [self._who]).fetchone()
            conn.execute("SELECT pg_advisory_lock(%s, %s)", [RUN_LOCK, number])  # before anybody sees the run
            if self._id is not None:
                conn.execute("UPDATE claims SET run_id = %s WHERE run_id = %s", [number, self._id])
                conn.execute("DELETE FROM runs WHERE id = %s", [self._id])
            conn.commit()
            self._id = number  # its claims are this one's already
            one_writer(conn)  # who has seen no run yet, and removes images for that, is done before we look for any
            conn.commit()
        except BaseException:
            conn.close()
            raise
        self._conn = conn
        return conn


def running(conn: Connection) -> list[str]:
    """Who indexes at the moment: computer and process of each run.

    By the table too: a run that has ended is no longer in it, while the server may hold its session's lock for a moment.
    """
    return [who for (who,) in conn.execute(f"SELECT r.who FROM runs r WHERE {_LIVES} ORDER BY r.who", {"lock": RUN_LOCK})]


def release_files(conn: Connection, run: Run, root_id: int, paths: Sequence[str]) -> None:
    """Give back files that this run has written, in the transaction that writes them, or refused."""
    if run.id is not None and paths:
        conn.execute("DELETE FROM claims WHERE root_id = %s AND path = ANY(%s) AND run_id = %s", [root_id, list(paths), run.id])
