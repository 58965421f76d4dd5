"""Settings that a search needs don't stay in the way of what comes after it."""

from __future__ import annotations

import threading

import psycopg
from diffusion_toolkit.db._session import keep_settings, set_now
from host.waiting import wait_until


def shown(conn, *names: str) -> list[str]:
    return [conn.execute(f"SHOW {name}").fetchone()[0] for name in names]


def test_in_a_transaction_they_end_with_it(library):
    with library.connection() as conn:
        set_now(conn, {"hnsw.ef_search": "300", "enable_sort": "off"})
        assert shown(conn, "hnsw.ef_search", "enable_sort") == ["300", "off"]
        set_now(conn, {"enable_sort": "on"})
        assert shown(conn, "enable_sort") == ["on"]
    with library.connection() as conn:
        assert shown(conn, "hnsw.ef_search", "enable_sort") == ["100", "on"]


def test_on_a_reading_connection_they_stay_until_they_are_set_again(library):
    with library.reading() as conn:
        set_now(conn, {"hnsw.ef_search": "300", "enable_sort": "off"})
        assert shown(conn, "hnsw.ef_search", "enable_sort") == ["300", "off"]
        set_now(conn, {"hnsw.ef_search": "100", "enable_sort": "on"})
        assert shown(conn, "hnsw.ef_search", "enable_sort") == ["100", "on"]


def test_a_transaction_after_a_reading_connection_has_what_it_asks_for(library):
    with library.reading() as conn:
        set_now(conn, {"hnsw.ef_search": "600"})
    with library.connection() as again:
        assert again is conn
        for value in ("100", "600"):
            set_now(again, {"hnsw.ef_search": value})
            assert shown(again, "hnsw.ef_search") == [value]


def test_what_is_so_already_is_not_asked_for_on_a_reading_connection(library):
    with library.reading() as conn:
        conn.execute("SELECT set_config('hnsw.ef_search', '700', false)")  # behind its back
        set_now(conn, {"hnsw.ef_search": "100"})
        assert shown(conn, "hnsw.ef_search") == ["700"]
        set_now(conn, {"hnsw.ef_search": "200"})
        assert shown(conn, "hnsw.ef_search") == ["200"]


def test_two_may_open_a_library_at_once_that_lost_its_databases_settings(dsn):
    """As a restored backup has, and a copy of a database: PostgreSQL leaves them out."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    failed = []

    def other() -> None:
        try:
            with psycopg.connect(dsn) as conn:
                keep_settings(conn)
        except psycopg.Error as error:
            failed.append(error)

    with psycopg.connect(dsn, autocommit=True) as admin, psycopg.connect(dsn) as first:
        keep_settings(first)
        thread = threading.Thread(target=other)
        thread.start()
        wait_until(lambda: admin.execute(waiting).fetchone() is not None)
        first.commit()
        thread.join(20)
        kept = admin.execute(
            "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()"
        )
        assert failed == [] and kept.fetchall() == [(["hnsw.ef_search=100", "hnsw.iterative_scan=strict_order"],)]
