"""Workers of one run over one root, each with its share of the files: what they tell together of files that are gone."""

from __future__ import annotations

import shutil
from dataclasses import asdict

import pytest
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport, index_folder
from host.comfy_models import import_comfy
from PIL import Image

FILES = 20


@pytest.fixture
def root(library, tmp_path, monkeypatch):
    """An indexed root of a folder of pictures."""
    import_comfy()
    from diffusion_toolkit.nodes.indexing import former_places, index_run
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    root = tmp_path / "pictures"
    (root / "cats").mkdir(parents=True)
    for number in range(FILES):
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(root / "cats" / f"{number}.png")
    for module in (former_places, index_run):
        monkeypatch.setattr(module, "roots", lambda: {"pictures": root})
    with FolderStore(library, "pictures", root, "", Encoders()) as store:
        index_folder(root, Scan(root), store, Encoders())
    return root


@pytest.fixture
def work(library, root):
    """Two workers, of whom one is done before the other, though both began together: their reports, and the run's."""
    from diffusion_toolkit.nodes.command.ray_index import report_of_all, still_away
    from diffusion_toolkit.nodes.command.share import Share, SharedSource, SharedStore
    from diffusion_toolkit.nodes.indexing.index_run import Job, JobFiles

    def run() -> tuple[list[IndexReport], IndexReport]:
        shares = [Share(number, 2) for number in range(2)]
        stores = [SharedStore(share, library, "pictures", root, "", Encoders()) for share in shares]
        reports = []
        for store, known in [(store, store.known_files()) for store in stores]:
            store.known_files = lambda known=known: known
        for share, store in zip(shares, stores):
            with store:
                reports.append(index_folder(root, SharedSource(Scan(root), share), store, Encoders()))
        whole = report_of_all(IndexReport(), [(sent(report), False) for report in reports], set())
        whole.all_gone = still_away(library, JobFiles(Job("pictures", root)), whole)
        return reports, whole

    return run


def sent(report: IndexReport) -> dict:
    return {**asdict(report), "totals": {name: 0 for name in ("skipped", "unknown", "unread_metadata")}}


def marked(library) -> int:
    with library.connection() as conn:
        return conn.execute("SELECT count(*) FROM paths WHERE missing IS NOT NULL").fetchone()[0]


def test_a_folder_that_was_renamed_is_told_as_marked_whichever_worker_has_marked_it(library, root, work):
    (root / "cats").rename(root / "felines")
    (early, late), whole = work()
    assert marked(library) == FILES and early.all_gone > 0  # which the other has marked since
    assert late.all_gone == 0 and late.missing > 0
    assert (whole.known_elsewhere, whole.missing, whole.moved, whole.all_gone) == (FILES, FILES, FILES, 0)


def test_a_folder_that_is_not_there_is_told_whole_beside_what_is_new(library, root, work, tmp_path):
    from diffusion_toolkit.nodes.command.ray_index import still_away
    from diffusion_toolkit.nodes.indexing.index_run import Job, JobFiles

    (root / "cats").rename(tmp_path / "elsewhere")
    for number in range(5):
        Image.new("RGB", (8, 8), (0, 10 + number, 0)).save(root / f"new {number}.png")
    _, whole = work()
    assert (whole.added, whole.missing, whole.all_gone) == (5, 0, FILES) and marked(library) == 0
    whole.unchanged = 5  # as where a worker died, and its share was done again
    assert still_away(library, JobFiles(Job("pictures", root)), whole) == FILES


def test_of_a_folder_that_is_gone_what_was_not_found_elsewhere_is_told_alone(library, root, work):
    (root / "felines").mkdir()
    for number in range(FILES // 2):
        (root / "cats" / f"{number}.png").rename(root / "felines" / f"{number}.png")
    shutil.rmtree(root / "cats")
    _, whole = work()
    half = FILES // 2
    assert (whole.known_elsewhere, whole.missing, whole.all_gone, marked(library)) == (half, half, half, half)
