"""Two processes that index the same pictures at once get the same ids, without deadlock or duplicate."""

from __future__ import annotations

from diffusion_toolkit import db

WRITER = """
import numpy as np, random, sys
library = db.open_library("default", folder)
vectors = np.random.default_rng(0).normal(size=(60, 16))
for batch in range(6):
    order = list(range(60))
    random.shuffle(order)  # each process in its own order
    records = [
        db.ImageRecord(n.to_bytes(32, "big"), 8, 8, f"{n}.png", 1, 1, prompt=db.TextPair(f"p{n % 7}", ""),
                       negative=db.TextPair(f"p{n % 5}", ""), metadata={"prompt": b"{}"})
        for n in order
    ]
    for family in ("text", "image"):
        with library.connection() as conn:
            encoder_id = db.ensure_encoder(conn, db.Encoder(family, f"f{batch}", "name", 16))
            db.activate_encoders(conn, [encoder_id])
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        ids = db.write_images(conn, root, records)
        db.write_image_vectors(conn, encoder_id, ids, vectors[order])
    with library.connection() as conn:  # the other way round in one transaction
        texts = sorted({(n % 7) for n in range(60)}, key=lambda n: random.random())
        text_ids = [db.ensure_text(conn, db.TextPair(f"p{n}", "")) for n in texts]
        text_encoder = db.find_encoder(conn, "text", f"f{batch}").id
        db.write_text_vectors(conn, text_encoder, text_ids, vectors[texts])
        db.write_images(conn, root, records[::-1])
print("done", sorted(ids))
"""


def test_two_writers_meet_without_harm(library, python):
    writers = [python(WRITER) for _ in range(2)]
    said = [writer.communicate(timeout=600)[0] for writer in writers]
    assert all(text.startswith("done") for text in said), said
    assert said[0] == said[1]
    with library.connection() as conn:
        counted = db.counts(conn)
        assert (counted.images, counted.paths, counted.texts) == (60, 60, 7)
        assert conn.execute("SELECT count(*) FROM image_vectors").fetchone() == (6 * 60,)
        assert conn.execute("SELECT count(*) FROM encoders WHERE active").fetchone() == (2,)
