"""Library Upkeep over a real folder and a real library: what it finds, mends and removes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.indexes.build import graph_options
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from host.kept_pictures import folder, held, look, quiet, upkeep  # noqa: F401  (fixtures)
from PIL import Image

def test_a_run_marks_what_is_gone_and_unmarks_what_is_back(library, folder, upkeep):
    (folder / "cats/b.png").rename(folder / "elsewhere.bin")
    assert upkeep.index().missing == 1
    with library.connection() as conn:
        assert conn.execute("SELECT path FROM paths WHERE missing IS NOT NULL").fetchall() == [("cats/b.png",)]
    (folder / "elsewhere.bin").rename(folder / "cats/b.png")
    assert upkeep.index().unchanged == 5
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM paths WHERE missing IS NOT NULL").fetchone() == (0,)


def test_a_file_that_came_back_damaged_is_there(library, folder, upkeep):
    (folder / "cats/b.png").unlink()
    upkeep.index()
    (folder / "cats/b.png").write_bytes(b"no picture")
    assert upkeep.index().skipped.total == 1
    with library.connection() as conn:
        assert conn.execute("SELECT count(*) FROM paths WHERE missing IS NOT NULL").fetchone() == (0,)


def test_vectors_and_states_that_are_no_good_are_found_and_forgotten(library, upkeep):
    with library.connection() as conn:
        ids = [id_ for (id_,) in conn.execute("SELECT id FROM images ORDER BY id")]
        image = db.ensure_encoder(conn, db.Encoder("image", "i", "vision", 3, {}))
        states = db.ensure_encoder(conn, db.Encoder("token_states", "s", "clip", 4, {}))
        db.write_image_vectors(conn, image, ids, np.ones((4, 3), np.float32))
        conn.execute("UPDATE image_vectors SET embedding = '[0,0,0]' WHERE image_id = %s", [ids[1]])
        texts = [db.ensure_text(conn, db.TextPair(text, "")) for text in ("one", "two")]
        db.write_token_states(conn, states, {id_: db.TokenStates(np.ones((77, 4)), np.ones(2)) for id_ in texts})
        conn.execute("UPDATE token_states SET states = set_byte(states, 9, 255 - get_byte(states, 9)) WHERE text_id = %s", [texts[0]])
    found = look(upkeep, library, thorough=True)
    assert [(encoder.name, bad) for encoder, bad in found.vectors] == [("vision", [ids[1]])]
    assert [(encoder.name, bad) for encoder, bad in found.states] == [("clip", [texts[0]])]
    upkeep.repair(library, found, quiet)
    assert "Removed as no good: 1 vector by vision." in found.done[0] and "damaged token states of 1 text by" in found.done[1]
    after = look(upkeep, library, thorough=True)
    assert after.vectors == after.states == []
    with library.connection() as conn:
        assert conn.execute("SELECT (SELECT count(*) FROM image_vectors), (SELECT count(*) FROM token_states)").fetchone() == (3, 1)


def test_an_index_that_is_not_sound_is_made_anew(library, upkeep):
    with library.connection() as conn:
        encoder = db.ensure_encoder(conn, db.Encoder("image", "i", "vision", 3, {}))
    db.set_index(library, encoder, "hnsw", m=5, ef_construction=50)
    with library.connection() as conn:
        name = f"image_vectors_hnsw_{encoder}"
        conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [name])
    found = look(upkeep, library)
    upkeep.repair(library, found, quiet)
    assert found.done == [f"Made anew, or removed what was left of it: {name}."]
    with library.connection() as conn:
        assert db.indexes_of(conn, db.get_encoder(conn, encoder)) == ["hnsw"]
        assert graph_options(conn, name) == (5, 50)


def test_an_index_of_a_persons_own_is_left_and_what_was_done_is_told_beside_a_maker(library, upkeep, monkeypatch):
    with library.connection() as conn:
        conn.execute("CREATE INDEX of_mine ON image_vectors (image_id)")
        conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'of_mine'::regclass")  # as while it is made
    found = look(upkeep, library)
    upkeep.repair(library, found, quiet)
    with library.connection() as conn:
        assert conn.execute("SELECT to_regclass('of_mine') IS NOT NULL").fetchone() == (True,)

    def busy(*_):
        raise db.LibraryError("Another process is building an index.")

    monkeypatch.setattr(db, "mend_indexes", busy)
    found.done = ["before"]
    upkeep.repair(library, found, quiet)
    assert found.done[:2] == ["before", "Indexes were left as they are: Another process is building an index."]


def test_what_nothing_leads_to_is_removed_lot_by_lot_and_never_beside_a_run(library, folder, upkeep, monkeypatch):
    monkeypatch.setattr(db.health.upkeep, "REMOVED_AT_ONCE", 2)
    with library.connection() as conn:
        for number in range(5):
            db.ensure_text(conn, db.TextPair(f"of no image {number}", ""))
    run, told = db.Run(library, "computer 7, process 12"), []
    run.begin()
    with pytest.raises(db.LibraryError, match="computer 7, process 12 is indexing"):
        db.remove_unused_texts(library, quiet)
    run.end()
    assert db.remove_unused_texts(library, lambda stage, done, total: told.append((done, total))) == 5
    assert told == [(0, 5), (2, 5), (4, 5)]


def test_the_report_says_what_is_wrong_and_what_to_do(library, folder, upkeep):
    from diffusion_toolkit.nodes.library import upkeep_report

    (folder / "cats/b.png").unlink()
    Image.new("RGB", (8, 8), "white").save(folder / "cats/c.png")
    found = look(upkeep, library)
    text = upkeep_report.upkeep_text(found, "show what prune would remove", upkeep.would_prune(library, found))
    assert "prune would remove: 1 file gone from the disk, 1 image with no other file." in text and "  pictures: cats/b.png" in text
    assert "Changed in pictures since they were indexed: 1 file.\n   -> Queue Index Folder on it: it reads them." in text
    assert "pictures: 4 of 5 are there, 1 of them changed; 1 gone" in text and "image: 0 of 4" in text
    record = upkeep_report.upkeep_record(found, "verify", None)
    assert record["files"][0]["gone"] == 1 and record["unsound_vectors"] is None


def test_what_is_changed_and_gone_is_named_some_for_a_person_more_for_a_program(library, folder, upkeep, monkeypatch):
    from diffusion_toolkit.nodes.library import upkeep_report

    monkeypatch.setattr(upkeep_report, "NAMED_HERE", 2)
    for name in ("a.png", "cats/c.png", "cats/deep/d.png"):
        Image.new("RGB", (8, 9), "white").save(folder / name)
    (folder / "cats/b.png").unlink()
    found = look(upkeep, library)
    text = upkeep_report.upkeep_text(found, "verify", None)
    assert "1 gone\n    changed: a.png\n    changed: cats/c.png\n    changed: 1 more\n    gone: cats/b.png\n" in text
    [root] = upkeep_report.upkeep_record(found, "verify", None)["files"]
    assert root["changed_files"] == ["a.png", "cats/c.png", "cats/deep/d.png"] and root["gone_files"] == ["cats/b.png"]
    shown = upkeep_report.upkeep_text(found, "prune", upkeep.would_prune(library, found))
    assert shown.count("cats/b.png") == 1 and "    changed: a.png" in shown


def test_files_that_were_moved_are_told_from_those_that_are_lost(library, folder, upkeep):
    from diffusion_toolkit.nodes.library import upkeep_report

    (folder / "a.png").unlink()  # there is a copy
    (folder / "cats/b.png").rename(folder / "moved.png")
    (folder / "cats/c.png").unlink()
    upkeep.index()
    found = look(upkeep, library)
    [problem] = [problem for problem in upkeep_report.problems(found) if "Gone" in problem.what]
    assert problem.what == "Gone from pictures: 3 files; known elsewhere too: 2 images of theirs (moved or copied)."
    assert problem.remedy.startswith("prune removes them") and "finds those again" not in problem.remedy  # it has
    assert upkeep_report.upkeep_record(found, "verify", None)["files"][0]["elsewhere"] == 2
    text = upkeep_report.upkeep_text(found, "show what prune would remove", upkeep.would_prune(library, found))
    assert "prune would remove: 3 files gone from the disk, 1 image with no other file. What stays: 2 images with files elsewhere." in text
    assert "Queue Index Folder first" not in text
    (folder / "moved.png").rename(folder / "moved again.png")
    found = look(upkeep, library)
    assert "Index Folder finds those again that were moved" in upkeep_report.upkeep_text(found, "verify", None)
    text = upkeep_report.upkeep_text(found, "show what prune would remove", upkeep.would_prune(library, found))
    assert "1 of these has gone since Index Folder last looked. Queue Index Folder first" in text


def test_images_that_go_are_told_first_with_what_they_were_given_and_after_them_what_was_only_moved(library, folder, upkeep, monkeypatch):
    from diffusion_toolkit.nodes.library import upkeep_report

    monkeypatch.setattr(upkeep_report, "NAMED_HERE", 1)
    for copied, place in (("cats/deep/d.png", "later d.png"), ("a.png", "a too.png")):
        shutil.copyfile(folder / copied, folder / place)
    upkeep.index()
    with library.connection() as conn:
        ids = {path: image_id for path, image_id in conn.execute("SELECT path, image_id FROM paths")}
        db.label_images(conn, [ids["cats/c.png"]], add=["sea side", "boat"], namespace="client a", rating=1)
        db.label_images(conn, [ids["cats/b.png"]], rating=-1)
        conn.execute("DELETE FROM paths WHERE path = 'cats/b.png'")
    for gone in ("a.png", "a too.png", "cats/c.png", "cats/deep/d.png", "later d.png"):
        (folder / gone).unlink()
    (folder / "cats/deep/other.bin").write_bytes(b"")  # else it may be where a drive is mounted
    found = look(upkeep, library)
    shown = upkeep.would_prune(library, found)
    text = upkeep_report.upkeep_text(found, "show what prune would remove", shown)
    assert (
        "Images that go, with the last place of each, those with something of yours first:\n"
        "  pictures: cats/c.png  [1 star; labels boat, sea side; namespace client a]\n"
        f"  image {ids['cats/b.png']}, without any known file  [rejected]\n"
        "  pictures: later d.png\n"
        "Moved, or copies: 2 files of images that stay, with all that you gave them:\n"
        "  pictures: a too.png\n"
        "  and 1 more.\n"
    ) in text
    record = upkeep_report.upkeep_record(found, "show what prune would remove", shown)["pruned"]
    assert (record["files"], record["images"], record["without_files"], record["moved_files"]) == (5, 2, 1, 2)
    assert [one["image_id"] for one in record["going"]] == [ids[path] for path in ("cats/c.png", "cats/b.png", "later d.png")]
    assert "Images that went," in upkeep_report.upkeep_text(found, "prune", upkeep.prune(library, found, False, quiet))
    assert held(library) == ({"copies/a again.png"}, 1)


def test_what_was_only_moved_is_no_reason_to_index_first_and_loses_nothing(library, folder, upkeep):
    from diffusion_toolkit.nodes.library import upkeep_report

    (folder / "a.png").unlink()  # there is a copy; nobody has looked yet
    found = look(upkeep, library)
    [problem] = [problem for problem in upkeep_report.problems(found) if "Gone" in problem.what]
    assert problem.remedy.startswith("prune forgets these places. No image goes") and upkeep.would_prune(library, found).unsought == 0
    (folder / "cats/b.png").unlink()
    (folder / "cats/c.png").unlink()
    found = look(upkeep, library)
    [problem] = [problem for problem in upkeep_report.problems(found) if "Gone" in problem.what]
    assert problem.remedy.startswith("2 of them nobody has looked for elsewhere: ") and upkeep.would_prune(library, found).unsought == 2


def test_an_image_that_is_gone_from_two_roots_is_in_no_place_elsewhere(library, folder, upkeep, tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    backup = tmp_path / "backup"
    backup.mkdir()
    for name in ("b.png", "c.png", "deep/d.png"):
        shutil.copyfile(folder / "cats" / name, backup / name.replace("/", " "))
    with FolderStore(library, "backup", backup, "", Encoders()) as store:
        index_folder(backup, Scan(backup), store, Encoders())
    monkeypatch.setattr(upkeep, "roots", lambda: {"pictures": folder, "backup": backup})
    for file in (folder / "cats/b.png", backup / "b.png", folder / "cats/c.png"):
        file.unlink()
    found = look(upkeep, library)
    roots = {name: root_id for name, root_id, _ in found.files}
    assert {root: gone.elsewhere for root, gone in found.gone.items()} == {roots["pictures"]: 1, roots["backup"]: 0}  # c.png; b.png is lost
    assert upkeep.would_prune(library, found).gone.images == 1


def test_what_library_status_says_of_files_that_are_gone_is_not_said_twice_and_that_it_has_not_looked_at_them_is(library, folder, upkeep):
    from diffusion_toolkit.nodes.library import status_report, upkeep_report

    (folder / "cats/b.png").unlink()
    upkeep.index()
    status = status_report.read_status(library)
    assert "The files themselves were not looked at: Library Upkeep (verify) does." in status_report.status_text(status)
    by_status = [problem for problem in status.problems if problem.key == db.health.problems.MISSING]
    assert len(by_status) == 1 and "gone when they were last looked for" in by_status[0].what
    assert by_status[0] not in upkeep_report.problems(look(upkeep, library))


def test_texts_are_counted_as_they_are_once_the_images_are_gone(library, folder, upkeep):
    def holding(conn, path: str, prompt: str, negative: str) -> None:
        ids = [db.ensure_text(conn, db.TextPair(text, "")) for text in (prompt, negative)]
        of = "(SELECT image_id FROM paths WHERE path = %s)"
        conn.execute(f"UPDATE images SET prompt_id = %s, negative_id = %s WHERE id = {of}", [*ids, path])

    with library.connection() as conn:
        holding(conn, "cats/b.png", "lost with b", "shared")
        holding(conn, "cats/c.png", "lost with c, which has no file", "")
        holding(conn, "cats/deep/d.png", "kept", "shared")
        holding(conn, "a.png", "kept, by a copy", "")
        db.ensure_text(conn, db.TextPair("of no image before", ""))
        conn.execute("DELETE FROM paths WHERE path = 'cats/c.png'")
    (folder / "cats/b.png").unlink()
    (folder / "cats/c.png").unlink()
    (folder / "a.png").unlink()
    shown = upkeep.would_prune(library, look(upkeep, library))
    assert (shown.gone.images, shown.fileless, shown.texts) == (1, 1, 3)
    removed = upkeep.prune(library, look(upkeep, library), True, quiet)
    assert (removed.gone.images, removed.fileless, removed.texts) == (1, 1, 3)


def test_a_user_who_may_only_read_is_shown_what_prune_would_remove(library, folder, upkeep):
    (folder / "cats/b.png").unlink()
    with library.connection() as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET default_transaction_read_only = on")
    library.close()
    shown = upkeep.would_prune(library, look(upkeep, library))
    assert shown.gone.files == 1 and shown.named == ["pictures: cats/b.png"]
