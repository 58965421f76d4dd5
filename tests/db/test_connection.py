"""What a person is told of a server that cannot be used, on real ones in that state; and coming back to a good one."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import threading
import time

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import connection
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.embedded_peers import not_on_windows
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus


@pytest.fixture
def open_with(monkeypatch, tmp_path):
    """Opens the library that a connection string names."""

    def opened(dsn: str, **changes) -> db.Library:
        monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", make_conninfo(dsn, **changes))
        return db.open_library("default", tmp_path)

    return opened


@pytest.fixture
def as_admin(postgresql):
    """Runs statements as superuser in a database."""

    def run(dsn: str, *statements: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement)

    return run


@pytest.fixture
def role(as_admin, postgresql):
    """A user with a password and no rights; gone afterwards."""
    as_admin(postgresql.dsn("postgres"), "CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    yield {"user": "reader", "password": "hunter2"}
    with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")
        for (name,) in admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test%'").fetchall():
            writes = "-c default_transaction_read_only=off"  # also where a test has set the database otherwise
            with psycopg.connect(postgresql.dsn(name), autocommit=True, options=writes) as inside:
                inside.execute("DROP OWNED BY reader")
        admin.execute("DROP ROLE reader")


def test_no_server(open_with):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(db.LibraryError, match="No PostgreSQL server answers for the library. Start it, or correct"):
        open_with(f"postgresql://me:hunter2@127.0.0.1:{port}/pictures")


def test_a_wrong_password(open_with, dsn):
    with pytest.raises(db.LibraryError, match="refuses the user or password. Correct them in DIFFUSION_TOOLKIT_DSN"):
        open_with(dsn, password="hunter2")


def test_a_missing_database(open_with, dsn):
    with pytest.raises(db.LibraryError, match="The database does not exist on the PostgreSQL server. Make it there with: createdb NAME"):
        open_with(dsn, dbname="nowhere")


def test_an_unknown_host(open_with):
    with pytest.raises(db.LibraryError, match="host name is unknown"):
        open_with("postgresql://me:hunter2@nowhere.invalid/pictures")


def test_something_that_is_no_connection_string(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", "my password is hunter2")
    with pytest.raises(
        db.LibraryError, match="is not a PostgreSQL connection string. It looks like postgresql://"
    ) as caught:
        db.open_library("default", tmp_path)
    assert "hunter2" not in str(caught.value)


@not_on_windows("Windows has PostgreSQL 16, which can't be told to overlook pgvector")
def test_pgvector_not_installed_on_the_server(open_with, new_database, as_admin):
    dsn = new_database()
    name = conninfo_to_dict(dsn)["dbname"]
    as_admin(dsn, f"ALTER DATABASE {name} SET extension_control_path = '/nowhere'")  # as on a server without pgvector
    with pytest.raises(db.LibraryError, match="has no pgvector. Install 0.8.4 or newer"):
        open_with(dsn)


def test_pgvector_not_permitted(open_with, new_database, role):
    with pytest.raises(
        db.LibraryError, match="may not install pgvector.*administrator run in this database: CREATE EXTENSION"
    ):
        open_with(new_database(), **role)


def test_tables_not_permitted(open_with, new_database, as_admin, role):
    dsn = new_database()
    as_admin(dsn, "CREATE EXTENSION vector")
    with pytest.raises(db.LibraryError, match="may not do this in the library's database. Make it the owner"):
        open_with(dsn, **role)


def test_a_user_who_may_not_set_the_database_still_gets_50_rows(open_with, new_database, as_admin, role):
    dsn = new_database()
    as_admin(dsn, "CREATE EXTENSION vector", "GRANT CREATE ON SCHEMA public TO reader")
    with open_with(dsn, **role).connection() as conn:
        settings = [conn.execute(f"SHOW {name}").fetchone()[0] for name in ("hnsw.ef_search", "hnsw.iterative_scan")]
    assert settings == ["100", "relaxed_order"]


def test_settings_of_the_administrator_stay(open_with, new_database, as_admin):
    dsn = new_database()
    as_admin(
        dsn, "CREATE EXTENSION vector", f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET hnsw.ef_search = 300"
    )
    with open_with(dsn).connection() as conn:
        assert conn.execute("SHOW hnsw.ef_search").fetchone() == ("300",)
    with psycopg.connect(dsn) as plain:
        plain.execute("SELECT '[1]'::vector")
        assert plain.execute("SHOW hnsw.ef_search").fetchone() == ("300",)


def test_an_old_pgvector_is_refused(open_with, dsn, as_admin):
    as_admin(dsn, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(
        db.LibraryError, match=r"pgvector 0\.7\.4; the library needs 0\.8\.0 or newer.*ALTER EXTENSION vector UPDATE"
    ):
        open_with(dsn)


def test_a_pgvector_with_known_faults_is_warned_of(open_with, dsn, as_admin):
    as_admin(dsn, "UPDATE pg_extension SET extversion = '0.8.3' WHERE extname = 'vector'")
    [warning] = open_with(dsn).warnings
    assert "pgvector 0.8.3; 0.8.4 fixes faults" in warning


def test_a_database_that_is_not_utf8_is_refused(open_with, postgresql, as_admin):
    as_admin(
        postgresql.dsn("postgres"),
        "CREATE DATABASE test_latin ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0",
    )
    with pytest.raises(db.LibraryError, match="encoding SQL_ASCII. Make one with: CREATE DATABASE"):
        open_with(postgresql.dsn("test_latin"))


@not_on_windows("Windows has PostgreSQL 16, which can't be told to overlook pgvector")
def test_all_that_is_missing_is_told_at_once(open_with, new_database, as_admin, role):
    dsn = new_database()
    as_admin(dsn, f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET extension_control_path = '/nowhere'")
    with pytest.raises(db.LibraryError) as caught:
        open_with(dsn, **role)
    first, *problems = str(caught.value).splitlines()
    assert first == "The PostgreSQL server can't hold a library yet:"
    assert [problem.split(".")[0] for problem in problems] == [
        "- The PostgreSQL user may not do this in the library's database", "- The PostgreSQL server has no pgvector",
    ]  # fmt: skip


def test_a_read_only_server_without_a_library_says_so(open_with, new_database, as_admin):
    dsn = new_database()
    as_admin(dsn, "CREATE EXTENSION vector")
    as_admin(dsn, f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET default_transaction_read_only = on")
    with pytest.raises(db.LibraryError, match="is read-only .* and has no library yet. Name the server that it follows"):
        open_with(dsn)


def test_a_newer_pgvector_that_the_server_has_already_is_one_statement_away(open_with, dsn, as_admin):
    as_admin(dsn, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(db.LibraryError, match=r"The server has 0\.8\.\d: as its owner run .*ALTER EXTENSION vector UPDATE"):
        open_with(dsn)


@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("PostgreSQL 16.4 (Debian 16.4-1.pgdg120+1) on x86_64-pc-linux-gnu, compiled by gcc", "apt install postgresql-16-pgvector"),
        ("PostgreSQL 17.2 on x86_64-pc-linux-gnu, compiled by gcc (GCC) 11.5.0 (Red Hat 11.5.0-2), 64-bit", "dnf install pgvector_17"),
        ("PostgreSQL 18.1 (Homebrew) on aarch64-apple-darwin24.6.0, compiled by Apple clang", "brew install pgvector"),
        ("PostgreSQL 16.2, compiled by Visual C++ build 1937, 64-bit", "pgvector#windows"),
        ("PostgreSQL 15.8 on aarch64-unknown-linux-musl, compiled by gcc (Alpine 13.2.1)", "pgvector/pgvector:pg15 in place of"),
        ("PostgreSQL 18devel on riscv64-unknown-linux-gnu", "package postgresql-18devel-pgvector"),
    ],
)
def test_the_way_to_pgvector_is_the_one_of_the_servers_system(version, command):
    from diffusion_toolkit.db.preflight import how_to_get_pgvector

    assert command in how_to_get_pgvector(version)


def test_a_read_only_server_is_searched_but_not_written(open_with, dsn, as_admin):
    as_admin(dsn, f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET default_transaction_read_only = on")
    library = open_with(dsn)
    with library.connection() as conn:
        assert db.counts(conn).images == 0
    with (
        pytest.raises(db.LibraryError, match="is read-only.*search works, indexing does not"),
        library.connection() as conn,
    ):
        db.ensure_root(conn, "output", "/pictures")


def test_connections_that_the_server_ended_are_made_anew(library, postgresql):
    with library.connection() as conn:
        pid = conn.info.backend_pid
    with psycopg.connect(postgresql.dsn("postgres")) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with library.connection() as conn:
        assert conn.info.backend_pid != pid


def test_of_connections_to_a_server_that_went_away_one_is_asked(library, postgresql, monkeypatch):
    """One that is cut off lets each be waited for a minute."""
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(library.connection()).info.backend_pid for _ in range(4)]
    with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as admin:
        for pid in pids:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    asked = []
    monkeypatch.setattr(connection, "_is_fresh", asked.append)
    with library.connection() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert len(asked) == 1


def test_a_connection_lost_in_use_says_so_and_the_next_works(library, postgresql):
    with pytest.raises(db.LibraryError, match="was lost; nothing of this step was written. Try again"):
        with library.connection() as conn, psycopg.connect(postgresql.dsn("postgres")) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])
            db.counts(conn)
    with library.connection() as conn:
        assert db.counts(conn).images == 0


def test_the_embedded_server_that_stopped_is_started_again(monkeypatch, tmp_path):
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN", raising=False)
    library = db.open_library("default", tmp_path)
    with library.connection() as conn:
        db.ensure_root(conn, "output", "/pictures")
        assert conn.info.dbname == "diffusion_toolkit"
    EmbeddedServer.start(tmp_path).stop()  # the same object: nobody is left
    monkeypatch.setattr(connection, "_ensure_database", None)  # it was made when the library was opened, and costs a connection
    with library.connection() as conn:
        assert conn.execute("SELECT name FROM roots").fetchall() == [("output",)]
    library.close()
    EmbeddedServer.start(tmp_path).stop()


@not_on_windows("Windows moves no folder that a program works in")
def test_a_library_that_was_moved_away_is_not_used_over_connections_that_it_had(monkeypatch, tmp_path):
    """Its server goes on; what it would write is found by nobody, were another library put in its place."""
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN", raising=False)
    folder, aside = tmp_path / "library", tmp_path / "aside"
    library = db.open_library("default", folder)
    with library.connection() as conn:
        db.ensure_root(conn, "output", "/pictures")
        conn.execute("CHECKPOINT")
    made = (folder / "postgresql" / "PG_VERSION").stat().st_ctime
    while int(time.time()) == int(made):  # PostgreSQL tells files apart by the second
        time.sleep(0.05)
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("postmaster.pid"))
    folder.rename(aside)
    with pytest.raises(db.LibraryError, match="was removed or emptied while it was in use"), library.connection():
        pass
    aside.rename(folder)
    with library.connection() as conn:
        db.ensure_root(conn, "input", "/others")
    folder.rename(aside)
    (tmp_path / "copy").rename(folder)
    with library.connection() as conn:
        assert conn.execute("SELECT name FROM roots").fetchall() == [("output",)]
    library.close()
    EmbeddedServer.start(folder).stop()


def test_a_statement_that_fails_is_told_by_its_cause(library):
    with (
        pytest.raises(db.LibraryError, match='refused a statement .*relation "nothing" does not exist'),
        library.connection() as conn,
    ):
        conn.execute("SELECT * FROM nothing")


def test_neither_errors_nor_logs_nor_names_tell_the_connection_string(open_with, dsn, caplog):
    caplog.set_level(logging.DEBUG)
    said = []
    for changes in ({"password": "hunter2"}, {"dbname": "nowhere"}, {"user": "stranger"}, {"host": "nowhere.invalid"}):
        with pytest.raises(db.LibraryError) as caught:
            open_with(dsn, **changes)
        assert caught.value.__suppress_context__ and caught.value.__cause__ is None
        said.append(str(caught.value))
    library = open_with(dsn)
    with library.connection() as conn:
        said += [repr(library), repr(conn), str(conn)]
    given = conninfo_to_dict(dsn)
    secrets = ["hunter2", "nowhere", "stranger", *(given[key] for key in ("host", "user", "dbname", "password"))]
    for text in [*said, caplog.text]:
        assert [secret for secret in secrets if secret in text] == []


def test_the_same_library_is_opened_once(open_with, dsn):
    assert open_with(dsn) is open_with(dsn)


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(db.LibraryError, match="no library 'other'. Choose one of: default"):
        db.open_library("other", tmp_path)


def test_threads_get_connections_of_their_own(library):
    barrier, pids = threading.Barrier(6), set()

    def use() -> None:
        with library.connection() as conn:
            barrier.wait(30)
            pids.add(conn.info.backend_pid)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 6


def test_a_process_that_used_a_library_ends_at_once(dsn, python):
    child = python(
        "library = db.open_library('default', folder)\nwith library.connection() as conn: print(db.counts(conn).images)"
    )
    assert child.communicate(timeout=60)[0].split() == ["0"]
    assert child.returncode == 0


def test_connections_that_many_needed_at_once_are_kept_for_a_while(library, monkeypatch):
    with contextlib.ExitStack() as stack:
        lent = [stack.enter_context(library.connection()) for _ in range(20)]
    assert len(library._idle) == 16  # more than that are closed at once
    assert sum(conn.closed for conn in lent) == 4
    monkeypatch.setattr(connection, "_BUSY_SECONDS", 0)
    with library.connection():
        pass
    assert len(library._idle) == 4
    assert sum(conn.closed for conn in lent) == 16


def test_a_connection_that_was_just_used_is_lent_without_asking_the_server(library, monkeypatch):
    with library.connection() as conn:
        conn.execute("SELECT")
    monkeypatch.setattr(db.Connection, "execute", lambda *_: pytest.fail("the server was asked"))
    with library.connection() as again:
        assert again is conn


def test_a_reading_connection_begins_no_transaction_and_is_lent_as_a_usual_one_afterwards(library):
    with library.reading() as conn:
        conn.execute("SELECT 1")
        assert conn.info.transaction_status == TransactionStatus.IDLE
    with library.connection() as again:
        assert again is conn and not again.autocommit


def test_a_reading_connection_that_failed_is_lent_again(library):
    with pytest.raises(db.LibraryError), library.reading() as conn:
        conn.execute("SELECT nonsense")
    with library.reading() as again:
        assert again is conn and again.execute("SELECT 1").fetchone() == (1,)
