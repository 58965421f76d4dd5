"""The embedded PostgreSQL: one server per data directory, shared by processes, stopped when the last one leaves."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from ..errors import ServerTrouble, TryAgain
from ..sizes import free_space
from ._binaries import WINDOWS, installed, program
from ._cluster import SUPERUSER, Address, Cluster
from ._locks import FileLock
from ._windows import patiently

READY_SECONDS = 120  # a server that was killed replays its log before it answers
CONNECT_SECONDS = 30  # a machine that swaps may be slow to answer; it is not dead
STOP_SECONDS = 60
RECORD = "server.json"  # in the library's folder

# Which server answers, and which files it has open: not these any more, where the folder was put back as a copy.
_WHOSE = "SELECT current_setting('cluster_name'), extract(epoch FROM (pg_stat_file('PG_VERSION')).change)::bigint"

_log = logging.getLogger("diffusion_toolkit")
_servers: dict[Path, EmbeddedServer] = {}  # this process's, by resolved directory
_servers_lock = threading.RLock()


class State(Enum):
    """What connecting to the recorded address tells."""

    READY = auto()
    BUSY = auto()  # alive, but starting, recovering or stopping
    GONE = auto()


class EmbeddedServer:
    """One data directory and the PostgreSQL that serves it, for all processes that `start` it.

    Three locks in the directory, all dropped by the system when a process dies, however it dies: `start.lock` is held by
    the one process that starts or stops the server; `users.lock` is held shared by each process that uses it, so the
    leaver who gets it exclusively is the last; if all are killed, the server's keeper notices. `server.lock` is held by the
    server itself (not on Windows), for those who can't see it. `server.json` records the address. Liveness is what connecting says.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._cluster = Cluster(directory)
        self._starting = FileLock(self._cluster.start_lock)
        self._users = FileLock(self._cluster.users_lock)
        self._address_file = directory / RECORD
        self._joined_by: int | None = None  # process id: a forked child has not joined

    @classmethod
    def start(cls, directory: Path) -> EmbeddedServer:
        """Join the directory's server, starting it (and making its data directory) where none answers.

        Cheap when it runs; call it again after a lost connection: it brings a crashed server back at the same address
        where that can be had. Within a process the same directory gives the same object. Waits up to 120 s for
        recovery, then TryAgain: it goes on, since this process has joined. LibraryError when the server cannot be had:
        ServerTrouble where that may be over without anything being corrected.
        """
        installed()
        given = Path(directory).expanduser().absolute()
        directory = given.resolve()
        with _servers_lock:
            server = _servers.get(directory) or cls(directory)
            server._refuse_if_taken_away()
            try:  # as given: what a link leads to may be on a disk that is away, and would be made on another one
                given.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ServerTrouble(
                    f"The library's folder {given} cannot be made: {error}. Make it, attach the disk that it is on, or free disk space."
                ) from error
            try:
                with server._alone_at_starting():
                    server._join()
            except OSError as error:
                raise ServerTrouble(
                    f"The library in {directory} cannot be started: {error}. Check the disk's free space "
                    f"({free_space(directory)}) and whose files these are: they belong to the user who runs ComfyUI."
                ) from error
            finally:
                if server._joined_by == os.getpid():
                    _servers[directory] = server
        return server

    def dsn(self, database: str) -> str:
        """libpq's connection string, password included: never show, log or save it."""
        address = self._address()
        if address is None:
            raise TryAgain(f"The library's server in {self.directory} has stopped. Try again to start it.")
        return self._conninfo(address, database)

    def stop(self) -> None:
        """Leave; the last process to leave stops the server. Called at exit by itself; harmless when called twice."""
        if self._joined_by != os.getpid():
            return
        atexit.unregister(self.stop)
        if self._taken_away() is not None:  # PostgreSQL itself ends when it misses its files
            return
        with _servers_lock, self._alone_at_starting():
            _servers.pop(self.directory, None)
            self._joined_by = None
            self._users.release()
            if self._users.acquire():
                self._shut_down()
                self._users.release()

    @staticmethod
    def binary(name: str) -> Path:
        """A program of the newest PostgreSQL here, such as `pg_dump` or `psql`."""
        return program(name, max(installed()))

    def _refuse_if_taken_away(self) -> None:
        """An empty library made in its place would hide what happened, and would be in the way of what is put back."""
        if self._joined_by == os.getpid() and (why := self._taken_away()) is not None:
            raise ServerTrouble(
                f"The library's folder {self.directory} was removed or emptied while it was in use, or its disk was taken away ({why}). "
                "Put it back, then try again. To begin with an empty library there, restart ComfyUI."
            )

    def _taken_away(self) -> str | None:
        """Why the data directory can't be read, such as that its disk has gone; None where it can be."""
        try:
            return None if self._cluster.is_made() else f"there is no {self._cluster.data / 'PG_VERSION'}"
        except OSError as error:
            return str(error)

    # -- all below holds start.lock -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone_at_starting(self) -> Iterator[None]:
        if not self._starting.acquire(timeout=2 * READY_SECONDS):
            raise ServerTrouble(
                f"Another process has been starting the library in {self.directory} for too long. Close other ComfyUIs that "
                "use it, then try again."
            )
        try:
            yield
        finally:
            self._starting.release()

    def _join(self) -> None:
        joined = self._joined_by == os.getpid()
        if not joined:
            self._users.acquire(shared=True)  # exclusive holders hold start.lock too, so this never waits
        try:
            if self._wait_while_busy() is State.GONE:
                self._users.release()
                try:
                    self._refuse_if_used_elsewhere()
                finally:
                    self._users.acquire(shared=True)  # another file, if the folder was put back
                self._cluster.end_processes()
                self._cluster.create()
                self._start_server()
        except TryAgain:  # it recovers: were nobody to use it, it would be stopped, and begin again at the beginning
            if not joined:
                self._stay()
            raise
        except BaseException:
            if not joined:
                self._users.release()
            raise
        if not joined:
            self._stay()

    def _stay(self) -> None:
        self._joined_by = os.getpid()
        atexit.register(self.stop)

    def _start_server(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self._cluster.end_processes()
            address = self._address()
            if address is None or not self._cluster.prepare_address(address):
                address = self._cluster.new_address()
                self._cluster.prepare_address(address)
            self._write_record(address)
            log_start = self._cluster.log_size()
            child = self._cluster.launch(address)
            while (state := self._probe()) is not State.READY:
                if child.poll() is not None:
                    said = self._cluster.log_since(log_start)
                    if "shared memory block" in said or "could not create any TCP/IP sockets" in said:
                        break  # an old backend still dies, or the port was taken meanwhile: once more
                    raise self._cluster.failure("The library's PostgreSQL did not start", log_start)
                if time.monotonic() > deadline:
                    if state is State.BUSY:
                        raise self._still_busy()
                    raise self._cluster.failure("The library's PostgreSQL is still not ready", log_start)
                time.sleep(0.05)
            else:
                return
            if time.monotonic() > deadline:
                raise self._cluster.failure("The library's PostgreSQL did not start", log_start)
            time.sleep(0.5)

    def _shut_down(self) -> None:
        address = self._address()
        if not self._cluster.shut_down(STOP_SECONDS, address):
            _log.warning("The library's PostgreSQL in %s is still writing; it ends by itself.", self.directory)
        elif address:
            self._cluster.discard_address(address)
            patiently(lambda: self._address_file.unlink(missing_ok=True))

    def _wait_while_busy(self) -> State:
        deadline = time.monotonic() + READY_SECONDS
        while (state := self._probe()) is State.BUSY:
            if time.monotonic() > deadline:
                raise self._still_busy()
            time.sleep(0.1)
        return state

    def _still_busy(self) -> TryAgain:
        return TryAgain(
            f"The library's PostgreSQL in {self.directory} is still recovering or stopping after {READY_SECONDS} s. "
            f"Try again in a while; {self._cluster.log} tells how far it is."
        )

    def _probe(self) -> State:
        import psycopg

        address = self._address()
        if address is None:
            return State.GONE
        conninfo = self._conninfo(address, "postgres", connect_timeout=CONNECT_SECONDS)
        for _ in range(5):
            ping = psycopg.pq.PGconn.ping(conninfo.encode())
            if ping != psycopg.pq.Ping.OK:
                return State.BUSY if ping == psycopg.pq.Ping.REJECT else State.GONE
            try:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    name, changed = connection.execute(_WHOSE).fetchone()
                return State.READY if name == self._cluster.name and self._cluster.changed() in (changed, None) else State.GONE
            except psycopg.OperationalError as error:  # perhaps only because it stopped just now
                refusal = str(error).strip()
            time.sleep(0.2)
        if not self._cluster.processes():
            return State.GONE  # on Windows another program's server may have our port after a restart of the machine
        raise ServerTrouble(
            f"The library's PostgreSQL in {self.directory} runs but turns us away: {refusal}. If it is the password, put "
            f"back the one in {self._cluster.password_file}; if connections, close other programs that use the library."
        )

    def _refuse_if_used_elsewhere(self) -> None:
        """Two servers on one directory destroy it. What a computer, or a container, runs is invisible to another one; and on one
        computer a folder that two paths lead to, as by a bind mount, has two names, of which each takes the other for a copy's, and
        a program with its own /tmp finds no sockets of others. So only a record of ours, made under this path, of a socket that we
        would see, spares the question whether anybody uses the directory, or a server of theirs still lives. One that we see is ours to end:
        it may have lost its keeper, and would never end."""
        address, record, here = self._address(), self._record(), _computer()
        recorded = record.get("computer")
        if address is not None and recorded == here and record.get("sockets") == _sockets(address):
            return
        where = _where(recorded, address)
        if not _is_free(self._users):
            raise ServerTrouble(
                f"The library in {self.directory} is in use {where}. Close ComfyUI there, or share one PostgreSQL server through "
                "DIFFUSION_TOOLKIT_DSN."
            )
        near = recorded in (None, here)
        if self._joined_by == os.getpid() or near and self._cluster.processes():
            return  # nobody could start another meanwhile, or it is one that we can end
        if not _is_free(FileLock(self._cluster.server_lock)):
            ends = "It ends by itself, mostly within seconds: try again then. Otherwise end it there."
            raise ServerTrouble(
                f"The library in {self.directory} was in use {where}, and its server still runs. "
                + ("It can't be seen from here: end that PostgreSQL where it runs, then try again." if near else ends)
            )

    def _write_record(self, address: Address) -> None:
        record = {"host": address.host, "port": address.port, "name": self._cluster.name, "computer": _computer(), "sockets": _sockets(address)}
        whole = self._address_file.with_suffix(".new")  # which a full disk may cut off; the one that is there stays
        try:
            whole.write_text(json.dumps(record), encoding="utf-8")
            patiently(lambda: whole.replace(self._address_file))
        except OSError:
            self._cluster.discard_address(address)  # or each try would leave another folder of no server
            raise

    def _record(self) -> dict:
        try:
            record = json.loads(patiently(lambda: self._address_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):  # none, or cut off by a full disk
            return {}
        return record if isinstance(record, dict) else {}

    def _address(self) -> Address | None:
        """Where the server of this directory was started last; None too in a copy, which has the original's record."""
        record = self._record()
        if record.get("name") != self._cluster.name:
            return None
        host, port = record.get("host"), record.get("port")
        return Address(host, port) if isinstance(host, str) and isinstance(port, int) else None

    def _conninfo(self, address: Address, database: str, **options: object) -> str:
        from psycopg.conninfo import make_conninfo

        where = {"host": address.host, "port": address.port, "user": SUPERUSER, "password": self._cluster.password()}
        return make_conninfo("", dbname=database, **where, **options)


def _computer() -> str:
    """This computer's name and, in a container, which one: whose processes we can see."""
    if sys.platform != "linux":
        return platform.node()
    return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"


def _where(recorded: str | None, address: Address | None) -> str:
    """Who else may use a library, in words: by the computer and the address that its record tells."""
    if recorded is None:
        return f"by another program, and {RECORD}, which tells where its server is, is lost"
    if recorded != _computer():
        return f"by another computer or container ({recorded})"
    if address is None:
        return "under another path of the same folder"
    return f"by a program that has a {Path(address.host).parent} of its own, as a service with PrivateTmp has, where its server can't be reached"


def _sockets(address: Address) -> str:
    """Which folder the sockets' folders lie in: under one name another program may have another one."""
    if WINDOWS:
        return ""
    try:
        found = Path(address.host).parent.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _is_free(lock: FileLock) -> bool:
    if not lock.acquire():
        return False
    lock.release()
    return True
