"""Open a library: find its server, bring its schema up to date, lend connections and make lost ones anew."""

from __future__ import annotations

import atexit
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ._session import USUAL, keep_settings, set_session
from ._statistics import analyse_unknown
from ._trouble import VARIABLE, failed_statement, place_in_config, refused_connection
from .errors import LibraryError
from .migrate import migrate
from .preflight import preflight
from .server.embedded import EmbeddedServer

if TYPE_CHECKING:
    from .search.kinds import State

DATABASE = "diffusion_toolkit"  # on the embedded server
_CONNECT_SECONDS = 10
# A computer that is cut off says nothing, and by default a system waits two hours for it.
_NOTICE_GONE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
# The same of the server, which would keep a lock for one that is gone; and it must not end one that works slowly.
_LASTING = (
    "SELECT set_config('idle_session_timeout', '0', false), set_config('tcp_keepalives_idle', '30', false),"
    " set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)"
)
_IDLE_KEPT = 4
_BUSY_KEPT = 16  # while many search at once: to connect takes longer than to search
_BUSY_SECONDS = 60.0
_FRESH_SECONDS = 5.0
_LONG_SECONDS = 2.0  # that a person, or a queue, notices
_TOLD_SECONDS = 5.0  # so long at the most does one wait who has started the server

_open: dict[tuple[str, str], Library] = {}
_opening: dict[str, threading.Lock] = {}  # by name: a server that doesn't answer holds up those who want it alone
_opening_lock = threading.Lock()
_in_vain: dict[tuple[str, str], tuple[float, type[LibraryError], str]] = {}  # until when it is told of a library that it can't be had


class Connection(psycopg.Connection):
    """A connection that does not print where it leads. What is remembered with one stands here, all of it; each is replaced, never changed."""

    used = 0.0  # when it was last known to work, on the monotonic clock
    library: Library | None = None  # whose it is
    files: int | None = None  # of our own server, as `_files` knows them
    settings: Mapping[str, str] = USUAL  # as `_session.set_now` left them
    state: State | None = None  # of the library, as `search.kinds` last read it
    hybrid: tuple[State | None, dict[str, Any] | None] = (None, None)  # the hybrid index, and with which state it was read
    estimates: Mapping[tuple[str, str], float] = {}  # rows that pass a filter as long as the state is this, by statement and parameters

    def __repr__(self) -> str:
        return f"<library connection, {'closed' if self.closed else 'open'}>"


class Library:
    """One database with our schema. `warnings` are for the person; they do not keep it from working.

    Connections are lent from a short list of idle ones and made by the thread that needs one. psycopg_pool makes them
    in threads of its own: there a refused connection becomes a warning in the log with host and user in it, and 30 s of
    silence for the person who waits; here it is the error of the node that asked, at once.
    """

    def __init__(self, key: tuple[str, str], locate: Callable[[], str], place: str = VARIABLE, folder: Path | None = None) -> None:
        """`key` is its name, and what it is told by from another of that name. `locate` gives the connection string, having started the
        server if that is ours to do: it is `embedded`, in this `folder`. `place` is where a person set it, for messages."""
        self.name = key[0]
        self._key = key
        self.embedded = folder is not None
        self._folder = folder
        self._locate = locate
        self._place = place
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self.warnings = self._prepare()

    def __repr__(self) -> str:
        return f"Library({self.name!r})"

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection for one transaction: committed at the end, rolled back on an error.

        LibraryError where PostgreSQL refuses something or is gone; other exceptions pass through.
        """
        conn = self._borrow()
        try:
            yield conn
            conn.commit()
        except psycopg.Error as error:
            raise failed_statement(error, self._place, self._folder) from error
        finally:
            self._give_back(conn)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a connection on which each statement stands alone: for searches, which are spared beginning and ending.

        LibraryError as of `connection`.
        """
        conn = self._borrow()
        try:
            conn.autocommit = True
            yield conn
        except psycopg.Error as error:
            raise failed_statement(error, self._place, self._folder) from error
        finally:
            try:
                conn.autocommit = False
            except psycopg.Error:  # broken off in the middle of a statement
                conn.close()
            self._give_back(conn)

    def connect(self) -> Connection:
        """A connection for the caller alone, who closes it: for what lives as long as a session does, such as a lock."""
        conn = self._connect()
        try:
            with self.told():
                conn.execute(_LASTING)
                conn.commit()
        except BaseException:
            conn.close()
            raise
        return conn

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn what PostgreSQL refuses on such a connection into LibraryError."""
        try:
            yield
        except psycopg.Error as error:
            raise failed_statement(error, self._place, self._folder) from error

    def close(self) -> None:
        """Close the idle connections; the next use opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for conn in idle:
            conn.close()

    def _borrow(self) -> Connection:
        while True:
            with self._lock:
                conn = self._idle.pop() if self._idle else None
            if conn is None:
                return self._connect()
            if conn.files != _files(self._folder):  # a server whose folder was moved away goes on, and what it is given may be lost
                conn.close()
                continue
            if _is_fresh(conn):
                return conn
            try:
                conn.execute("SELECT")
                conn.rollback()
                conn.used = time.monotonic()
                return conn
            except psycopg.Error:  # the server was restarted meanwhile, or is cut off: then each of the others would be waited for as long
                conn.close()
                self.close()

    def _give_back(self, conn: Connection) -> None:
        try:
            conn.rollback()  # nothing, after a commit
            conn.used = time.monotonic()
        except psycopg.Error:
            conn.close()
        with self._lock:
            surplus = []
            if not conn.closed:
                self._idle.append(conn)
            # Those lent last are lent first, so the first of the list is the one that nobody needed for longest.
            while len(self._idle) > _IDLE_KEPT and (
                len(self._idle) > _BUSY_KEPT or time.monotonic() - self._idle[0].used > _BUSY_SECONDS
            ):
                surplus.append(self._idle.pop(0))
        for idle in surplus:
            idle.close()

    def _connect(self) -> Connection:
        files = _files(self._folder)
        with _waited_for_once(self._key):
            conn = _connect(self._locate(), self._place)
        conn.library, conn.files = self, files
        try:
            register_vector(conn)
            set_session(conn)
            conn.commit()
        except psycopg.Error as error:
            conn.close()
            raise failed_statement(error, self._place, self._folder) from error
        return conn

    def _prepare(self) -> tuple[str, ...]:
        with _connect(self._locate(), self._place) as conn:  # commits and closes
            try:
                warnings = preflight(conn, self.embedded)
                conn.commit()  # so that whoever waits to install pgvector too sees ours
                set_session(conn)
                migrate(conn, place=self._place)
                keep_settings(conn)
                analyse_unknown(conn)
            except psycopg.Error as error:
                raise failed_statement(error, self._place, self._folder) from error
        return warnings


def _files(folder: Path | None) -> int | None:
    """Which library's files lie in its folder: when they were made there, in ns. None where there are none, or it is no server of ours."""
    if folder is not None:
        with suppress(OSError):
            return (folder / "postgresql" / "PG_VERSION").stat().st_ctime_ns
    return None


def _is_fresh(conn: Connection) -> bool:
    """Whether a connection was used just now and its server has not said anything since, such as that it stops.

    That costs no round trip, as asking it would.
    """
    if time.monotonic() - conn.used > _FRESH_SECONDS:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(conn.fileno(), selectors.EVENT_READ)
        return not selector.select(0)


def library_names(named: Mapping[str, str] = {}) -> list[str]:
    """The names that `open_library` takes, `named` being connection strings by name."""
    return ["default", *sorted(named.keys() - {"default"})]


def open_library(name: str, directory: Path, named: Mapping[str, str] = {}) -> Library:
    """The library of this name, ready for use; the same object each time, until its connection string changes.

    "default" is the database that the environment variable DIFFUSION_TOOLKIT_DSN names, else the one of that name in
    `named`, else the embedded one in `directory`. The others are those in `named`. LibraryError says why it cannot be had;
    where another has just waited for its server in vain, at once.
    """
    if name not in library_names(named):
        raise LibraryError(
            f"There is no library {name!r}. Choose one of: {', '.join(library_names(named))}. Others are added to "
            f"config.json in ComfyUI's user directory, under diffusion_toolkit."
        )
    variable = os.environ.get(VARIABLE, "").strip() if name == "default" else ""
    dsn, place = (variable, VARIABLE) if variable else (named.get(name, ""), place_in_config(name))
    key = (name, dsn or str(Path(directory).absolute()))
    if key not in _open:
        _tell_again(key)  # before the lock, which one who tries anew holds
    with _opening_lock:
        alone = _opening.setdefault(name, threading.Lock())
    with alone:
        if key not in _open:
            with _waited_for_once(key):
                locate = _named_server(dsn, place) if dsn else _embedded_server(Path(directory))
                made = Library(key, locate, place, None if dsn else Path(directory).expanduser())
            for old in [other for other in list(_open) if other[0] == name]:  # it was moved: nobody asks for the old one again
                _open.pop(old).close()
            atexit.register(made.close)
            _open[key] = made
        return _open[key]


@contextmanager
def _waited_for_once(key: tuple[str, str]) -> Iterator[None]:
    """Remember for a few seconds a failure that took long, and tell it again to who comes then, or while one tries anew.

    Else each of many waits as long by itself: all threads for searches, of other libraries too, or one node of a prompt after the other.
    """
    _tell_again(key)
    began, again = time.monotonic(), None
    if former := _in_vain.get(key):
        _in_vain[key] = (began + _CONNECT_SECONDS, *former[1:])
    try:
        yield
    except LibraryError as error:
        if time.monotonic() - began > _LONG_SECONDS:
            again = (time.monotonic() + _TOLD_SECONDS, type(error), str(error))  # not the error itself, which keeps the frames it passed
        raise
    finally:
        if again:
            _in_vain[key] = again
        else:
            _in_vain.pop(key, None)


def _tell_again(key: tuple[str, str]) -> None:
    until, kind, said = _in_vain.get(key, (0.0, LibraryError, ""))
    if time.monotonic() < until:
        raise kind(f"{said} (So it was just now; it is asked anew after {_TOLD_SECONDS:.0f} s.)")


def has_password(dsn: str) -> bool:
    """Whether a connection string holds a secret; one that can't be read may."""
    try:
        return bool({"password", "sslpassword"} & conninfo_to_dict(dsn).keys())
    except psycopg.Error:
        return True


def _named_server(dsn: str, place: str) -> Callable[[], str]:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        raise LibraryError(
            f"{place} is not a PostgreSQL connection string. It looks like postgresql://user:password@host:5432/database."
        ) from None
    conninfo = make_conninfo(**{"connect_timeout": _CONNECT_SECONDS, "application_name": "diffusion-toolkit", **_NOTICE_GONE, **given})
    return lambda: conninfo


def _embedded_server(directory: Path) -> Callable[[], str]:
    _ensure_database(EmbeddedServer.start(directory).dsn("postgres"), directory)
    return lambda: EmbeddedServer.start(directory).dsn(DATABASE)  # again at each connection: it may have died


def _ensure_database(conninfo: str, directory: Path) -> None:
    with _connect(conninfo) as conn:
        conn.autocommit = True
        if conn.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            return
        try:
            conn.execute(f"CREATE DATABASE {DATABASE} ENCODING 'UTF8' TEMPLATE template0")
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            pass  # another process was first
        except psycopg.Error as error:
            raise failed_statement(error, folder=directory) from error


def _connect(conninfo: str, place: str = VARIABLE) -> Connection:
    try:
        # Unprepared: a prepared statement would outlive the view it was planned for, and breaks behind a pooler.
        return Connection.connect(conninfo, client_encoding="utf8", prepare_threshold=None)
    except psycopg.Error as error:
        raise refused_connection(error, conninfo, place) from None
