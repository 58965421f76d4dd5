"""What Library Upkeep removes for good, and what keeps it from that."""

from __future__ import annotations

import shutil

import pytest
from diffusion_toolkit import db
from host.kept_pictures import folder, held, look, quiet, upkeep  # noqa: F401  (fixtures)


def test_prune_removes_files_that_are_gone_and_images_without_another(library, folder, upkeep):
    for gone in ("a.png", "cats/b.png"):
        (folder / gone).unlink()
    shutil.rmtree(folder / "cats/deep")
    before = held(library)
    shown = upkeep.would_prune(library, look(upkeep, library))
    assert held(library) == before and look(upkeep, library).files[0][2].unmarked == 3  # nothing was written
    assert (shown.gone.files, shown.gone.images, shown.gone.images_of_them) == (3, 2, 3)
    assert shown.named == ["pictures: cats/b.png", "pictures: cats/deep/d.png", "pictures: a.png"]  # of the last there is a copy
    removed = upkeep.prune(library, look(upkeep, library), False, quiet)
    assert (removed.gone.files, removed.gone.images, removed.named) == (3, 2, shown.named)
    assert held(library) == ({"cats/c.png", "copies/a again.png"}, 2)


def test_prune_counts_images_that_a_person_gave_something(library, folder, upkeep):
    (folder / "cats/b.png").unlink()
    with library.connection() as conn:
        image_id = conn.execute("SELECT image_id FROM paths WHERE path = 'cats/b.png'").fetchone()[0]
        db.label_images(conn, [image_id], rating=5)
    assert upkeep.would_prune(library, look(upkeep, library)).gone.given == 1


@pytest.mark.parametrize("state", ["gone", "empty", "other"])
def test_nothing_is_removed_while_the_folder_is_not_mounted(library, folder, upkeep, state):
    before = held(library)
    shutil.rmtree(folder)
    if state != "gone":
        folder.mkdir()
    if state == "other":
        (folder / "lost+found").mkdir()
    assert upkeep.prune(library, look(upkeep, library), True, quiet).gone.files == 0
    assert held(library) == before


def test_an_empty_folder_is_pruned_only_when_asked_for(library, folder, upkeep):
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    assert upkeep.prune(library, look(upkeep, library), False, quiet).gone.files == 0
    assert upkeep.prune(library, look(upkeep, library, even_doubtful=True), False, quiet).gone.files == 3
    assert held(library) == ({"a.png", "copies/a again.png"}, 1)


def test_marks_of_a_drive_that_is_not_mounted_any_more_are_not_acted_upon(library, folder, upkeep):
    (folder / "cats/b.png").unlink()
    upkeep.index()
    before = held(library)
    shutil.rmtree(folder)
    assert upkeep.would_prune(library, look(upkeep, library)).gone.files == 0
    upkeep.prune(library, look(upkeep, library), False, quiet)
    assert held(library) == before


def test_nothing_is_removed_once_the_drive_goes_away(library, folder, upkeep):
    (folder / "cats/b.png").unlink()
    found = look(upkeep, library)
    before = held(library)
    shutil.rmtree(folder)
    with pytest.raises(db.LibraryError, match="went away meanwhile"):
        upkeep.prune(library, found, False, quiet)
    assert held(library) == before


@pytest.mark.parametrize("end", [db.LibraryError("The drive went away."), KeyboardInterrupt("a cancel")])
def test_what_was_removed_before_an_error_or_a_cancel_is_told(library, folder, upkeep, monkeypatch, caplog, end):
    for name in ("cats/b.png", "cats/c.png", "copies/a again.png"):
        (folder / name).unlink()
    (folder / "copies/other.bin").write_bytes(b"")  # else it may be where a drive is mounted
    found = look(upkeep, library)
    monkeypatch.setattr(db.health.prune, "AT_ONCE", 1)

    def then_ends(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise end

    with caplog.at_level("INFO"), pytest.raises(type(end)) as raised:
        upkeep.prune(library, found, False, then_ends)
    assert held(library) == ({"a.png", "cats/deep/d.png"}, 2)
    told = "Removed before, for good: 3 files and 2 images."
    assert told in caplog.text
    assert str(raised.value) == (f"The drive went away. {told}" if isinstance(end, db.LibraryError) else "a cancel")


def test_nothing_is_removed_while_a_run_indexes(library, folder, upkeep):
    (folder / "cats/b.png").unlink()
    found = look(upkeep, library)
    run = db.Run(library, "computer 7, process 12")
    run.claim(found.files[0][1], [db.FileState("new.png", 1, 1, 0)])
    with pytest.raises(db.LibraryError, match="computer 7, process 12 is indexing"):
        upkeep.prune(library, found, False, quiet)
    run.end()
    assert upkeep.prune(library, found, False, quiet).gone.files == 1


def test_images_and_texts_that_nothing_leads_to_are_removed_the_texts_when_asked(library, folder, upkeep):
    with library.connection() as conn:
        db.ensure_text(conn, db.TextPair("of no image", ""))
        conn.execute("DELETE FROM paths WHERE path = 'cats/b.png'")
    found = look(upkeep, library)
    assert (found.loose.images, found.loose.texts) == (1, 1)
    with library.connection() as conn:
        [lost] = conn.execute("SELECT id FROM images i WHERE NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id)").fetchone()
    assert upkeep.would_prune(library, found).named == [f"image {lost}, without any known file"]
    removed = upkeep.prune(library, found, False, quiet)
    assert (removed.fileless, removed.texts, held(library)[1]) == (1, 0, 3)
    assert removed.named == [f"image {lost}, without any known file"]
    assert upkeep.prune(library, look(upkeep, library), True, quiet).texts == 1
    with library.connection() as conn:
        assert db.find_text(conn, db.TextPair("", "")) is not None  # images are sampled against the empty one
