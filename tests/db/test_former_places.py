"""Images that a run finds again: the places that they have left are marked, also where the run does not look."""

from __future__ import annotations

import shutil

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.nodes.indexing import former_places
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from PIL import Image


@pytest.fixture
def root(tmp_path):
    """Three pictures in one folder, and one beside it."""
    root = tmp_path / "pictures"
    (root / "cats").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(root / ("cats" if number else "") / f"{number}.png")
    return root


@pytest.fixture
def index(library, root, monkeypatch):
    """Runs over a folder of this root, or of another, of those that are configured."""
    configured = {"pictures": root}
    monkeypatch.setattr(former_places, "roots", lambda: configured)

    def run(subfolder="", place=root, **how):
        with FolderStore(library, place.name, place, subfolder, Encoders()) as store:
            return index_folder(place, Scan(place, subfolder, **how), store, Encoders())

    run.configured = configured
    run()
    return run


def marked(library) -> set[str]:
    with library.connection() as conn:
        return {path for (path,) in conn.execute("SELECT path FROM paths WHERE missing IS NOT NULL")}


CATS = {"cats/1.png", "cats/2.png", "cats/3.png"}


def test_a_folder_that_was_renamed_is_no_longer_known_by_its_former_name_when_it_alone_is_indexed(library, root, index):
    (root / "cats").rename(root / "felines")
    report = index("felines")
    assert (report.known_elsewhere, report.missing, report.moved, report.all_gone) == (3, 3, 3, 0) and marked(library) == CATS
    report = index()
    assert (report.unchanged, report.missing, report.all_gone) == (4, 0, 0) and marked(library) == CATS


@pytest.mark.parametrize("how", [{"recursive": False}, {"pattern": "?.png"}, {}])
def test_a_file_that_was_moved_is_counted_once_whether_the_run_looks_at_its_former_place_or_not(library, root, index, how):
    (root / "cats/1.png").rename(root / "5.png")
    report = index(**how)
    assert (report.known_elsewhere, report.missing, report.moved) == (1, 1, 1) and marked(library) == {"cats/1.png"}


def test_a_root_of_which_every_file_was_renamed_is_no_drive_that_is_away(library, root, index):
    (root / "0.png").rename(root / "cats/0.png")
    (root / "cats").rename(root / "felines")
    report = index()
    assert (report.known_elsewhere, report.missing, report.moved, report.all_gone) == (4, 4, 4, 0) and marked(library) == {*CATS, "0.png"}


def test_copies_that_are_there_are_not_marked(library, root, index):
    shutil.copytree(root / "cats", root / "felines")
    (root / "cats/1.png").unlink()
    report = index("felines")
    assert (report.known_elsewhere, report.missing, report.moved) == (3, 1, 1) and marked(library) == {"cats/1.png"}


def test_an_empty_folder_may_be_a_drive_that_is_not_mounted(library, root, index):
    shutil.copytree(root / "cats", root / "felines")
    shutil.rmtree(root / "cats")
    (root / "cats").mkdir()
    report = index("felines")
    assert (report.known_elsewhere, report.missing) == (3, 0) and marked(library) == set()


@pytest.mark.parametrize(
    "case, gone",
    [
        ("some were moved", True),
        ("it is no root any more", False),
        ("its folder is not there", False),
        ("another drive is in its place", False),
    ],
)
def test_former_places_in_another_root_are_marked_where_it_can_be_judged(library, root, index, tmp_path, case, gone):
    other = index.configured["other"] = tmp_path / "other"
    shutil.copytree(root / "cats", other / "dogs")
    for number in range(1, 4):
        Image.new("RGB", (8, 8), (0, 60 * number, 0)).save(other / "dogs" / f"{number}.png")
    Image.new("RGB", (8, 8), "white").save(other / "stays.png")
    index(place=other)
    shutil.move(other / "dogs", root / "dogs")
    if case == "it is no root any more":
        del index.configured["other"]
    if case == "its folder is not there":
        shutil.rmtree(other)
    if case == "another drive is in its place":
        (other / "stays.png").rename(other / "of another drive.png")
    report = index("dogs")
    assert report.known_elsewhere == 3 and (report.missing, report.moved) == ((3, 3) if gone else (0, 0))
    assert marked(library) == ({"dogs/1.png", "dogs/2.png", "dogs/3.png"} if gone else set())


def test_a_run_that_ends_early_has_marked_what_it_linked(library, root, index, monkeypatch):
    """The next one sees what is linked as unchanged, and asks nothing about it."""
    (root / "cats").rename(root / "felines")
    link = FolderStore.link_files

    def and_ends(*about):
        link(*about)
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderStore, "link_files", and_ends)
    with pytest.raises(KeyboardInterrupt):
        index("felines")
    assert marked(library) == CATS


def test_nothing_is_asked_about_files_that_have_not_changed_nor_twice_about_copies(library, root, index, monkeypatch):
    asked, other_files = [], db.other_files
    monkeypatch.setattr(db, "other_files", lambda *about: asked.append(about[3]) or other_files(*about))
    index()
    assert asked == []
    with library.connection() as conn:
        ids = dict(conn.execute("SELECT path, image_id FROM paths").fetchall())
        root_id = db.ensure_root(conn, "pictures", str(root))
    (root / "2.png").write_bytes((root / "cats/2.png").read_bytes())
    (root / "cats/1.png").unlink()
    places = former_places.FormerPlaces(library, root_id)
    first = places.gone([ids["cats/1.png"], ids["cats/2.png"]], ["1.png", "2.png"])
    assert first == places.gone([ids["cats/1.png"], ids["cats/2.png"]], ["1.png", "2.png"])  # where the server went away in between
    assert [file.path for file in first] == ["cats/1.png"] and asked == [{ids["cats/1.png"], ids["cats/2.png"]}, {ids["cats/1.png"]}]
