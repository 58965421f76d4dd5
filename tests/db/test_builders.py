"""The lock of whoever makes indexes is held as long as the making takes, and no longer."""

from __future__ import annotations

import time

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._builder_lock import alone, being_built


def built(library: db.Library) -> bool:
    with library.connection() as conn:
        return being_built(conn)


def test_a_server_that_ends_idle_connections_lets_no_second_builder_in(library):
    with library.connection() as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET idle_session_timeout = '1s'")
    library.close()
    with alone(library):
        time.sleep(2.5)
        assert built(library)


def test_a_cancel_that_comes_just_as_the_lock_is_had_leaves_it_free(library, monkeypatch):
    commit = db.Connection.commit

    def cancelled(conn: db.Connection) -> None:
        has_it = conn.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())").fetchone()[0]
        commit(conn)
        if has_it:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(db.Connection, "commit", cancelled)
        with alone(library):
            pass
    assert not built(library)


def test_the_lock_is_free_as_soon_as_it_is_given_up(library):
    with library.connection() as watcher:
        for _ in range(20):
            with alone(library):
                pass
            assert not being_built(watcher)


def test_who_is_refused_gives_up_no_lock_that_it_never_had(library, monkeypatch):
    """The server would put a warning into its log each time."""
    said, connect = [], library.connect

    def heard() -> db.Connection:
        conn = connect()
        conn.add_notice_handler(lambda notice: said.append(notice.message_primary))
        return conn

    with alone(library):
        monkeypatch.setattr(library, "connect", heard)
        with pytest.raises(db.LibraryError, match="Another process is building"), alone(library):
            pass
    assert said == []


def test_what_was_made_while_the_locks_connection_was_lost_is_no_error(library, postgresql):
    with alone(library), psycopg.connect(postgresql.dsn("postgres")) as admin:
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
        with library.connection() as conn:
            assert admin.execute(ended, [conn.info.dbname]).fetchall() == [(True,)]
    assert not built(library)
