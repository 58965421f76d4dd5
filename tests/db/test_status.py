"""Library Status: what it counts, and each problem with what to do, on real libraries in that state."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._builder_lock import alone
from diffusion_toolkit.db.health.problems import SMALL
from diffusion_toolkit.db.health.status import library_status
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.sizes import in_bytes
from host.comfy_models import import_comfy


@pytest.fixture
def filled(library, image, encoder) -> db.Library:
    """Three images: two with prompts, all with image vectors, one prompt with a vector."""
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        records = [
            image(1, prompt=db.TextPair("a shark", "a shark"), reader=3),
            image(2, prompt=db.TextPair("bread", "bread"), reader=3),
            image(3, reader=1),
        ]
        ids = db.write_images(conn, root, records)
        looks = encoder(conn, "image")
        db.write_image_vectors(conn, looks, ids, np.eye(3, 8, dtype=np.float32))
        words = encoder(conn, "text")
        db.write_text_vectors(conn, words, [db.find_text(conn, records[0].prompt)], np.ones((1, 8), np.float32))
    return library


def told(library: db.Library, **options) -> str:
    return "\n".join(f"{problem.what} {problem.remedy}" for problem in library_status(library, **options).problems)


def test_an_empty_library_says_what_to_do_first(library):
    status = library_status(library)
    assert (status.images, status.texts, status.size > 0) == (0, 0, True)
    older_pgvector = len(library.warnings)  # first, and on Windows alone
    assert [problem.what for problem in status.problems[older_pgvector:]] == ["The library is empty."]


def test_counts_coverage_and_versions(filled):
    status = library_status(filled)
    assert (status.name, status.images, status.paths, status.texts) == ("default", 3, 3, 2)
    assert {known.kind: (known.have, known.could) for known in status.coverage} == {
        "prompt": (1, 2), "negative": (0, 0), "image": (3, 3), "clip_l": (0, 2), "clip_g": (0, 2),
    }  # fmt: skip
    assert status.server.split(".")[0].isdigit() and status.pgvector.startswith("0.")
    assert {known.encoder.family: known.vectors for known in status.encoders} == {"image": 3, "text": 1}
    assert status.vector_bytes[0] > 0 and status.sizes["images"][0] > 0


def test_kinds_are_told_in_words(filled, encoder, image):
    with filled.connection() as conn:
        encoder(conn, "clip_l")
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(4, prompt=db.TextPair("a", "a"), negative=db.TextPair("b", "b"))])
        conn.execute("INSERT INTO hybrids VALUES (DEFAULT, '{negative,clip_g}', '{1,2}', 16, '', '{}', 1)")
    said = told(filled)
    assert "3 of 3 images have no CLIP-L vector by" in said and "1 of 1 image has no negative prompt vector by" in said
    assert "The index over negative prompt, CLIP-G was not finished." in said


def test_encoders_and_indexes_are_listed_by_the_same_words(filled, encoder):
    import_comfy()
    from diffusion_toolkit.nodes.library.status_report import status_text

    with filled.connection() as conn:
        for family in ("clip_g", "token_states"):
            encoder(conn, family)
        conn.execute("INSERT INTO hybrids VALUES (DEFAULT, '{negative,clip_g}', '{1,2}', 16, '', '{\"candidates\": {}}', 3, true)")
    text = status_text(library_status(filled))
    assert "\n  several kinds at once (negative prompt, CLIP-G): fitted on 3 images, " in text and "not finished" not in text
    assert "\n  * CLIP-G: clip_g aa [aa], 8 dimensions, 0 vectors" in text and "\n  * token states: token_states aa [aa], 8" in text


def test_what_there_is_one_of_or_none_is_told_so(library, image):
    import_comfy()
    from diffusion_toolkit.nodes.library.status_report import status_text

    with library.connection() as conn:
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1)])
    text = status_text(library_status(library))
    assert text.startswith("Library 'default': 1 image, 1 file, 0 texts, ") and "\n  output: /pictures, 1 file\n" in text
    assert "\nEncoders (* is the one that searches use):\n  none: no model has made a vector yet\n\n" in text


def test_the_servers_log_is_told_where_the_user_may_know_it(filled, as_user):
    import_comfy()
    from diffusion_toolkit.nodes.library.status_report import status_record, status_text

    status = library_status(filled)
    assert status.wal >= 2**24 and status_record(status)["wal_bytes"] == status.wal  # a segment at least
    assert f"Beside the library: the server's log of what was written last (WAL), {in_bytes(status.wal)}\n" in status_text(status)
    status = library_status(as_user())
    assert status.wal is None and "WAL" not in status_text(status) and status.roots  # asked after it


def test_what_the_token_states_of_a_text_take_does_not_grow_when_others_are_removed(library):
    with library.connection() as conn:
        states = db.ensure_encoder(conn, db.Encoder("token_states", "s", "clip", 64, {}))
        texts = [db.ensure_text(conn, db.TextPair(text, "")) for text in ("one", "two", "three")]
        noise = np.random.default_rng(5).standard_normal((77, 64))
        db.write_token_states(conn, states, {id_: db.TokenStates(noise, np.ones(2)) for id_ in texts})
    before = library_status(library).states_size
    with library.connection() as conn:
        conn.execute("DELETE FROM token_states WHERE text_id = ANY(%s)", [texts[1:]])
    assert library_status(library).states_size == before and 77 * 64 < before < 77 * 64 * 2 + 1000
    with library.connection() as conn:
        conn.execute("DELETE FROM token_states")
    assert library_status(library).states_size == 0


def test_missing_vectors_name_the_model_and_the_step(filled):
    said = told(filled)
    assert "1 of 2 images has no prompt vector by text aa [aa]. Queue Index Folder on output/folder with that model" in said
    assert "image vector" not in said and "negative" not in said


def test_kinds_whose_model_no_run_had_are_no_problems_and_told_apart_with_the_way_to_have_them(filled):
    from diffusion_toolkit.nodes.library.status_report import status_record, status_text

    status = library_status(filled)
    [kinds] = status.never_made
    assert (kinds.what, kinds.remedy) == (
        "There are no CLIP-L and CLIP-G vectors, which are optional: searches by them find nothing.", "Queue Index Folder with a CLIP connected."
    )
    assert "CLIP-" not in told(filled) and status_record(status)["never_made"] == [kinds.told()]
    assert "\nThere are no CLIP-L and CLIP-G vectors, which are optional: searches by them find nothing.\n   -> Queue" in status_text(status)
    with filled.connection() as conn:  # a run with a CLIP was cut off before it ended
        db.ensure_encoder(conn, db.Encoder("clip_l", "cc", "clip_l cc", 8))
    assert "There are no CLIP-L vectors: searches by them find nothing. Queue Index Folder with a CLIP connected." in told(filled)
    assert [kinds.what[:25] for kinds in library_status(filled).never_made] == ["There are no CLIP-G vecto"]


def test_a_library_with_one_kind_alone_and_that_complete_has_no_problem(library, image, encoder):
    from diffusion_toolkit.nodes.library.status_report import status_text

    with library.connection() as conn:
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1, prompt=db.TextPair("a", "a"))])
        db.write_image_vectors(conn, encoder(conn, "image"), ids, np.ones((1, 8), np.float32))
    status = library_status(library)
    assert status.problems == [] or len(status.problems) == len(library.warnings)  # an older pgvector, on Windows alone
    assert [kinds.remedy for kinds in status.never_made] == ["Queue Index Folder with a text embedder connected.", "Queue Index Folder with a CLIP connected."]
    assert ("\nNo problem found.\nThere are no prompt vectors, which are optional" in status_text(status)) == (not library.warnings)


def test_the_folders_of_images_that_lack_a_vector_are_named_those_with_most_first(library, conn, root, image, encoder):
    encoder(conn, "image")
    db.write_images(conn, root, [image(1, path="of the root.png"), image(2, path="b/deep/1.png"), image(3, path="b/2.png")])
    conn.commit()
    assert "Queue Index Folder on output/b and output with that model connected (a CLIP_VISION)." in told(library)
    db.write_images(conn, root, [image(4, path="d/4.png"), image(5, path="c/5.png"), image(6, path="a/6.png")])
    db.mark_missing(conn, root, ["a/6.png"])
    conn.commit()
    assert "on output/b, output, output/c and other folders with that model" in told(library)


@pytest.mark.parametrize("gone", ["DELETE FROM paths", "UPDATE paths SET missing = now()"])
def test_an_image_of_which_no_file_is_there_does_not_lack_a_vector_that_nothing_can_make(filled, gone):
    with filled.connection() as conn:
        conn.execute("DELETE FROM image_vectors WHERE image_id IN (SELECT min(id) FROM images)")
    assert "1 of 3 images has no image vector" in told(filled)
    with filled.connection() as conn:
        conn.execute(f"{gone} WHERE image_id IN (SELECT min(id) FROM images)")
    assert "no image vector" not in told(filled)


def test_images_that_an_older_reader_has_read(filled):
    assert "1 image was read by an older version" in told(filled, reader_version=3)
    assert "older version" not in told(filled, reader_version=1)


def test_vectors_of_a_former_encoder_are_told_with_what_frees_them(filled, encoder, dsn):
    with filled.connection() as conn:
        former = db.active_encoder(conn, "image").id
        encoder(conn, "image", "bb")
    [problem] = [found for found in library_status(filled).problems if "are kept of" in found.what]
    assert problem.what.startswith("3 vectors are kept of image aa [aa], which is not the last one indexed with")
    assert "Or Index Folder on any folder with that model connected (a CLIP_VISION): searches go by it again." in problem.remedy
    statements = problem.remedy.rpartition(": ")[2]
    assert statements == (
        f"DROP INDEX image_vectors_hnsw_{former}; DELETE FROM encoders WHERE id = {former}; VACUUM FULL image_vectors;"
    )
    with psycopg.connect(dsn, autocommit=True) as admin:
        for statement in statements.split(";"):
            admin.execute(statement)
    status = library_status(filled)
    assert not [found for found in status.problems if "are kept of" in found.what]
    assert former not in [known.encoder.id for known in status.encoders]
    assert not [index for index in status.indexes if index.name.endswith(f"_{former}")] and status.sizes["image_vectors"][0] < 8192


def test_an_index_whose_making_was_cut_short(filled, dsn):
    with filled.connection() as conn:
        known = db.active_encoder(conn, "image").id
        conn.execute(
            f"CREATE INDEX IF NOT EXISTS image_vectors_hnsw_{known} ON image_vectors"
            f" USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops) WHERE encoder_id = {known}"
        )
    assert "not sound" not in told(filled)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'image_vectors_hnsw_{known}'::regclass")
    assert f"The index image_vectors_hnsw_{known} is not sound" in told(filled)
    with alone(filled):  # who makes one now
        assert "not sound" not in told(filled)


def test_indexes_are_told_by_what_they_serve(filled):
    with filled.connection() as conn:
        looks, words = db.active_encoder(conn, "image"), db.active_encoder(conn, "text")
        for name in ("of_a_person", "image_vectors_former_binary_98"):  # the encoder of one was removed
            conn.execute(f"CREATE INDEX {name} ON image_vectors USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops)")
        conn.execute(f"ALTER INDEX image_vectors_hnsw_{looks.id} RENAME TO image_vectors_former_hnsw_{looks.id}")
    db.set_index(filled, words.id, "binary")
    assert [(of.name, of.kinds, of.encoder, of.method, of.state) for of in library_status(filled).indexes] == [
        ("image_vectors_former_binary_98", (), None, "binary", "former"),
        (f"image_vectors_former_hnsw_{looks.id}", ("image",), looks, "hnsw", "former"),
        ("of_a_person", (), None, "hnsw", ""),
        (f"text_vectors_binary_{words.id}", ("prompt", "negative"), words, "binary", ""),
    ]


def test_programs_are_told_which_of_two_indexes_is_to_go(filled):
    from diffusion_toolkit.nodes.library.status_report import status_record

    with filled.connection() as conn:
        looks = db.active_encoder(conn, "image").id
        former = f"image_vectors_former_hnsw_{looks}"
        conn.execute(f"CREATE INDEX {former} ON image_vectors USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops)")
    told = {index["name"]: (index["model"], index["state"]) for index in status_record(library_status(filled))["indexes"]}
    assert told[f"image_vectors_hnsw_{looks}"] == ("image aa", "") and told[former] == ("image aa", "former")


@pytest.fixture
def three_are_many(monkeypatch):
    monkeypatch.setattr(strategy, "EXACT_BELOW", 3)


def tried(library: db.Library, rows: int, **efforts: int | None) -> None:
    """Say that the index of the image vectors was tried with so many."""
    said = json.dumps({"rows": rows, "efforts": {**dict.fromkeys(db.SHAPES, 100), **efforts}, "reached": None})
    with library.connection() as conn:
        conn.execute(f"COMMENT ON INDEX image_vectors_hnsw_{db.active_encoder(conn, 'image').id} IS '{said}'")
        db.bump_generation(conn)


def test_an_index_that_was_not_tried_lately_is_told_with_who_can(filled, three_are_many, as_user):
    assert "The index of 3 image vectors by image aa was not tried yet: searches may miss" in told(filled)
    assert "Queue Index Folder: any run tries it at its end." in told(filled) and "text vectors by" not in told(filled)
    tried(filled, 1)
    assert "was last tried with 1: searches" in told(filled)
    tried(filled, 2)
    assert "tried" not in told(filled)
    tried(filled, 1)
    assert "Folder, as the PostgreSQL user postgres, whose index it is, or as a member of it: any run tries it" in told(as_user())


def test_an_index_that_misses_what_people_ask_for_is_told_with_what_may_help(filled, three_are_many, monkeypatch):
    tried(filled, 3, between=None, opposite=None, far=None)
    assert "misses" not in told(filled)  # of sums that is common, and nobody has a description encoder for these pictures
    tried(filled, 3, near=None, far=None)
    assert "The index of 3 image vectors by image aa misses too many of the best images for one query: such searches" in told(filled)
    with filled.connection() as conn:
        conn.execute("""UPDATE encoders SET details = '{"picture_tower": "x"}'""")
        known = db.active_encoder(conn, "image").id
        db.bump_generation(conn)
    said = told(filled)
    assert "for one query and for a description: such searches compare with every vector. Nothing, while that is fast enough" in said
    for m, words in ((16, "make it anew with Build Index and m 24"), (24, "Build Index and m 48"), (48, "")):
        db.set_index(filled, known, "hnsw", m=m, ef_construction=100)
        tried(filled, 3, near=None)
        assert words in told(filled) and ("Build Index" in told(filled)) == bool(words)
    monkeypatch.setattr(strategy, "EXACT_BELOW", 4)  # so few are compared with all in any case
    assert "misses" not in told(filled)


def test_many_vectors_without_an_index(filled):
    with filled.connection() as conn:
        known = db.active_encoder(conn, "image").id
        conn.execute(f"DROP INDEX IF EXISTS image_vectors_hnsw_{known}")
        conn.execute(
            "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader)"
            " SELECT decode(lpad(n::text, 64, '0'), 'hex'), 1, 1, false, false, '[]', 3 FROM generate_series(100, %s) n",
            [100 + SMALL],
        )
        conn.execute(
            "INSERT INTO image_vectors SELECT id, %s, '[1,0,0,0,0,0,0,0]' FROM images"
            " WHERE id NOT IN (SELECT image_id FROM image_vectors)",
            [known],
        )
    assert "20,004 image vectors have no index" in told(filled)


def test_an_index_over_several_kinds_that_is_old_or_unfinished(filled):
    with filled.connection() as conn:
        conn.execute(
            "INSERT INTO hybrids (kinds, encoder_ids, dims, projection, details, fitted_on, ready)"
            " VALUES ('{image,prompt}', '{1,2}', 16, '', '{\"candidates\": {}}', 1, true)"
        )
    assert "The index over image, prompt was fitted on 1 image; the library has 3 now." in told(filled)
    with filled.connection() as conn:
        conn.execute("UPDATE hybrids SET ready = false")
    assert "The index over image, prompt was not finished." in told(filled)
    with filled.connection() as conn:  # by a version whose indexes are not searched any more
        conn.execute("UPDATE hybrids SET ready = true, details = '{}'")
    assert "The index over image, prompt was not finished." in told(filled)
    with alone(filled):
        assert "not finished" not in told(filled)


def test_as_many_new_images_as_searches_leave_the_index_for_are_a_problem(filled, monkeypatch):
    monkeypatch.setattr("diffusion_toolkit.db.health.problems.TAIL_MOST", 2)
    with filled.connection() as conn:
        conn.execute(
            "INSERT INTO hybrids (kinds, encoder_ids, dims, projection, details, fitted_on, ready)"
            " VALUES ('{image,prompt}', '{1,2}', 16, '', '{\"candidates\": {}}', 3, true)"
        )
        conn.execute("INSERT INTO hybrid_tail SELECT id FROM images ORDER BY id LIMIT 2")
    assert "new images" not in told(filled)
    with filled.connection() as conn:
        conn.execute("INSERT INTO hybrid_tail SELECT id FROM images ON CONFLICT DO NOTHING")
    assert "3 new images are not in the index over several kinds yet. With more than 2, searches do without it." in told(filled)


def test_a_warning_of_the_preflight_is_a_problem_with_its_remedy(dsn, monkeypatch, tmp_path):
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("UPDATE pg_extension SET extversion = '0.8.3' WHERE extname = 'vector'")
    library = db.open_library("default", tmp_path)
    [first, *_] = library_status(library).problems
    assert first.what.startswith("The database has pgvector 0.8.3") and "ALTER EXTENSION vector UPDATE" in first.remedy


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (99_600, "100 kB"), (123_456_789, "123 MB"), (10**12, "1 TB")]
)
def test_sizes_in_words(size, words):
    assert in_bytes(size) == words
