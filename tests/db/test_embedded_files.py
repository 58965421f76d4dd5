"""The embedded library's files while others have them open, as virus scanners and readers do: Windows then refuses much."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from diffusion_toolkit.db.errors import LibraryError
from diffusion_toolkit.db.server import _cluster, _windows
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.embedded_peers import ask, directory, postmaster, runs, sockets, stopped_library  # noqa: F401  (fixtures)
from host.waiting import wait_until


def _refuse_once(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Path]:
    """A file of this name can't be moved or replaced the first time, as on Windows; those that were refused."""
    refused, replace = [], Path.replace

    def moved(path: Path, target: Path) -> Path:
        if name in (path.name, Path(target).name) and not refused:
            refused.append(path)
            raise PermissionError(13, "Permission denied")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", moved)
    if sys.platform != "win32":
        monkeypatch.setattr(_windows, "sys", SimpleNamespace(platform="win32"))
        monkeypatch.setattr(_windows, "_fits", lambda path: True)  # which asks for Windows' code page
    return refused


def test_a_record_that_somebody_reads_is_replaced_all_the_same(directory: Path, monkeypatch: pytest.MonkeyPatch):
    refused = _refuse_once(monkeypatch, "server.json")
    server = EmbeddedServer.start(directory)
    process = postmaster(directory)
    process.kill()
    wait_until(lambda: not runs(process))
    reader = (directory / "server.json").open(encoding="utf-8")
    threading.Timer(2, reader.close).start()
    assert ask(EmbeddedServer.start(directory), "SELECT 1") == 1
    server.stop()
    assert refused


def test_a_long_log_that_somebody_reads_is_no_reason_not_to_start(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_cluster, "LOG_LIMIT", 0)
    refused = _refuse_once(monkeypatch, "server.log")
    with (directory / "server.log").open(encoding="utf-8"):
        server = EmbeddedServer.start(directory)
    assert ask(server, "SELECT 1") == 1
    server.stop()
    assert refused


def test_only_windows_is_given_time(monkeypatch: pytest.MonkeyPatch):
    tries = []

    def refused_once() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise PermissionError(13, "Permission denied")
        return "done"

    monkeypatch.setattr(sys, "platform", "win32")
    assert _windows.patiently(refused_once) == "done"
    tries.clear()
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(PermissionError):
        _windows.patiently(refused_once)


def test_python_makes_no_folder_for_its_owner_alone(tmp_path: Path):
    """On Windows an administrator's PostgreSQL could not enter it: it sheds the group that owns it (Python 3.12.4 and later)."""
    made: list[tuple[str, int]] = []
    sys.addaudithook(lambda event, of: made.append((os.fsdecode(of[0]), of[1])) if event == "os.mkdir" else None)  # for good: there is no way back
    EmbeddedServer.start(tmp_path / "library").stop()
    assert {mode for path, mode in made if str(tmp_path) in path} == {0o777}


def test_a_process_that_ends_while_it_is_looked_at_is_no_reason_not_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def ended(process: psutil.Process) -> str:
        raise OSError(22, "Invalid handle")  # what psutil passes on of Windows's errors

    monkeypatch.setattr(psutil.Process, "name", ended)
    monkeypatch.setattr(_cluster, "WINDOWS", True)
    assert _cluster.Cluster(tmp_path).processes() == []
    monkeypatch.setattr(_cluster, "WINDOWS", False)  # nothing of the kind: a server that is not seen would be taken for one that has gone
    with pytest.raises(OSError, match="Invalid handle"):
        _cluster.Cluster(tmp_path).processes()


def test_a_path_that_windows_shell_would_change_is_none_for_postgresql():
    assert not _windows._fits("C:\\pictures\\%TEMP%\\library")  # pg_ctl starts the server through cmd


@pytest.mark.skipif(sys.platform != "win32", reason="elsewhere PostgreSQL takes every path")
def test_a_path_that_has_no_readable_name_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_windows, "_fits", lambda path: False)
    with pytest.raises(LibraryError, match="keeps no short names. Move ComfyUI"):
        EmbeddedServer.start(directory)
