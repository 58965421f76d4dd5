"""A run outlives a server that goes away and comes back, and so does what it has claimed."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._trouble import failed_statement
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport, index_folder
from diffusion_toolkit.nodes.indexing import index_run, patience
from diffusion_toolkit.nodes.indexing.index_run import finish
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from PIL import Image
from psycopg import errors

FILES = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(FILES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(made / f"{number:02}.png")
    return made


@pytest.fixture
def outage(postgresql, monkeypatch):
    """Stops the server, and starts it again when it has been missed."""
    monkeypatch.setattr(patience, "PAUSES", (0.2,))
    missed, threads = threading.Event(), []

    def start() -> None:
        missed.wait(60)
        EmbeddedServer.start(postgresql.directory)

    def stop() -> None:
        happening.begun = True
        assert postgresql._cluster.shut_down(30, postgresql._address())
        threads.append(threading.Thread(target=start))
        threads[0].start()

    happening = SimpleNamespace(begin=stop, begun=False, missed=missed)
    yield happening
    missed.set()
    for thread in threads:
        thread.join()


def encoders(encode) -> Encoders:
    return Encoders(image=SimpleNamespace(fingerprint="f", weights="w", name="stand-in", dims=4, encode=encode))


def test_a_run_goes_on_where_it_was_when_the_server_comes_back(library, folder, outage):
    encoded, said = [], []

    def encode(images: list[np.ndarray]) -> np.ndarray:
        if not outage.begun:
            outage.begin()
        encoded.extend(images)
        return np.ones((len(images), 4), np.float32)

    def progress(stage: str, done: int, total: int) -> None:
        if stage.startswith("Waiting for the library's server"):
            said.append(stage)
            outage.missed.set()

    made = encoders(encode)
    with FolderStore(library, "output", folder, "", made) as store:
        report = index_folder(folder, Scan(folder), store, made, progress=store.patience.telling(progress))
    assert (report.added, len(encoded), report.skipped) == (FILES, FILES, [])
    assert said
    with library.connection() as conn:
        assert conn.execute("SELECT (SELECT count(*) FROM image_vectors), (SELECT count(*) FROM claims)").fetchone() == (FILES, 0)


def test_a_cancel_is_heard_while_the_server_is_away_and_what_was_committed_stays(library, folder, outage):
    class Cancelled(BaseException):
        pass

    def encode(images: list[np.ndarray]) -> np.ndarray:
        if not outage.begun:
            outage.begin()
        return np.ones((len(images), 4), np.float32)

    def progress(stage: str, done: int, total: int) -> None:
        if stage.startswith("Waiting"):
            raise Cancelled

    made = encoders(encode)
    with pytest.raises(Cancelled), FolderStore(library, "output", folder, "", made) as store:
        index_folder(folder, Scan(folder), store, made, progress=store.patience.telling(progress))
    outage.missed.set()
    made = encoders(lambda images: np.ones((len(images), 4), np.float32))
    with FolderStore(library, "output", folder, "", made) as store:
        index_folder(folder, Scan(folder), store, made)
    with library.connection() as conn:
        assert db.counts(conn).images == FILES


def test_a_server_that_was_started_again_in_the_middle_of_a_run_is_told_in_its_report_and_in_the_log(library, folder, outage, monkeypatch, caplog):
    def encode(images: list[np.ndarray]) -> np.ndarray:
        if not outage.begun:
            outage.begin()
            outage.missed.set()
        return np.ones((len(images), 4), np.float32)

    monkeypatch.setattr(index_run, "roots", lambda: {"output": folder})
    job, made = index_run.Job("output", folder), encoders(encode)
    said = "The library's PostgreSQL server ended during this run and was started again. What was being written then was written once more; its log"
    report, _, text = index_run.run(library, job, made, {}, lambda *told: None)
    assert report.added == FILES and text.splitlines()[1].startswith(said)
    assert [record.getMessage()[: len(said)] for record in caplog.records] == [said]
    caplog.clear()
    assert said not in index_run.run(library, job, made, {}, lambda *told: None)[2] and not caplog.records
    monkeypatch.setattr(library, "embedded", True)
    text = finish(library, IndexReport(), made, lambda *told: None, began=datetime.fromtimestamp(0, timezone.utc))[2]
    assert "; server.log in the library's folder may tell why." in text


def away(library, monkeypatch, times: int) -> None:
    """Let the server be away for the next so many who ask for a connection."""
    connection, left = library.connection, iter(range(times))

    def asked():
        if next(left, None) is not None:
            raise db.TryAgain("No server answers.")
        return connection()

    monkeypatch.setattr(library, "connection", asked)


def test_a_cancel_is_heard_before_the_run_has_begun(library, folder, monkeypatch):
    class Cancelled(BaseException):
        pass

    def progress(stage: str, done: int, total: int) -> None:
        assert stage.startswith("Waiting for the library's server")
        raise Cancelled

    away(library, monkeypatch, 10**9)
    with pytest.raises(Cancelled):
        FolderStore(library, "output", folder, "", Encoders(), progress=progress)


def test_a_server_that_restarts_at_the_very_end_costs_no_report(library, monkeypatch):
    away(library, monkeypatch, 1)
    report, counts, text = finish(library, IndexReport(unfinished=True), Encoders(), lambda *told: None)
    assert counts.images == 0 and text


def test_a_run_that_has_only_vectors_to_make_is_one_to_others(library, folder):
    with library.connection() as conn, pytest.raises(db.LibraryError, match="is indexing into this library"):
        with FolderStore(library, "output", folder, "", Encoders()):
            db.refuse_beside_a_run(conn)
    with library.connection() as conn:
        db.refuse_beside_a_run(conn)


def test_a_writer_that_was_held_up_for_too_long_tries_again():
    assert isinstance(failed_statement(errors.LockNotAvailable()), db.TryAgain)


def test_what_only_a_person_can_mend_is_told_from_what_may_be_over_later():
    for error in (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction, errors.DependentObjectsStillExist):
        assert isinstance(failed_statement(error()), db.Refused)
    for error in (errors.DiskFull, errors.QueryCanceled, errors.OutOfMemory, errors.InternalError):
        assert not isinstance(failed_statement(error()), db.Refused)


def test_what_is_full_is_told_with_what_is_left_of_an_own_librarys(tmp_path):
    said, place = str(failed_statement(errors.DiskFull("could not extend file"), folder=tmp_path)), re.escape(str(tmp_path))
    assert re.fullmatch(rf"The disk of the library's folder {place} is full \(\S+ \wB are free now\); nothing of this .* Free space, then try again.", said)
    assert str(failed_statement(errors.DiskFull("could not extend file"))).startswith("The disk of the PostgreSQL server is full")
    said = str(failed_statement(errors.DiskFull('could not resize shared memory segment "/PostgreSQL.1"'), folder=tmp_path))
    assert said.startswith("The shared memory (/dev/shm) of the PostgreSQL server's computer is full")


def test_a_server_whose_files_are_gone_or_unreadable_names_the_folder(tmp_path):
    for error in (errors.UndefinedFile(), errors.IoError()):
        assert f"Look whether the library's folder {tmp_path} and its disk are there" in str(failed_statement(error, folder=tmp_path))
        assert "Look whether its data directory" in str(failed_statement(error))
