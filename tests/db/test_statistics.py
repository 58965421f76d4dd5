"""The planner is told of what it knows nothing of: else it takes minutes for a list that takes a tenth of a second."""

from __future__ import annotations

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import _statistics


@pytest.fixture
def known(library, fill, monkeypatch):
    """The tables that the planner knows of, of a library that was filled just now."""
    fill(30)  # of fewer than 50 autovacuum takes no notice
    monkeypatch.setattr(_statistics, "LARGE", 0)

    def known() -> set[str]:
        with library.connection() as conn:
            return {table for (table,) in conn.execute("SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'public'")}

    assert "images" not in known()
    return known


ALL = {"images", "paths", "texts", "image_vectors", "text_vectors"}


def test_a_library_that_was_filled_by_a_dump_is_analysed_when_it_is_opened(library, known):
    library._prepare()
    assert known() >= ALL


def test_a_library_that_was_filled_by_a_run_is_analysed_at_its_end(library, known):
    db.refresh_search(library)
    assert known() >= ALL


def test_small_tables_and_those_that_are_known_are_left_alone(library, known, monkeypatch):
    monkeypatch.setattr(_statistics, "LARGE", 1 << 20)
    library._prepare()
    assert "images" not in known()
    monkeypatch.setattr(_statistics, "LARGE", 0)
    library._prepare()
    with library.connection() as conn:
        conn.execute("CREATE STATISTICS of_images (ndistinct) ON width, height FROM images")  # which ANALYZE would fill
        _statistics.analyse_unknown(conn)
        assert conn.execute("SELECT count(*) FROM pg_stats_ext WHERE tablename = 'images' AND n_distinct IS NOT NULL").fetchone() == (0,)


def test_who_may_only_read_opens_a_library_that_the_planner_knows_nothing_of(known, as_user):
    as_user()
    assert "images" not in known()


def test_a_table_that_an_index_is_made_on_is_not_waited_for(library, known, dsn):
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE image_vectors IN SHARE UPDATE EXCLUSIVE MODE")
        with library.connection() as conn:
            conn.execute("SET LOCAL lock_timeout = '1s'")
            _statistics.analyse_unknown(conn)
    assert known() >= ALL - {"image_vectors"} and "image_vectors" not in known()


def test_a_table_that_can_not_be_analysed_keeps_no_library_from_being_opened(library, known):
    fails = "BEGIN IF current_setting('test.disk', true) = 'full' THEN RAISE disk_full; END IF; RETURN 1; END"
    with library.connection() as conn:
        conn.execute(f"CREATE FUNCTION looked_at(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $${fails}$$")
        conn.execute("CREATE INDEX ON paths (looked_at(root_id))")
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET test.disk = 'full'")
    library._prepare()
    assert known() >= ALL - {"paths"} and "paths" not in known()
