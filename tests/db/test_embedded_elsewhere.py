"""One folder, several places that it is used from: two servers on it would destroy it, and a copy is nobody else's."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from diffusion_toolkit.db.errors import LibraryError
from diffusion_toolkit.db.server._cluster import Cluster, _works_in
from diffusion_toolkit.db.server._locks import FileLock
from diffusion_toolkit.db.server.embedded import EmbeddedServer, _is_free
from host.embedded_peers import Peer, ask, directory, not_on_windows, postmaster, runs, sockets, stopped_library  # noqa: F401  (fixtures)
from host.links import make_link
from host.waiting import wait_until


def test_a_copy_of_a_running_library_gets_a_server_of_its_own(directory: Path, tmp_path: Path):
    server = EmbeddedServer.start(directory)
    ask(server, "CREATE TABLE in_the_original ()")
    ask(server, "CHECKPOINT")
    shutil.copytree(directory, tmp_path / "copy", ignore=shutil.ignore_patterns("postmaster.pid"))
    copy = EmbeddedServer.start(tmp_path / "copy")
    ask(copy, "DROP TABLE in_the_original")
    assert ask(server, "SELECT count(*) FROM in_the_original") == 0
    copy.stop()
    assert ask(server, "SELECT 1") == 1
    server.stop()


@pytest.mark.parametrize("path", ["the same path there", "another path there"])
def test_a_library_in_use_on_another_computer_is_refused(directory: Path, path: str):
    """By another path, as a container's bind mount has it, the record looks like the original's in a copy."""
    peer = Peer(directory).wait_ready()
    process = postmaster(directory)
    record_file = directory / "server.json"
    record = record_file.read_text(encoding="utf-8")
    name = {} if path == "the same path there" else {"name": "dtk-0123456789abcdef"}
    elsewhere = json.loads(record) | {"host": "/nowhere", "computer": "studio"} | name
    record_file.write_text(json.dumps(elsewhere), encoding="utf-8")
    try:
        with pytest.raises(LibraryError, match="another computer or container .studio"):
            EmbeddedServer.start(directory)
        assert runs(process)
    finally:
        record_file.write_text(record, encoding="utf-8")
        peer.leave()


@not_on_windows("on Windows the server holds no lock of its own")
def test_a_server_elsewhere_whose_last_user_was_killed_just_now_is_not_given_company(directory: Path):
    peer = Peer(directory).wait_ready()
    process, record_file = postmaster(directory), directory / "server.json"
    record = json.loads(record_file.read_text(encoding="utf-8")) | {"host": "/nowhere/dtk-a", "computer": "studio"}
    record_file.write_text(json.dumps(record), encoding="utf-8")
    peer.kill()
    with pytest.raises(LibraryError, match="its server still runs. It ends by itself"):
        EmbeddedServer.start(directory)
    assert runs(process)
    wait_until(lambda: not runs(process))
    wait_until(lambda: _is_free(FileLock(directory / "server.lock")))
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    server.stop()


OTHERS = {
    "the record is lost": None,
    "another /tmp": {"host": "/nowhere/dtk-a", "sockets": "0:0"},
    "another path": {"name": "dtk-0123456789abcdef"},
}


@pytest.mark.parametrize("keeper_is", ["killed too", "alive"])
@pytest.mark.parametrize("record", OTHERS.values(), ids=OTHERS)
def test_a_server_of_this_computer_that_nobody_uses_any_more_is_ended(directory: Path, record: dict[str, str] | None, keeper_is: str):
    """Without its keeper it never ends by itself."""
    peer = Peer(directory).wait_ready()
    process, record_file = postmaster(directory), directory / "server.json"
    was = json.loads(record_file.read_text(encoding="utf-8"))
    record_file.write_text("" if record is None else json.dumps(was | record), encoding="utf-8")
    if keeper_is == "killed too":
        process.parent().kill()
    peer.kill()
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1 and not runs(process)
    server.stop()


@not_on_windows("on Windows the server holds no lock of its own")
def test_a_server_that_nobody_can_see_or_name_is_not_said_to_end_by_itself(directory: Path, monkeypatch):
    peer = Peer(directory).wait_ready()
    process, record_file = postmaster(directory), directory / "server.json"
    record_file.unlink()
    process.parent().kill()
    peer.kill()
    with monkeypatch.context() as patch, pytest.raises(LibraryError, match="is lost, and its server still runs. It can't be seen from here: end"):
        patch.setattr(Cluster, "processes", lambda cluster: [])
        EmbeddedServer.start(directory)
    assert runs(process)
    EmbeddedServer.start(directory).stop()
    assert not runs(process)


@not_on_windows("on Windows the server holds no lock of its own")
def test_a_server_holds_its_lock_without_its_keeper(directory: Path):
    """Which may have been killed too: those who can't see the server must not start another."""
    server = EmbeddedServer.start(directory)
    keeper = psutil.Process(postmaster(directory).ppid())
    keeper.kill()
    keeper.wait(20)
    assert not _is_free(FileLock(directory / "server.lock"))
    server.stop()
    assert _is_free(FileLock(directory / "server.lock"))


@not_on_windows("on Windows the server holds no lock of its own")
def test_no_second_server_is_started_beside_one_that_can_not_be_seen(directory: Path):
    server, process, lock = EmbeddedServer.start(directory), postmaster(directory), FileLock(directory / "server.lock")
    process.kill()
    wait_until(lambda: not runs(process) and lock.acquire())
    with pytest.raises(LibraryError, match="Another PostgreSQL serves this folder, which can't be seen from here"):
        EmbeddedServer.start(directory)
    lock.release()
    assert ask(EmbeddedServer.start(directory), "SELECT 1") == 1
    server.stop()


def test_the_servers_lock_is_free_as_soon_as_it_has_stopped(directory: Path):
    """Its keeper may take a moment more to end, which nobody has to wait for."""
    server = EmbeddedServer.start(directory)
    keeper = psutil.Process(postmaster(directory).ppid())
    keeper.suspend()
    try:
        server.stop()
        assert _is_free(FileLock(directory / "server.lock"))
    finally:
        keeper.resume()


@not_on_windows("Windows has no sockets in folders")
def test_a_library_in_use_by_a_program_with_a_tmp_of_its_own_is_refused(directory: Path):
    """As a service with PrivateTmp, whose socket nobody else finds: each would end the other's server."""
    peer = Peer(directory).wait_ready()
    process, record_file = postmaster(directory), directory / "server.json"
    record = record_file.read_text(encoding="utf-8")
    record_file.write_text(json.dumps(json.loads(record) | {"host": "/tmp/dtk-nowhere", "sockets": "0:0"}), encoding="utf-8")
    try:
        with pytest.raises(LibraryError, match="by a program that has a /tmp of its own.*Close ComfyUI there"):
            EmbeddedServer.start(directory)
        assert runs(process)
    finally:
        record_file.write_text(record, encoding="utf-8")
        peer.leave()


def test_a_library_in_use_of_which_the_record_is_lost_is_refused_and_named_no_other_computer(directory: Path):
    peer = Peer(directory).wait_ready()
    process, record_file = postmaster(directory), directory / "server.json"
    record = record_file.read_text(encoding="utf-8")
    record_file.write_text("", encoding="utf-8")
    try:
        with pytest.raises(LibraryError, match=r"by another program, and server\.json, which tells where its server is, is lost"):
            EmbeddedServer.start(directory)
        assert runs(process)
    finally:
        record_file.write_text(record, encoding="utf-8")
        peer.leave()


def test_a_container_s_server_is_left_alone_that_works_under_the_same_path_there(directory: Path, tmp_path: Path):
    """Seen from its host it has the name of ours: it is made of the path."""
    shutil.copytree(directory, tmp_path / "theirs")
    mounted = ["unshare", "--mount", "sh", "-c", f"mount --bind '{tmp_path / 'theirs'}' '{directory}' && exec \"$@\"", "sh"]
    try:
        subprocess.run([*mounted, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted for one process alone here ({error})")
    peer = Peer(directory, inside=mounted).wait_ready()
    process = postmaster(tmp_path / "theirs")
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1 and runs(process)
    server.stop()
    assert runs(process)
    peer.leave()
    assert not runs(process)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's folder is known by its path alone")
def test_a_folder_in_the_place_of_a_deleted_one_is_not_what_a_process_works_in(tmp_path: Path):
    folder = tmp_path / "postgresql"
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"], cwd=folder) as child:
        assert _works_in(psutil.Process(child.pid), folder)
        folder.rmdir()
        folder.mkdir()
        assert _works_in(psutil.Process(child.pid), folder) is False
        child.kill()


def test_a_full_disk_cuts_no_record_off(directory: Path, monkeypatch):
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    process.kill()
    process.wait(20)
    record = (directory / "server.json").read_text(encoding="utf-8")
    write = Path.write_text

    def half(file: Path, text: str, **how):
        if file.parent != directory:
            return write(file, text, **how)
        write(file, text[: len(text) // 2], **how)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(LibraryError, match="No space left on device"):
        patch.setattr(Path, "write_text", half)
        EmbeddedServer.start(directory)
    assert (directory / "server.json").read_text(encoding="utf-8") == record
    assert ask(EmbeddedServer.start(directory), "SELECT 1") == 1
    server.stop()


def test_a_library_in_use_under_another_path_of_the_same_folder_is_refused(directory: Path, tmp_path: Path, monkeypatch):
    """As a bind mount gives it; a symbolic link stands for one here, which is not resolved."""
    peer = Peer(directory).wait_ready()
    process = postmaster(directory)
    make_link(tmp_path / "mounted", directory)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "resolve", lambda path: path)
        with pytest.raises(LibraryError, match="in use under another path of the same folder"):
            EmbeddedServer.start(tmp_path / "mounted")
    assert runs(process)
    peer.leave()


def test_a_copy_of_a_library_that_is_in_use_elsewhere_is_no_ones(directory: Path):
    (directory / "server.json").write_text('{"host": "/nowhere", "port": 5432, "name": "dtk-0123456789abcdef", "computer": "studio"}', encoding="utf-8")
    server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    server.stop()
