"""What is written is what is found in the tables, and nothing is written twice."""

from __future__ import annotations

import zlib
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db


EVERY_SETTING = {
    "prompt_joined": True,
    "negative_joined": True,
    "seed": 2**64 - 1,
    "steps": 20,
    "rating": 4,
    "cfg": 7.5,
    "guidance": 3.5,
    "sampler": "euler",
    "scheduler": "karras",
    "denoise": 0.5,
    "checkpoint": "sdxl.safetensors",
    "vae": "ae.safetensors",
    "text_encoders": ["clip_l.safetensors"],
    "loras": [{"name": "x", "strength_model": 0.5, "strength_clip": 1}],
    "controlnets": [{"name": "canny", "strength": 0.7}],
    "asked_width": 1216,
    "asked_height": 832,
    "generator": "ComfyUI",
    "prompt_confidence": "exact",
    "negative_confidence": "inferred",
    "settings_confidence": "unknown",
    "reading": {"prompt": "node 6", "passes": [{"node": "3", "seed": 2**64 - 1}]},
    "reader": 2,
}


def pair(text: str) -> db.TextPair:
    return db.TextPair(text, text)


def test_a_text_is_stored_once_for_all_images_that_use_it(conn, root, image):
    db.write_images(conn, root, [image(n, prompt=pair("a shark"), negative=pair("blurry")) for n in range(3)])
    assert conn.execute("SELECT text_g FROM texts ORDER BY text_g").fetchall() == [("a shark",), ("blurry",)]


def test_ids_come_back_in_the_order_of_the_records(conn, root, image):
    [one] = db.write_images(conn, root, [image(1)])
    ids = db.write_images(conn, root, [image(2), image(1), image(3)])
    assert ids[1] == one
    hashes = [image(n).hash for n in (2, 1, 3)]
    assert [conn.execute("SELECT hash FROM images WHERE id = %s", [i]).fetchone()[0] for i in ids] == hashes


def test_copies_in_one_batch_are_one_image_with_two_paths(conn, root, image):
    first, second = db.write_images(conn, root, [image(1, path="a.png"), image(1, path="b.png")])
    assert first == second
    assert conn.execute("SELECT path FROM paths ORDER BY path").fetchall() == [("a.png",), ("b.png",)]


def test_a_path_with_new_content_names_the_new_image(conn, root, image):
    old, new = (db.write_images(conn, root, [image(n, path="same.png")])[0] for n in (1, 2))
    found = conn.execute("SELECT path, image_id, file_size, mtime_ns, sidecar_mtime_ns FROM paths").fetchall()
    assert found == [("same.png", new, 12, 2, 0)]
    assert db.get_images(conn, [old])[0].files == ()


def test_a_known_image_takes_the_settings_of_the_newer_reading(conn, root, image):
    [image_id] = db.write_images(conn, root, [image(1, steps=20)])
    db.write_images(conn, root, [image(1, steps=30)])
    assert conn.execute("SELECT id, steps FROM images").fetchall() == [(image_id, 30)]


def test_link_paths_records_a_renamed_file_and_it_is_the_one_shown(library, image):
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        [image_id] = db.write_images(conn, root, [image(1, path="z/old.png")])
    with library.connection() as conn:  # a later transaction: seen later
        db.link_paths(conn, root, [("a/new.png", db.KnownFile(image_id, 5, 6))])
        found = conn.execute("SELECT image_id, file_size, mtime_ns, sidecar_mtime_ns FROM paths WHERE path = 'a/new.png'")
        assert found.fetchall() == [(image_id, 5, 6, 0)]
        assert db.get_images(conn, [image_id])[0].files[0].path == "a/new.png"


def test_a_file_that_is_gone_is_shown_after_one_that_is_there(library, image):
    """Find Duplicates would keep another image, for want of the file."""
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        [image_id] = db.write_images(conn, root, [image(1, path="stays.png")])
    with library.connection() as conn:
        db.link_paths(conn, root, [("copy.png", db.KnownFile(image_id, 5, 6))])
        db.mark_missing(conn, root, ["copy.png"])
        assert [file.path for file in db.get_images(conn, [image_id])[0].files] == ["stays.png", "copy.png"]
        assert conn.execute("SELECT path FROM image").fetchone() == ("/pictures/stays.png",)
        [group] = db.duplicate_groups(conn, [np.array([image_id, *db.write_images(conn, root, [image(2)])])])
        assert [member.path for member in group.members if member.id == image_id] == ["/pictures/stays.png"]


def test_moving_a_drive_is_one_update(conn, root, image):
    ids = db.write_images(conn, root, [image(n) for n in range(3)])
    conn.execute("UPDATE roots SET path = '/mnt/new' WHERE id = %s", [root])
    assert {stored.files[0].root for stored in db.get_images(conn, ids)} == {"/mnt/new"}
    assert conn.execute("SELECT path FROM image WHERE id = %s", [ids[1]]).fetchone() == ("/mnt/new/folder/1.png",)


def test_a_root_is_known_by_its_path_and_takes_a_new_name(conn, root):
    assert db.ensure_root(conn, "pictures", "/pictures") == root
    assert conn.execute("SELECT name FROM roots").fetchall() == [("pictures",)]


def test_every_field_comes_back(conn, root, image):
    record = image(
        7,
        prompt=db.TextPair("wide", "close"),
        negative=pair(""),
        created=datetime(2024, 5, 6, tzinfo=timezone.utc),
        **EVERY_SETTING,
    )
    [image_id] = db.write_images(conn, root, [record])
    [stored] = db.get_images(conn, [image_id])
    assert (stored.files[0].root, stored.files[0].path, stored.hash) == ("/pictures", "folder/7.png", record.hash)
    assert (stored.prompt, stored.negative) == ("wide\nclose", "")
    for name in ["width", "height", "created", *EVERY_SETTING]:
        assert getattr(stored, name) == getattr(record, name), name


def test_every_setting_is_tried_here():
    assert EVERY_SETTING.keys() == {field.name for field in fields(db.ImageSettings)}
    assert all(EVERY_SETTING[field.name] != field.default for field in fields(db.ImageSettings))


def test_the_largest_seed_is_exact_in_the_table(conn, root, image):
    db.write_images(conn, root, [image(1, seed=2**64 - 1)])
    assert conn.execute("SELECT seed FROM images").fetchone() == (Decimal(2**64 - 1),)


def test_numbers_that_no_column_holds_are_left_out(conn, root, image):
    db.write_images(conn, root, [image(1, seed=10**20, steps=2**63, asked_width=2**63)])
    assert conn.execute("SELECT seed, steps, asked_width FROM images").fetchone() == (None, None, None)


def test_a_time_without_a_zone_is_local(conn, root, image):
    moment = datetime(2024, 5, 6, 7, 8)
    db.write_images(conn, root, [image(1, created=moment)])
    assert conn.execute("SELECT created FROM images").fetchone()[0] == moment.astimezone()


def test_nul_and_lone_surrogates_leave_text(conn, root, image):
    db.write_images(conn, root, [image(1, prompt=pair("a\0b\ud800c"), checkpoint="m\0")])
    assert conn.execute("SELECT text_g FROM texts").fetchone() == ("ab?c",)
    assert conn.execute("SELECT checkpoint FROM images").fetchone() == ("m",)


def test_metadata_keeps_its_bytes_beside_json_that_postgresql_takes(conn, root, image):
    raw = b'{"a": NaN, "b": [Infinity, 1e999], "c": "x\\u0000y\\ud800", "d": 123456789012345678901234567890}'
    db.write_images(conn, root, [image(1, metadata={"prompt": raw, "parameters": b"steps: 20"})])
    stored = {
        key: (zlib.decompress(raw), data) for key, raw, data in conn.execute("SELECT key, raw, data FROM metadata")
    }
    assert stored["prompt"] == (raw, {"a": None, "b": [None, None], "c": "xy?", "d": 123456789012345678901234567890})
    assert stored["parameters"] == (b"steps: 20", None)


def test_json_that_nests_too_deep_is_kept_as_bytes_only(conn, root, image):
    raw = b"[" * 5000 + b"]" * 5000
    db.write_images(conn, root, [image(1, metadata={"prompt": raw})])
    assert conn.execute("SELECT data FROM metadata").fetchone() == (None,)


def test_json_that_would_unfold_in_memory_is_kept_as_bytes_only(conn, root, image):
    raw = b"[" + b"[]," * 1_500_000 + b"0]"
    db.write_images(conn, root, [image(1, metadata={"prompt": raw})])
    assert conn.execute("SELECT data, length(raw) < 100000 FROM metadata").fetchone() == (None, True)


def test_a_name_that_is_no_unicode_is_refused_before_anything_is_written(conn, root, image):
    with pytest.raises(ValueError, match=r"'folder/\\udcff.png' is not valid UTF-8"):
        db.write_images(conn, root, [image(1), image(2, path="folder/\udcff.png")])
    with pytest.raises(ValueError, match="not valid UTF-8"):
        db.link_paths(conn, root, [("\udcff.png", db.KnownFile(1, 1, 1))])
    assert conn.execute("SELECT count(*) FROM images").fetchone() == (0,)


def test_a_batch_too_large_for_one_statement_is_written_in_parts(conn, root, image, monkeypatch):
    from diffusion_toolkit.db import write

    monkeypatch.setattr(write, "_PART_BYTES", 10)
    records = [image(n, prompt=pair(f"text number {n}"), metadata={"prompt": b'{"a": %d}' % n, "parameters": b"x"}) for n in range(4)]
    ids = db.write_images(conn, root, records)
    assert [stored.prompt for stored in db.get_images(conn, ids)] == [f"text number {n}" for n in range(4)]
    assert conn.execute("SELECT count(*) FROM metadata").fetchone() == (8,)
    assert [found.metadata for found in db.stored_pieces(conn, ids).values()] == [record.metadata for record in records]


def test_a_batch_takes_no_more_statements_than_a_row(conn, root, image, monkeypatch):
    sent = []
    execute = type(conn).execute
    monkeypatch.setattr(type(conn), "execute", lambda *args, **kwargs: sent.append(args[1]) or execute(*args, **kwargs))
    counts = []
    for first, rows in ((0, 1), (10, 200)):
        records = [image(n, prompt=pair(f"text {n}"), metadata={"prompt": b"{}"}) for n in range(first, first + rows)]
        db.write_images(conn, root, records)
        db.update_readings(conn, {image_id: db.Reading(prompt=pair(f"new {image_id}")) for image_id in range(1, 1 + rows)})
        counts.append(len(sent))
        sent.clear()
    assert counts[0] == counts[1]


def test_what_a_known_image_carried_is_replaced_by_what_its_new_file_carries(conn, root, image):
    [image_id] = db.write_images(conn, root, [image(1, metadata={"prompt": b"{}", "workflow": b"{}"})])
    db.write_images(conn, root, [image(1, metadata={"prompt": b"[1]"}), image(2)])
    assert db.stored_pieces(conn, [image_id])[image_id].metadata == {"prompt": b"[1]"}


def test_a_perceptual_hash_comes_with_the_image_and_stays_when_a_reading_has_none(conn, root, image):
    [image_id] = db.write_images(conn, root, [image(1, phash=-5)])
    db.write_images(conn, root, [image(1)])
    assert [column.tolist() for column in db.read_phashes(conn)] == [[image_id], [-5]]
    db.write_images(conn, root, [image(1, phash=7)])
    assert db.read_phashes(conn)[1].tolist() == [7]


def test_labels_of_any_writing_are_stored_as_they_are(conn, root, image):
    labels = ('a "quoted" one', "back\\slash", "{braces}", "null", "ünïcode", "it's")
    [image_id] = db.write_images(conn, root, [image(1, labels=labels), image(2)])[:1]
    assert db.get_images(conn, [image_id])[0].labels == tuple(sorted(labels))


@pytest.mark.parametrize("texts", [("a", "a"), ("a", "b"), ("a", ""), ("", "b"), ("", "")])
def test_python_and_the_database_join_a_pair_alike(conn, texts):
    text_id = db.ensure_text(conn, db.TextPair(*texts))
    assert conn.execute("SELECT joined FROM texts WHERE id = %s", [text_id]).fetchone()[0] == db.TextPair(*texts).joined


def test_pairs_that_read_alike_when_put_together_stay_apart(conn):
    assert db.ensure_text(conn, db.TextPair("ab", "c")) != db.ensure_text(conn, db.TextPair("a", "bc"))


def test_a_recorded_text_is_found_and_read_back(conn):
    text_id = db.ensure_text(conn, db.TextPair("g", "l"))
    assert db.find_text(conn, db.TextPair("g", "l")) == text_id
    assert db.get_text(conn, text_id) == db.TextPair("g", "l")
    assert db.find_text(conn, db.TextPair("l", "g")) is None


def test_an_image_that_does_not_exist_is_named(conn):
    with pytest.raises(db.LibraryError, match="no image 41, 42"):
        db.get_images(conn, [42, 41])


def test_images_that_do_not_exist_are_left_out_where_they_may_have_been_removed(conn, root, image):
    ids = db.write_images(conn, root, [image(n) for n in range(2)])
    assert [found.id for found in db.get_images(conn, [ids[1], 41, ids[0]], gone_ones=True)] == ids[::-1]


def test_the_generation_grows_with_each_write_and_only_then(library, image):
    seen = []
    for step in (
        lambda conn: db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1)]),
        lambda conn: db.get_images(conn, [1]),
        lambda conn: db.link_paths(conn, 1, [("b.png", db.KnownFile(1, 1, 1))]),
    ):
        with library.connection() as conn:
            step(conn)
            seen.append(db.generation(conn))
    assert seen[0] == seen[1] < seen[2]


def test_an_error_inside_the_block_takes_back_what_it_wrote(library, image):
    with pytest.raises(KeyboardInterrupt), library.connection() as conn:
        db.ensure_root(conn, "output", "/pictures")
        raise KeyboardInterrupt
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM roots").fetchone() == (0,)


def test_forgetting_an_image_takes_all_that_hangs_on_it_but_no_shared_text(conn, root, image):
    [image_id] = db.write_images(conn, root, [image(1, prompt=pair("p"), metadata={"prompt": b"{}"})])
    conn.execute("DELETE FROM images WHERE id = %s", [image_id])
    for table, left in [("paths", 0), ("metadata", 0), ("texts", 1)]:
        assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (left,), table


def test_a_text_that_an_image_uses_cannot_be_deleted(conn, root, image):
    db.write_images(conn, root, [image(1, prompt=pair("p"))])
    with pytest.raises(psycopg.errors.ForeignKeyViolation), conn.transaction():
        conn.execute("DELETE FROM texts")


def test_every_foreign_key_has_an_index_that_begins_with_it(conn):
    without = conn.execute(
        """
        SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])
        """
    ).fetchall()
    assert without == []


def test_all_files_of_an_image_are_told_the_latest_seen_first(conn, root, image) -> None:
    [image_id] = db.write_images(conn, root, [image(7, path="a/first.png")])
    conn.execute("UPDATE paths SET seen = now() - interval '1 hour'")
    db.link_paths(conn, root, [("b/copy.png", db.KnownFile(image_id, 5, 99))])
    files = db.get_images(conn, [image_id])[0].files
    assert [file.path for file in files] == ["b/copy.png", "a/first.png"]
    assert (files[0].size, files[0].mtime_ns) == (5, 99)


def test_a_name_that_no_index_takes_is_cut(conn, root, image):
    long = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(5000))  # hardly to be compressed
    [image_id] = db.write_images(conn, root, [image(1, checkpoint=long, sampler=long)])
    [stored] = db.get_images(conn, [image_id])
    assert stored.checkpoint == stored.sampler == long[:500]


DAY = timedelta(days=1)
CHANGED = datetime(2025, 3, 14, 12, tzinfo=timezone.utc)


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def dates(conn, *ids: int) -> list[tuple[datetime | None, bool]]:
    return [(stored.created, stored.created_own) for stored in db.get_images(conn, ids)]


def test_without_a_date_of_its_own_an_image_has_the_one_of_its_file(conn, root, image) -> None:
    own = CHANGED - DAY
    records = [image(1, mtime_ns=nanoseconds(CHANGED)), image(2, mtime_ns=nanoseconds(CHANGED), created=own), image(3, mtime_ns=0)]
    ids = db.write_images(conn, root, records)
    assert dates(conn, *ids) == [(CHANGED, False), (own, True), (None, False)]
    assert [found.created for found in db.stored_pieces(conn, ids).values()] == [None, own, None]  # its file carries none


@pytest.mark.parametrize("linked", [False, True])
def test_the_earliest_time_of_an_images_files_is_kept(conn, root, image, linked: bool) -> None:
    first, second = image(1, mtime_ns=nanoseconds(CHANGED)), image(1, path="same.png", mtime_ns=nanoseconds(CHANGED + DAY))
    [image_id, _] = db.write_images(conn, root, [second, first])
    assert dates(conn, image_id) == [(CHANGED, False)]
    for moment, kept in ((CHANGED + DAY, CHANGED), (CHANGED - DAY, CHANGED - DAY)):
        if linked:
            db.link_paths(conn, root, [("copy.png", db.KnownFile(image_id, 5, nanoseconds(moment)))])
        else:
            db.write_images(conn, root, [image(1, mtime_ns=nanoseconds(moment))])
        assert dates(conn, image_id) == [(kept, False)]


def test_a_date_of_its_own_gives_way_to_no_time_of_a_file(conn, root, image) -> None:
    [image_id] = db.write_images(conn, root, [image(1, mtime_ns=nanoseconds(CHANGED))])
    db.write_images(conn, root, [image(1, mtime_ns=nanoseconds(CHANGED), created=CHANGED + DAY)])
    assert dates(conn, image_id) == [(CHANGED + DAY, True)]
    db.write_images(conn, root, [image(1, mtime_ns=nanoseconds(CHANGED))])
    db.link_paths(conn, root, [("copy.png", db.KnownFile(image_id, 5, nanoseconds(CHANGED)))])
    assert dates(conn, image_id) == [(CHANGED + DAY, True)]


def test_the_times_of_files_serve_dates_ages_and_orders(conn, root, image) -> None:
    moments = [datetime.now(timezone.utc) - days * DAY for days in (2, 1, 400)]
    ids = db.write_images(conn, root, [image(n, mtime_ns=nanoseconds(moment)) for n, moment in enumerate(moments)])
    assert db.list_images(conn, db.parse_filter("age:7d"), "newest") == [ids[1], ids[0]]
