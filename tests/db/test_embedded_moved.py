"""A library's folder that is moved, removed, emptied or put back while its server runs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from diffusion_toolkit.db.errors import LibraryError
from diffusion_toolkit.db.server._locks import FileLock
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.embedded_peers import Peer, ask, directory, not_on_windows, postmaster, runs, sockets, stopped_library  # noqa: F401  (fixtures)
from host.waiting import wait_until

pytestmark = not_on_windows("Windows neither moves nor removes a folder that a program works in")


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_stopping_after_the_folder_was_removed_is_quiet(left: str, tmp_path: Path, monkeypatch) -> None:
    server = EmbeddedServer.start(tmp_path / "library")
    while (tmp_path / "library").exists():
        shutil.rmtree(tmp_path / "library", ignore_errors=True)  # the server may just have written another file
    if left == "an empty folder":  # as where a disk was unmounted
        (tmp_path / "library").mkdir()
    monkeypatch.setattr(server._cluster, "shut_down", lambda *told: pytest.fail("it was waited for, until it noticed by itself"))
    try:
        server.stop()
    finally:
        server._cluster.end_processes()


def test_a_folder_that_was_taken_away_is_told_and_none_is_made_in_its_place(directory: Path, tmp_path: Path) -> None:
    server, aside = EmbeddedServer.start(directory), tmp_path / "aside"
    directory.rename(aside)
    for _ in range(2):
        with pytest.raises(LibraryError, match=f"folder {directory} was removed or emptied.*Put it back"):
            EmbeddedServer.start(directory)
        directory.mkdir(exist_ok=True)  # the second time as an unmounted disk leaves it
    time.sleep(3)  # its keeper looks every 2 s
    assert not list(directory.iterdir())
    directory.rmdir()
    aside.rename(directory)
    assert ask(EmbeddedServer.start(directory), "SELECT 1") == 1
    server.stop()


def test_a_disk_that_went_away_and_can_not_even_be_looked_at_is_told_too(stopped_library: Path, tmp_path: Path) -> None:
    disk, aside = tmp_path / "disk", tmp_path / "aside"
    shutil.copytree(stopped_library, disk / "library")
    server = EmbeddedServer.start(disk / "library")
    disk.rename(aside)
    disk.touch()
    try:
        with pytest.raises(LibraryError, match="its disk was taken away .*Not a directory.*Put it back"):
            EmbeddedServer.start(disk / "library")
        server.stop()
    finally:
        disk.unlink()
        aside.rename(disk)
        EmbeddedServer.start(disk / "library").stop()


def test_nothing_is_made_in_a_folder_that_was_emptied(directory: Path) -> None:
    server = EmbeddedServer.start(directory)
    while left := list(directory.iterdir()):
        for path in left:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    time.sleep(3)  # its keeper looks every 2 s
    assert not list(directory.iterdir())
    server._cluster.end_processes()
    server.stop()


def test_a_server_whose_folder_was_moved_ends_when_nobody_is_left_and_leaves_alone_what_is_in_its_place(directory: Path, tmp_path: Path) -> None:
    """A lock that its keeper took there would keep everybody out, and its own pg_control would destroy what is there."""
    peer, process, aside = Peer(directory).wait_ready(), postmaster(directory), tmp_path / "aside"
    directory.rename(aside)
    shutil.copytree(aside, directory, ignore=shutil.ignore_patterns("server.json"))
    copied = (directory / "postgresql" / "global" / "pg_control").read_bytes()
    try:
        time.sleep(3)  # its keeper looks every 2 s
        assert runs(process), "its keeper asked in the other folder whether it is in use"
        peer.kill()
        wait_until(lambda: not runs(process))
        assert not (aside / "postgresql" / "postmaster.pid").exists()
        assert copied == (directory / "postgresql" / "global" / "pg_control").read_bytes()
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("server_is", ["dead", "alive on the files that were removed"])
def test_a_folder_that_was_put_back_as_a_copy_is_what_is_used(directory: Path, tmp_path: Path, server_is: str) -> None:
    """Its lock files are others, and so is every file: a server that has the former ones open is of no use."""
    server, process = EmbeddedServer.start(directory), postmaster(directory)
    ask(server, "CREATE TABLE kept AS SELECT 1")
    ask(server, "CHECKPOINT")
    made = (directory / "postgresql" / "PG_VERSION").stat().st_ctime
    wait_until(lambda: int(time.time()) > int(made))  # PostgreSQL tells files apart by the second
    shutil.copytree(directory, tmp_path / "copy", ignore=shutil.ignore_patterns("postmaster.pid"))
    if server_is == "dead":
        process.kill()
        wait_until(lambda: not runs(process))
    directory.rename(tmp_path / "removed")
    (tmp_path / "copy").rename(directory)
    EmbeddedServer.start(directory)
    lock = FileLock(directory / "users.lock")
    assert not runs(process) and not lock.acquire()
    assert ask(server, "SELECT count(*) FROM kept") == 1
    server.stop()
    assert lock.acquire()
    lock.release()


def test_a_new_library_in_the_place_of_a_removed_one_outlives_the_server_of_that(directory: Path) -> None:
    """Which, told to stop, would write its own pg_control there."""
    peer, process = Peer(directory).wait_ready(), postmaster(directory)
    shutil.rmtree(directory)
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1 and not runs(process)
    server.stop()
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    peer.kill()
    server.stop()
