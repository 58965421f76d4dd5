"""A library is dumped and restored with the programs that come with it, and searched in its new place."""

from __future__ import annotations

import subprocess

import numpy as np
from diffusion_toolkit import db
from diffusion_toolkit.db.server.embedded import EmbeddedServer


def test_a_restored_dump_is_searched_like_the_original(
    library, dsn, new_database, image, encoder, unit, tmp_path, monkeypatch
):
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        ids = db.write_images(conn, root, [image(n, prompt=db.TextPair(f"p{n}", f"p{n}")) for n in range(2)])
        by_image, states = encoder(conn, "image"), encoder(conn, "token_states")
        db.write_image_vectors(conn, by_image, ids, np.stack([unit(1), unit(0, 1)]))
        text_id = db.find_text(conn, db.TextPair("p0", "p0"))
        db.write_token_states(
            conn, states, {text_id: db.TokenStates(np.ones((2, 8), np.float16), np.ones(3, np.float16))}
        )

    dump, other = tmp_path / "library.dump", new_database()
    subprocess.run([EmbeddedServer.binary("pg_dump"), "--format=custom", f"--file={dump}", dsn], check=True)
    subprocess.run(
        [EmbeddedServer.binary("pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={other}", dump], check=True
    )

    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", other)
    with db.open_library("default", tmp_path).connection() as conn:
        assert conn.info.dbname in other
        question = db.Question(parts=(db.Part("image", unit(0, 1)),), k=1)
        assert [hit.image_id for hit in db.search(conn, question).hits] == ids[1:]
        assert db.token_states(conn, text_id, states).states.shape == (2, 8)
        assert conn.execute("SELECT path FROM image WHERE id = %s", [ids[0]]).fetchone() == ("/pictures/folder/0.png",)
        db.write_images(conn, root, [image(5)])  # the counters of ids moved along
        kept = conn.execute(
            "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = "
            "current_database()"
        )
        assert kept.fetchone()[0] == ["hnsw.ef_search=100", "hnsw.iterative_scan=strict_order"]
