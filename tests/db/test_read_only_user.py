"""A PostgreSQL user who may only read: searches work, and whatever would write says why it can't."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.pipeline import Encoders
from diffusion_toolkit.nodes.indexing.index_store import FolderStore


def test_a_user_who_may_only_read_searches(as_user, fill):
    ids, vectors = fill(30)
    library = as_user()
    with library.reading() as conn:
        one = db.search(conn, db.Question(parts=(db.Part("image", vectors["image"][3]),), k=5)).hits
        parts = tuple(db.Part(kind, vectors[kind][7]) for kind in ("prompt", "image"))
        mixed = db.search(conn, db.Question(parts=parts, k=5, filter=db.parse_filter("path:folder"))).hits
        assert (one[0].image_id, mixed[0].image_id) == (ids[3], ids[7])
        assert db.get_images(conn, ids[:1])[0].prompt == "text 0"
        assert db.counts(conn).images == 30
        assert len(db.list_images(conn, k=5)) == 5
    assert db.library_status(library).images == 30


def test_a_user_who_may_only_read_is_told_why_indexing_fails(as_user, library, tmp_path):
    with pytest.raises(db.LibraryError, match="may not do this .*One that may only read it can search, and can't index"):
        FolderStore(as_user(), "output", tmp_path, "", Encoders())


def test_claims_too_are_refused_with_the_reason(as_user, library, conn, root):
    conn.commit()
    with pytest.raises(db.LibraryError, match="One that may only read it can search"):
        db.Run(as_user(), "reader").claim(root, [db.FileState("a.png", 1, 1, 0)])


def test_a_library_of_an_older_version_is_not_opened_by_one_who_cannot_bring_it_up_to_date(as_user, dsn, library):
    newest = max(Path(db.__file__).parent.glob("migrations/*.sql")).name
    library.close()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("DELETE FROM migrations WHERE name = %s", [newest])
    with pytest.raises(db.LibraryError, match="made by an older Diffusion Toolkit .*Open it once as the user who owns its tables"):
        as_user()
