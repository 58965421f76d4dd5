"""What the workers of one run share: the way to the library, and its texts."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.shared import connection_string, is_this_machine
from host.comfy_models import import_comfy


def test_another_process_reaches_the_same_database(library, dsn, tmp_path):
    with library.connection() as conn:
        db.ensure_text(conn, db.TextPair("a shark", "a shark"))
    told = connection_string(library)
    with psycopg.connect(told) as conn:
        assert conn.execute("SELECT count(*) FROM texts").fetchone() == (1,)
    assert psycopg.conninfo.conninfo_to_dict(told)["password"] == psycopg.conninfo.conninfo_to_dict(dsn)["password"]


def test_another_process_finds_the_library_in_its_schema(dsn, tmp_path, monkeypatch):
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE SCHEMA mine")
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", psycopg.conninfo.make_conninfo(dsn, options="-c search_path=mine,public"))
    library = db.open_library("default", tmp_path)
    told = connection_string(library)
    library.close()
    with psycopg.connect(told) as conn:
        assert conn.execute("SHOW search_path").fetchone() == ("mine,public",)


@pytest.mark.parametrize("server", ["host=127.0.0.1", "host=localhost", "host=/var/run/postgresql", "dbname=images", "host=::1"])
def test_a_server_that_only_this_machine_reaches_is_known(server):
    assert is_this_machine(server)


@pytest.mark.parametrize("server", ["postgresql://db.example/images", "hostaddr=192.0.2.7 dbname=images"])
def test_a_server_that_others_reach_is_none_of_this_machine_alone(server):
    assert not is_this_machine(server)


def test_the_texts_of_all_shares_are_all_texts_each_once_and_so_are_their_counts(library, tmp_path):
    import_comfy()
    from diffusion_toolkit.embedders.pipeline import Encoders
    from diffusion_toolkit.nodes.command.share import Share, SharedStore

    class Embedder:
        fingerprint, name, dims = "a" * 64, "some embedder", 1024

    with library.connection() as conn:
        root = db.ensure_root(conn, "output", str(tmp_path))
        texts = [db.TextPair(f"text {number}", "") for number in range(10)]
        pictures = [db.ImageRecord(bytes([n]) * 32, 8, 8, f"{n}.png", 1, 1, prompt=text) for n, text in enumerate(texts)]
        db.write_images(conn, root, pictures)
    found, counted = [], 0
    for number in range(3):
        with SharedStore(Share(number, 3), library, "output", Path(tmp_path), "", Encoders(text=Embedder())) as store:
            ids, lengths = store.texts_without("text")
            counted += store.count_without("text", 50_000)
        assert len(ids) == len(lengths) > 1
        found += ids.tolist()
    with library.connection() as conn:
        every = {id_ for (id_,) in conn.execute("SELECT id FROM texts WHERE text_g LIKE 'text %'")}
    assert every <= set(found) and len(found) == len(set(found)) == counted
