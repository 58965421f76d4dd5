"""A whole run as Index Folder and the command make it, over a real library: what its report tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.pipeline import Encoders, StandBack
from diffusion_toolkit.nodes.indexing import index_run
from diffusion_toolkit.nodes.indexing.index_run import Job
from PIL import Image


@pytest.fixture
def run(library, tmp_path, monkeypatch):
    """Runs over a folder with four pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(folder / f"{number}.png")
    monkeypatch.setattr(index_run, "roots", lambda: {"output": folder})

    def run(subfolder="", progress=lambda stage, done, total: None, refresh=True, **job):
        return index_run.run(library, Job("output", folder, subfolder, **job), Encoders(), {}, progress, refresh=refresh)

    return run


def test_how_many_images_were_given_labels_is_told_of_new_and_of_known_ones(run, tmp_path):
    report, _, text = run(labels="Holiday")
    assert len(report.labelled) == 4 and "Given to 4 images: label holiday." in text
    Image.new("RGB", (8, 8), "white").save(tmp_path / "pictures/new.png")
    (tmp_path / "pictures/0.png").rename(tmp_path / "pictures/moved.png")
    report, _, text = run(labels="holiday, Sea Side", namespace="Client A")
    assert len(report.labelled) == 5 and "Given to 5 images: labels holiday, sea side; namespace client a." in text
    report, _, text = run(labels="holiday", namespace="client a")
    assert not report.labelled and "All images of this run had label holiday; namespace client a before." in text


def test_an_image_that_its_line_and_the_run_give_labels_counts_once(run, tmp_path):
    run()
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path / 'pictures/0.png'},uno\n{tmp_path / 'pictures/1.png'}\n", encoding="utf-8")
    report, _, text = run(image_list=listed, labels="zwei")
    assert len(report.labelled) == 2 and "Given to 2 images: label zwei; labels of single lines: uno." in text


def test_two_files_of_a_list_that_are_one_image_count_once_and_give_it_the_labels_of_both(run, library, tmp_path):
    for new in ("copy.png", "another.png"):
        (tmp_path / "pictures" / new).write_bytes((tmp_path / "pictures/0.png").read_bytes())
    listed = tmp_path / "list.txt"
    listed.write_text("pictures/0.png,uno\npictures/copy.png,due\n", encoding="utf-8")
    assert "Given to 1 image: labels of single lines: due, uno." in run(image_list=listed)[2]  # new ones
    listed.write_text("pictures/0.png,tre\npictures/copy.png,quattro\npictures/another.png,cinque\n", encoding="utf-8")
    assert "Given to 1 image: labels of single lines: cinque, quattro, tre." in run(image_list=listed)[2]  # known ones, and one more
    with library.connection() as conn:
        [image] = db.get_images(conn, [id_ for (id_,) in conn.execute("SELECT image_id FROM paths WHERE path LIKE '%copy.png'")])
    assert image.labels == ("cinque", "due", "quattro", "tre", "uno")


def test_who_else_has_files_is_told(run, library):
    with library.connection() as conn:
        root_id = db.ensure_root(conn, "output", str(index_run.roots()["output"]))
    other = db.Run(library, "computer 7, process 12")
    other.claim(root_id, [db.FileState("0.png", 1, 1, 0)])
    report, _, text = run()
    other.end()
    assert (report.added, report.elsewhere) == (3, 1) and "by another run (computer 7, process 12), and left to it: 1." in text


def test_what_searches_use_can_be_left_for_later_and_that_is_told(run, monkeypatch):
    assert run()[0].unrefreshed is False
    report, _, text = run(refresh=False)
    assert report.unrefreshed and not report.unfinished and "stood back" not in text

    def refresh(library, progress):
        progress("Making an index", 0, 1)
        raise AssertionError("it goes on")

    def progress(stage, done, total):
        if stage == "Making an index":
            raise StandBack

    monkeypatch.setattr(db, "refresh_search", refresh)
    report, _, _ = run(progress=progress)
    assert report.unrefreshed and not report.unfinished


def test_a_pattern_that_no_file_has_is_named(run):
    assert run(pattern="*.webp")[2].startswith("No image here matches the pattern *.webp.\nFound 0 images")
    assert "No image here" not in run(pattern="*.png")[2]


def test_the_time_for_what_searches_use_is_told_beside_that_of_indexing(run, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(index_run, "time", SimpleNamespace(monotonic=lambda: clock.now))
    assert "went into" not in run()[2]

    def refresh(library, progress):
        clock.now += 61.5
        return ""

    monkeypatch.setattr(db, "refresh_search", refresh)
    report, _, text = run()
    assert report.seconds_after == 61.5 and "; then 61.5 s went into what searches use." in text.splitlines()[0]


def test_a_folder_that_is_waited_for_holds_nothing_yet(run):
    report, counts, text = run("new", may_be_missing=True)
    assert (report.found, counts.images) == (0, 0) and text.startswith("Found 0 images")


def give(library, path: str, **given) -> int:
    """Gives the image of this file a rating and labels; returns its id."""
    with library.connection() as conn:
        [(image_id,)] = conn.execute("SELECT image_id FROM paths WHERE path = %s", [path])
        db.label_images(conn, [image_id], **given)
    return image_id


def test_an_image_of_yours_that_another_picture_has_overwritten_is_told(run, library, tmp_path):
    run()
    fox, draft = give(library, "0.png", rating=5, add=["fox"]), give(library, "1.png", rating=-1)
    Image.new("RGB", (8, 8), "white").save(tmp_path / "pictures/0.png")
    (tmp_path / "pictures/1.png").write_bytes((tmp_path / "pictures/2.png").read_bytes())
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "pictures/3.png")  # nobody gave that one anything
    report, _, text = run()
    assert "Overwritten by another picture or an edited one, and known by no other file: 2 images with a rating, label or namespace. The" in text
    assert "\n  output: 0.png  [5 stars; label fox]\n  output: 1.png  [rejected]\n" in text and "the filter -has:file finds them; see Library" in text
    assert report.overwritten == {(fox, "output", "0.png"), (draft, "output", "1.png")}
    with library.connection() as conn:
        assert set(db.list_images(conn, db.parse_filter("-has:file has:rating"), "newest", 9, 0)) == {fox, draft}
    assert "Overwritten" not in run()[2]


def test_an_image_whose_file_was_moved_first_is_not_told_as_overwritten(run, library, tmp_path):
    run(labels="mine")
    (tmp_path / "pictures/0.png").rename(tmp_path / "pictures/kept.png")
    Image.new("RGB", (8, 8), "white").save(tmp_path / "pictures/0.png")
    report, _, text = run(labels="mine, too")
    assert (report.added, report.known_elsewhere, report.overwritten) == (1, 1, set()) and "Overwritten" not in text
