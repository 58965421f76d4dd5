"""The hybrid index is made, kept up with what is written, made anew when it must be, and stands in nobody's way meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.hybrid.build import build_hybrid, drop_hybrid
from diffusion_toolkit.db.hybrid.refresh import refresh_hybrid
from diffusion_toolkit.db.indexes.refresh import refresh_search
from host.hybrid_library import DIMS, asked, parts_of


def test_a_new_image_is_found_at_once_and_folded_in_later(library, fill):
    fill(300)
    build_hybrid(library)
    [new], vectors = fill(1, 2)
    parts = tuple(db.Part(kind, vectors[kind][0].astype(np.float32)) for kind in ("prompt", "image"))
    with library.connection() as conn:
        assert new in asked(conn, parts).ids
        before = db.generation(conn)
    assert refresh_search(library) == "1 image added to the hybrid index"
    with library.connection() as conn:
        assert db.generation(conn) != before  # by which searches learn that the tail is empty
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (0,)
        assert new in asked(conn, parts).ids
    assert refresh_search(library) == ""


def test_a_changed_prompt_moves_its_image(library, fill, three_kinds):
    ids, _ = fill(300)
    build_hybrid(library)
    with library.connection() as conn:
        other = db.TextPair("other", "")
        db.update_readings(conn, {ids[0]: db.Reading(prompt=other)})
        db.write_text_vectors(conn, three_kinds["text"], [db.find_text(conn, other)], np.eye(1, DIMS))
    refresh_hybrid(library)
    with library.connection() as conn:
        part = db.Part("prompt", np.eye(1, DIMS, dtype=np.float32)[0])
        top = conn.execute("SELECT count(*) FROM hybrid_vectors WHERE image_id = %s", [ids[0]]).fetchone()
        assert top == (1,)
        assert ids[0] in asked(conn, (part, db.Part("image", part.vector, 0.01))).ids


def test_a_texts_later_vector_is_noted_for_all_its_images(library, fill, three_kinds, encoder):
    fill(20, 1, ("clip_g",))
    fill(20, 2)
    build_hybrid(library)
    with library.connection() as conn:
        text_ids = [row[0] for row in conn.execute("SELECT prompt_id FROM images ORDER BY id LIMIT 5")]
        db.write_text_vectors(conn, three_kinds["clip_g"], text_ids, np.eye(5, DIMS))
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (5,)


def test_nothing_is_noted_without_an_index(library, fill):
    fill(5)
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (0,)


def test_a_library_that_grew_by_a_quarter_is_fitted_anew(library, fill):
    fill(480)
    build_hybrid(library)
    fill(119, 2)
    assert refresh_hybrid(library) == "119 images added to the hybrid index"
    fill(1, 3)
    assert "made over prompt, image, clip_g" in refresh_hybrid(library)
    with library.connection() as conn:
        assert conn.execute("SELECT fitted_on, ready FROM hybrids").fetchall() == [(600, True)]
        assert conn.execute("SELECT count(*) FROM hybrid_vectors").fetchone() == (600,)


def test_images_without_any_of_the_kinds_do_not_make_it_look_small(library, fill, image):
    fill(100)
    with library.connection() as conn:
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(1000, 1300)])
    made = build_hybrid(library)
    assert made["images"] == 100
    assert refresh_hybrid(library) == ""


def test_small_libraries_get_no_index_by_themselves(library, fill):
    fill(100)
    assert refresh_hybrid(library) == ""


def test_a_large_library_gets_one_unless_a_person_said_none(library, fill, monkeypatch):
    from diffusion_toolkit.db.hybrid import refresh

    monkeypatch.setattr(refresh, "AUTOMATIC_FROM", 50)
    fill(100)
    assert "hybrid index made" in refresh_hybrid(library)
    drop_hybrid(library)
    assert refresh_hybrid(library) == ""
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM hybrid_vectors").fetchone() == (0,)


def test_a_build_that_was_broken_off_is_not_used_and_made_anew(library, fill):
    fill(100)

    def stop(stage, done, total):
        if stage.startswith("Filling"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_hybrid(library, progress=stop)
    with library.connection() as conn:
        assert asked(conn, parts_of({"prompt": 1, "image": 1})).ids is None
    assert "hybrid index made" in refresh_hybrid(library)


def test_a_build_that_was_broken_off_is_made_anew_as_it_was_wanted(library, fill):
    fill(100)

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_hybrid(library, ["prompt", "image"], stop)
    assert "made over prompt, image (" in refresh_hybrid(library)
    with library.connection() as conn:
        wanted = conn.execute("SELECT kinds, details->'chosen' FROM hybrids").fetchone()
    assert wanted == (["prompt", "image"], True)


def test_searches_learn_that_it_was_removed_or_is_being_made(library, fill):
    fill(50)

    def generation() -> str:
        with library.connection() as conn:
            return db.generation(conn)

    seen = [generation()]
    build_hybrid(library, progress=lambda stage, done, total: seen.append(generation()))
    assert seen[0] != seen[1]
    before = generation()
    drop_hybrid(library)
    assert generation() != before


def test_a_search_that_lasts_is_waited_for_in_turns_that_let_others_by(library, fill, monkeypatch):
    from diffusion_toolkit.db.hybrid import build

    fill(50)
    build_hybrid(library)
    monkeypatch.setattr(build, "_PATIENCE", 0.1)
    told = []
    with library.connection() as reader:
        reader.execute("SELECT count(*) FROM hybrid_vectors")

        def tell(stage, done, total):
            told.append(stage)
            if len(told) == 3:
                reader.rollback()

        build_hybrid(library, progress=tell)
    assert told[:4] == ["Waiting for searches to end"] * 3 + ["Fitting the hybrid index"]


def test_the_vectors_are_locked_for_no_longer_than_a_batch(library, fill, monkeypatch):
    from diffusion_toolkit.db.hybrid import rows

    monkeypatch.setattr(rows, "BATCH", 20)
    fill(50)
    began = []
    transaction = """SELECT a.xact_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.relation = 'image_vectors'::regclass AND pid <> pg_backend_pid()"""

    def tell(stage, done, total):
        if stage.startswith("Filling"):
            with library.connection() as conn:
                began.append(conn.execute(transaction).fetchone()[0])

    build_hybrid(library, progress=tell)
    assert len(began) == len(set(began)) == 3


def test_progress_is_told(library, fill):
    fill(100)
    stages = []
    build_hybrid(library, progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["Fitting the hybrid index", "Filling the hybrid index"]


def test_only_one_builds_at_a_time(library, fill):
    fill(10)

    def again(stage, done, total):
        build_hybrid(library)

    with pytest.raises(db.LibraryError, match="Another process is building"):
        build_hybrid(library, progress=again)


def test_a_kind_that_few_images_have_is_left_out_unless_a_person_wants_it(library, fill):
    fill(60, 1, ("clip_g",))
    fill(2, 2)
    assert build_hybrid(library)["kinds"] == ["prompt", "image"]
    assert build_hybrid(library, ["prompt", "clip_g"])["kinds"] == ["prompt", "clip_g"]


def test_a_kind_that_hardly_any_image_has_is_refused(library, fill, monkeypatch):
    from diffusion_toolkit.db.hybrid import build

    fill(40, 1, ("clip_g",))
    fill(1, 2)
    monkeypatch.setattr(build, "_sample", lambda conn, kinds: [np.full((9, DIMS), of, np.float32) for of in (1, np.nan)])
    with pytest.raises(db.LibraryError, match="Too few images have CLIP-G vectors"):
        build_hybrid(library, ["prompt", "clip_g"])


def test_a_fold_into_an_index_that_was_replaced_meanwhile_leaves_it_be(library, fill):
    from diffusion_toolkit.db.hybrid import refresh

    fill(40)
    build_hybrid(library)
    fill(2, 2)
    with library.connection() as conn:
        kinds = refresh.choose_kinds(conn)
    build_hybrid(library, ["prompt", "image"])
    fill(1, 3)
    assert refresh._fold(library, kinds, 1, lambda *told: None) == 0
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM hybrid_tail").fetchone() == (1,)


def test_one_kind_is_no_hybrid(library, fill, three_kinds):
    with pytest.raises(db.LibraryError, match="The library is empty"):
        build_hybrid(library)
    fill(3, 1, ("prompt", "clip_g"))
    with pytest.raises(db.LibraryError, match="fewer than two kinds"):
        build_hybrid(library)
    fill(10, 2)
    with pytest.raises(db.LibraryError, match="two kinds or more"):
        build_hybrid(library, ["prompt"])
    with pytest.raises(db.LibraryError, match="has no negative prompt vectors"):
        build_hybrid(library, ["prompt", "negative"])
