"""A library on a disk that is full: what a person is told, and that all that was written is there once there is space."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import connection
from diffusion_toolkit.db.server._cluster import Cluster
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.embedded_peers import ask, sockets  # noqa: F401  (fixture)

MB = 1 << 20
LOT = 100  # texts, of 10 kB each


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 MB. Only root makes one, and in a container perhaps not even root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be made here ({error})")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def library(disk: Path, monkeypatch) -> Iterator[db.Library]:
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN", raising=False)
    monkeypatch.setattr(connection, "_TOLD_SECONDS", 0.0)  # space is made here sooner than by a person, and a start that fails may take long
    library = db.open_library("default", disk / "library")
    yield library
    library.close()
    EmbeddedServer.start(disk / "library").stop()


def fill(disk: Path, left: int) -> Path:
    """The file that leaves only so many bytes."""
    ballast, status = disk / "ballast", os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left)
    return ballast


def write(library: db.Library) -> None:
    with library.connection() as conn:
        for _ in range(LOT):
            db.ensure_text(conn, db.TextPair(os.urandom(5000).hex(), ""))


@pytest.mark.parametrize("what", ["a table", "the log"])
def test_a_disk_that_fills_while_it_is_written_is_told_and_what_was_committed_is_there_later(library, disk: Path, what: str):
    """Where its log can't grow, PostgreSQL ends, and starts with space alone."""
    write(library)
    written, said, ballast = 1, [], fill(disk, (1 if what == "a table" else 10) * MB)
    deadline = time.monotonic() + 120
    while len(said) < 3:
        assert time.monotonic() < deadline
        try:
            write(library)
            written += 1
            if what == "the log":
                with library.reading() as conn:
                    conn.execute("SELECT pg_switch_wal()")  # to the next file of 16 MB
        except db.TryAgain:
            pass  # its server ended; whoever asks next starts it
        except db.ServerTrouble as error:
            said.append(str(error))
    assert all(f"{disk / 'library'} is full (" in told and "Free" in told for told in said)
    assert ("did not start" in said[-1]) == (what == "the log")
    ballast.unlink()
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM texts").fetchone() == (written * LOT,)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  could not write lock file "postmaster.pid": No space left on device', "the disk of the library's folder {} is full"),
        ('ERROR:  could not extend file "base/5/1": wrote only 4096 of 8192 bytes at block 7\nHINT:  Check free disk space.', "folder {} is full"),
        ('FATAL:  could not write lock file "/tmp/dtk-a/.s.PGSQL.5432.lock": No space left on device', "disk of the folder for temporary files is full"),
        ('FATAL:  could not resize shared memory segment "/PostgreSQL.1" to 9 bytes: No space left on device', "the shared memory (/dev/shm)"),
    ],
    ids=["the library's", "a file's end", "/tmp", "/dev/shm"],
)
def test_a_start_names_what_is_full_and_says_by_which_line(said: str, told: str, tmp_path: Path):
    cluster = Cluster(tmp_path)
    cluster.log.write_text(f"LOG:  starting\n{said}\nPANIC:  the database is damaged\n", encoding="utf-8")
    failed = str(cluster.failure("It did not start", 0))
    assert told.format(tmp_path) in failed and failed.endswith("\n  " + said.splitlines()[0])


def test_what_no_disk_lacks_is_not_told_as_a_full_one(tmp_path: Path):
    """As macOS' few semaphores, for which the system has the same error."""
    cluster = Cluster(tmp_path)
    said = "FATAL:  could not create semaphores: No space left on device\nHINT:  This error does *not* mean that you have run out of disk space.\n"
    cluster.log.write_text(said, encoding="utf-8")
    failed = str(cluster.failure("It did not start", 0))
    assert "is full" not in failed and "  HINT:  This error" in failed


def test_a_start_on_a_full_disk_leaves_nothing_behind_and_succeeds_with_space(disk: Path, sockets: Path):  # noqa: F811
    EmbeddedServer.start(disk / "library").stop()
    ballast = fill(disk, 0)
    with pytest.raises(db.LibraryError, match=r"cannot be started: .*No space left on device. Check the disk's free space \(0 bytes\)"):
        EmbeddedServer.start(disk / "library")
    assert not list(sockets.iterdir())
    ballast.unlink()
    server = EmbeddedServer.start(disk / "library")
    assert ask(server, "SELECT 1") == 1
    server.stop()
