"""One PostgreSQL data directory and its processes: made by initdb, started, found again, ended."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from .._trouble import too_little
from ..errors import LibraryError, ServerTrouble
from ._binaries import BUILTIN_LOCALE, WINDOWS, installed, made_by_another, program
from ._crash import LOG
from ._run_as import OtherUser, user_for
from ._settings import machine_settings
from ._stopping import NO_WINDOW, stop
from ._windows import patiently, readable

SUPERUSER = "postgres"
SOCKET_FOLDER = "dtk-"  # and a random end, in the machine's folder for temporary files
LOG_LIMIT = 4 << 20  # bytes; a longer log is set aside at the next start
INCLUDE = "include = 'diffusion_toolkit.conf'"


@dataclass(frozen=True)
class Address:
    """Where a server listens: a socket's folder, or 127.0.0.1 on Windows, and a port."""

    host: str
    port: int


class Cluster:
    """The data directory `directory/postgresql` with its password and log; nothing here is shared between processes.

    Whoever calls `create`, `launch`, `shut_down` or `end_processes` holds the directory's start lock (see `embedded`).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "postgresql"
        self.log = directory / LOG
        # In libpq's passfile format, so that `PGPASSFILE=.../password pg_dump ...` works.
        self.password_file = directory / "password"
        # Shown in the title of each of the server's processes: this is how they are known when the server is lost.
        self.name = "dtk-" + hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
        self.start_lock, self.users_lock, self.server_lock = (directory / f"{of}.lock" for of in ("start", "users", "server"))
        self._child: subprocess.Popen[bytes] | None = None

    # -- the data directory ---------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the data directory if there is none; LibraryError if another PostgreSQL version made it."""
        version = self._version()
        if version is None:
            self._initialise()
        elif version not in installed():
            raise made_by_another(version, self.data)
        user = self.user()
        if user:
            user.own(self.data)

    def user(self) -> OtherUser | None:
        """Whom to run PostgreSQL as; None for ourselves. The directory and the password are given to that user."""
        user = user_for(self.directory, self.is_made())
        if user:
            user.own(self.directory)
        return user

    def password(self) -> str:
        """The superuser's password; it never leaves this machine, and no message or log of ours holds it."""
        try:
            return self.password_file.read_text(encoding="ascii").strip().rsplit(":", 1)[1]
        except (OSError, IndexError) as error:
            raise LibraryError(
                f"The library's password file {self.password_file} cannot be read ({type(error).__name__}). Put it back "
                "from a backup, as the user who runs ComfyUI."
            ) from error

    def is_made(self) -> bool:
        """Whether the data directory is there."""
        return self._version() is not None

    def changed(self) -> int | None:
        """When the first of its files was made or changed, in seconds, which no copy keeps; None where a server can't tell it."""
        with contextlib.suppress(FileNotFoundError):
            return None if WINDOWS else int((self.data / "PG_VERSION").stat().st_ctime)
        return 0

    def _version(self) -> int | None:
        """The PostgreSQL major version that made the data directory; None when there is none yet."""
        with contextlib.suppress(FileNotFoundError):
            return int((self.data / "PG_VERSION").read_text(encoding="ascii"))
        return None

    def _initialise(self) -> None:
        """initdb beside the final place, then a rename: a process killed on the way leaves no half-made library.

        Its initdb may live on for a second, so the place is never used twice. It makes the folder itself: one that Python makes for its owner
        alone is, on Windows, closed to an administrator's PostgreSQL, which sheds that group.
        """
        major = max(installed())
        for abandoned in self.directory.glob("new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        folder = readable(self.directory)
        new, password_for_initdb = folder / f"new-{secrets.token_hex(4)}", folder / "password.new"
        password = secrets.token_hex(32)
        _write_private(self.password_file, f"*:*:*:{SUPERUSER}:{password}\n")
        _write_private(password_for_initdb, password)
        user = self.user()
        if user:
            user.own(password_for_initdb)
        start = self.log_size()
        try:
            with self.log.open("ab") as log:
                made = subprocess.run(
                    self._command(
                        [str(program("initdb", major)), "-D", str(new), "-U", SUPERUSER, "--auth=scram-sha-256"]
                        + [f"--pwfile={password_for_initdb}", "--encoding=UTF8", "--locale=C", *_letters(major)]
                        + ["--data-checksums", "--no-instructions"]
                    ),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), cwd=self.directory,
                    creationflags=NO_WINDOW,
                )  # fmt: skip
            if made.returncode:
                raise self.failure("The library's data directory could not be made", start)
            with (new / "postgresql.conf").open("a", encoding="utf-8") as configuration:
                configuration.write(f"\n{INCLUDE}\n")
                configuration.flush()
                os.fsync(configuration.fileno())
            patiently(lambda: new.rename(self.data))
            _keep_names(self.directory)
        finally:
            password_for_initdb.unlink(missing_ok=True)
            shutil.rmtree(new, ignore_errors=True)

    # -- its processes --------------------------------------------------------------------------------------------

    def new_address(self) -> Address:
        """A free port on Windows; elsewhere a fresh folder, short and without spaces, for the server's user alone."""
        if WINDOWS:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return Address("127.0.0.1", probe.getsockname()[1])
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > 60 or any(c in parent for c in " ,\"'\\"):
            parent = "/tmp"  # a socket's path has about 100 bytes, and PostgreSQL takes a list of folders
        return Address(tempfile.mkdtemp(prefix=SOCKET_FOLDER, dir=parent), 5432)

    def prepare_address(self, address: Address) -> bool:
        """Make a folder used before fit for a new server; False where it can't be: then take a new address."""
        if WINDOWS:
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((address.host, address.port))
                return True
            return False
        folder, user = Path(address.host), self.user()
        try:
            found = folder.lstat()
        except OSError:
            return False
        ours = found.st_uid in {os.geteuid(), user.uid if user else os.geteuid()}
        if not folder.name.startswith(SOCKET_FOLDER) or folder.is_symlink() or not ours or found.st_mode & 0o077:
            return False
        for left in folder.iterdir():  # the socket and its lock file, whose process number may be someone else's now
            left.unlink()
        if user:
            user.own(folder)
        return True

    def discard_address(self, address: Address) -> None:
        """Remove the folder of a server that has stopped."""
        if not WINDOWS and self.prepare_address(address):
            Path(address.host).rmdir()

    def launch(self, address: Address) -> subprocess.Popen[bytes]:
        """Start the server under its keeper (`_keeper`), whose process is returned; it is not ready yet.

        Both outlive us and hear no Ctrl-C of our terminal. The keeper ends when the server does.
        """
        self._clear_stale_pid()
        (self.data / "diffusion_toolkit.conf").write_text(machine_settings(self.data), encoding="utf-8")
        user = self.user()
        if user:
            user.own(self.data / "diffusion_toolkit.conf")
        if self.log_size() > LOG_LIMIT:
            with contextlib.suppress(PermissionError):  # on Windows, while somebody reads it
                self.log.replace(self.log.with_suffix(".log.1"))
        # On the command line, where neither a configuration file nor ALTER SYSTEM can change them.
        fixed = {"cluster_name": self.name, "port": address.port}
        fixed |= {"listen_addresses": address.host if WINDOWS else "", "unix_socket_directories": "" if WINDOWS else address.host}
        options = [part for name, value in fixed.items() if not WINDOWS or value for part in ("-c", f"{name}={value}")]
        if WINDOWS:  # pg_ctl sheds an administrator's rights, with which the server would refuse to run
            command = [self._program("pg_ctl"), "start", "-w", "-t", "86400", "-D", self._readable_data(), "-l", str(readable(self.directory) / LOG)]
            command += ["-o", " ".join(options)]  # it waits as long as the server recovers, or it would be taken for one that can't start
            detached = {"creationflags": NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        else:
            command = [self._program("postgres"), "-D", str(self.data), *options]
            detached = {"start_new_session": True}
        here = Path(__file__).parent
        keeper = [sys.executable, "-I", str(here / "_keeper.py"), *map(str, (self.start_lock, self.users_lock, self.server_lock))]
        folder = None if WINDOWS else address.host
        keeper += [json.dumps([self._command(command), self._stop_commands(address), folder]), str(here), *filter(None, sys.path)]
        with self.log.open("ab") as log:
            out = subprocess.DEVNULL if WINDOWS else log
            self._child = subprocess.Popen(
                keeper, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=_environment(), cwd=self.directory, **detached
            )
        return self._child

    def shut_down(self, timeout: float, address: Address | None) -> bool:
        """Stop the server: clients are disconnected, everything is written where that takes no minute. False if it lives on."""
        if self._postmaster() in {process.pid for process in self.processes()}:  # else pg_ctl might signal a stranger
            stop(*self._stop_commands(address), env=_environment(), cwd=self.directory)
        return self._gone_within(timeout)

    def _stop_commands(self, address: Address | None) -> list[list[str]]:
        """What `_stopping.stop` takes."""
        end = [self._program("pg_ctl"), "stop", "-w", "-t", "60", "-D", self._readable_data(), "-m"]
        ready = [self._program("pg_ctl"), "status", "-D", self._readable_data()]  # where nobody knows whom to ask
        if address is not None:
            ready = [self._program("pg_isready"), "-q", "-h", address.host, "-p", str(address.port), "-t", "5"]
        return [self._command(command) for command in (ready, [*end, "fast"], [*end, "immediate"])]

    def _program(self, name: str) -> str:
        """A program of the version that made the data directory."""
        return str(program(name, self._version()))

    def _readable_data(self) -> str:
        return str(readable(self.directory) / self.data.name)

    def end_processes(self) -> None:
        """End what is left of a lost server, so that a new one may open the files.

        Backends whose postmaster was killed go on with their query; PostgreSQL refuses to start while one is attached
        to the old shared memory. Only for a server that cannot be reached: nothing acknowledged is lost, as after a crash.
        One that works on other files is killed: at its end it would write its own pg_control, by its path, among those that are here now.
        """
        postmaster = self._postmaster()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if WINDOWS or _works_in(process, self.data) is False:
                    process.kill()
                else:
                    process.send_signal(signal.SIGINT if process.pid == postmaster else signal.SIGTERM)
        if not self._gone_within(15):
            for process in self.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._gone_within(15)

    def processes(self) -> list[psutil.Process]:
        """The server's living processes, known by the cluster's name in their title or by their working directory.

        Not those that a container we can look into runs under the same path of its own, of which both have the same name.
        """
        if self._child:
            self._child.poll()  # let no zombie stay behind
        ended = (psutil.Error, OSError) if WINDOWS else (psutil.Error,)  # there psutil gives the system's own words for some of it
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(*ended):
                if process.name().startswith("postgres") and (WINDOWS or process.status() != psutil.STATUS_ZOMBIE):
                    ours = _works_in(process, self.data)
                    theirs = ours is False and _works_in(process, Path(f"/proc/{process.pid}/root{self.data}"))
                    if ours or not theirs and self.name in " ".join(process.cmdline()):
                        found.append(process)
        return found

    def failure(self, what: str, log_start: int) -> ServerTrouble:
        """An error that ends with the last lines the server wrote to its log since it was `log_start` bytes long.

        On a full disk with the one that says so: the others speak of damage, although a start with more space finds all that was
        committed. PostgreSQL itself says where the system used that error for what no disk lacks.
        """
        told = self.log_since(log_start)
        lines = told.strip().splitlines()
        full = [line for line in lines if "No space left on device" in line]
        full += [lines[max(at - 1, 0)] for at, line in enumerate(lines) if "Check free disk space" in line]  # a hint, below its error
        if full and "does *not* mean that you have run out of disk space" not in told:
            of, how = too_little(full[0], self.directory)
            return ServerTrouble(
                f"{what}: the {of}. What was written to the library is kept. {how}, then try again: a start takes some hundred MB. "
                f"It said:\n  {full[0][:300]}"
            )
        said = "\n".join(f"  {line[:300]}" for line in lines[-12:] or ["(it wrote nothing)"])
        return ServerTrouble(
            f"{what}. Next step: read the last lines of {self.log}, free disk space or undo the last ALTER SYSTEM in "
            f"{self.data / 'postgresql.auto.conf'} if they point there, and try again. They say:\n{said}"
        )

    def log_since(self, start: int) -> str:
        """What was written to the log since it was `start` bytes long."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode("utf-8", "replace")
        return ""

    def log_size(self) -> int:
        """The log's length in bytes, to read from there later."""
        return self.log.stat().st_size if self.log.exists() else 0

    def _command(self, command: list[str]) -> list[str]:
        user = self.user()
        return user.command(command) if user else command

    def _postmaster(self) -> int | None:
        """The number in postmaster.pid: a hint which of our `processes` is the postmaster, never a proof that one runs."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").split("\n")[0])
        return None

    def _clear_stale_pid(self) -> None:
        """Remove a postmaster.pid whose number another process has now: PostgreSQL would take that for a server.

        Otherwise it stays, since PostgreSQL itself then checks the shared memory it names.
        """
        number = self._postmaster()
        if number is None or psutil.pid_exists(number) and number not in {p.pid for p in self.processes()}:
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _gone_within(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def _letters(major: int) -> list[str]:
    """initdb's options by which text is ordered by its bytes, and lower() knows all letters, on every machine.

    PostgreSQL 16, which is for Windows alone, has no C.UTF-8 for that. There the C runtime knows Unicode's letters in every language but C,
    whatever the code page, and en-US is part of every Windows: of the letters below U+10000, its lower() differs from C.UTF-8's in 15.
    """
    return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= BUILTIN_LOCALE else ["--lc-ctype=en-US"]


def _works_in(process: psutil.Process, folder: Path) -> bool | None:
    """Whether that is what a process works in; None where it can't be read, as in a container without CAP_SYS_PTRACE.

    Linux leads to a folder that was deleted too; by its name another one in its place would be taken for it.
    """
    try:
        return os.path.samefile(f"/proc/{process.pid}/cwd" if sys.platform == "linux" else process.cwd(), folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (psutil.Error, OSError):
        return None


def _environment() -> dict[str, str]:
    """Ours without what would change PostgreSQL: its own variables, languages, and preloaded libraries (tcmalloc)."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PG", "LC_", "LANG", "LD_PRELOAD"))}
    return kept | {"LC_ALL": "C"}


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from the first byte on, and that outlives a power loss.

    A library whose password is lost can't be entered any more.
    """
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _keep_names(path.parent)


def _keep_names(folder: Path) -> None:
    """Let what was made and renamed in a folder outlive a power loss, where the system can: Windows opens no folders."""
    if not WINDOWS:
        handle = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network folders refuse
                os.fsync(handle)
        finally:
            os.close(handle)
