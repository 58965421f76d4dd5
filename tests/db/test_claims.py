"""Runs that index at once take files from each other's way, and what a dead run had is free."""

from __future__ import annotations

import threading

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import claims as claims_module
from diffusion_toolkit.db.indexes.bulk import another_run
from host.waiting import wait_until


def files(*names: str, size: int = 10) -> list[db.FileState]:
    return [db.FileState(f"{name}.png", size, 1, 0) for name in names]


def paths(*names: str) -> set[str]:
    return {f"{name}.png" for name in names}


@pytest.fixture
def root(library) -> int:
    with library.connection() as conn:
        return db.ensure_root(conn, "output", "/pictures")


@pytest.fixture
def runs(library):
    """Two runs."""
    made = [db.Run(library, f"run {n}") for n in (1, 2)]
    yield made
    for run in made:
        run.end()


def claims(library) -> int:
    with library.connection() as conn:
        return conn.execute("SELECT count(*) FROM claims").fetchone()[0]


def test_what_one_run_has_taken_no_other_gets_and_it_is_told_who_has_it(library, root, runs):
    assert runs[0].claim(root, files("a", "b")).taken == paths("a", "b")
    second = runs[1].claim(root, files("b", "c"))
    assert (second.taken, second.done, second.others) == (paths("c"), set(), ("run 1",))


def test_a_file_of_another_root_is_another_file(library, root, runs):
    with library.connection() as conn:
        elsewhere = db.ensure_root(conn, "input", "/elsewhere")
    runs[0].claim(root, files("a"))
    assert runs[1].claim(elsewhere, files("a")).taken == paths("a")


def test_a_run_keeps_what_it_asks_for_twice(root, runs):
    """Since the answer to the first may have been lost on its way."""
    assert runs[0].claim(root, files("a")).taken == runs[0].claim(root, files("a")).taken == paths("a")


def test_what_another_run_has_written_since_the_scan_is_done_and_what_it_wrote_otherwise_is_not(library, root, runs, image):
    runs[0].claim(root, files("a", "b"))
    with library.connection() as conn:
        records = [image(n, path=f"{name}.png", file_size=10, mtime_ns=1) for n, name in enumerate("ab")]
        db.write_images(conn, root, records)
        db.release_files(conn, runs[0], root, ["a.png", "b.png"])
    assert claims(library) == 0
    assert runs[1].claim(root, [*files("a"), *files("b", size=11)]) == db.Claimed(paths("b"), paths("a"), ())
    assert claims(library) == 1


def test_a_transaction_that_fails_keeps_its_claim(library, root, runs):
    runs[0].claim(root, files("a"))
    with pytest.raises(ZeroDivisionError), library.connection() as conn:
        db.release_files(conn, runs[0], root, ["a.png"])
        raise ZeroDivisionError
    assert runs[1].claim(root, files("a")).taken == set()


def test_a_claim_does_not_wait_for_a_run_that_is_writing(library, root, runs):
    runs[0].claim(root, files("a"))
    with library.connection() as conn:
        db.release_files(conn, runs[0], root, ["a.png"])
        assert runs[1].claim(root, files("a", "b")) == db.Claimed(paths("b"), set(), ("run 1",))


def test_a_run_that_ends_frees_what_it_has_not_written(library, root, runs):
    runs[0].claim(root, files("a"))
    runs[0].end()
    assert claims(library) == 0
    assert runs[1].claim(root, files("a")).taken == paths("a")
    runs[0].end()  # a second time does no harm


def test_what_a_killed_process_had_is_free_at_once(library, root, runs, python):
    child = python(
        "library = db.open_library('default', folder)\n"
        "run = db.Run(library, 'child')\n"
        f"print(run.claim({root}, [db.FileState('a.png', 10, 1, 0)]).taken, flush=True)\n"
        "import time; time.sleep(60)"
    )
    assert "a.png" in child.stdout.readline()
    assert runs[1].claim(root, files("a")).others == ("child",)
    child.kill()
    child.communicate()
    wait_until(lambda: runs[1].claim(root, files("a")).taken)  # the server has noticed
    assert runs[1].claim(root, files("a")).taken == paths("a")
    with library.connection() as conn:
        assert conn.execute("SELECT who FROM runs").fetchall() == [("run 2",)]


def test_a_run_whose_session_was_lost_says_so_and_begins_anew_with_what_it_has(library, root, runs, postgresql):
    runs[0].claim(root, files("a"))
    with psycopg.connect(postgresql.dsn("postgres")) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [runs[0]._conn.info.backend_pid])
    with pytest.raises(db.LibraryError, match="connection to the library's PostgreSQL server was lost"):
        runs[0].claim(root, files("b"))
    assert runs[0].claim(root, files("b")).taken == paths("b")
    assert runs[1].claim(root, files("a", "b")).taken == set()
    assert claims(library) == 2


def test_a_claim_after_the_end_begins_nothing(library, root, runs):
    """As by a thread that was left behind: nobody would end it, and its files would be taken for as long as the process lives."""
    runs[0].claim(root, files("a"))
    runs[0].end()
    with pytest.raises(db.LibraryError, match="has ended"):
        runs[0].claim(root, files("a"))
    assert runs[1].claim(root, files("a")).taken == paths("a")


def test_the_end_does_not_wait_for_a_claim_that_still_connects_and_that_ends_itself(library, root, runs, monkeypatch):
    connecting, connected, failed = threading.Event(), threading.Event(), []
    connect = library.connect

    def slow():
        connecting.set()
        connected.wait(30)
        return connect()

    def claim():
        try:
            runs[0].claim(root, files("a"))
        except db.LibraryError as error:
            failed.append(str(error))

    monkeypatch.setattr(claims_module, "ENDING_SECONDS", 0.05)
    monkeypatch.setattr(library, "connect", slow)
    claiming = threading.Thread(target=claim)
    claiming.start()
    connecting.wait(30)
    runs[0].end()
    assert claiming.is_alive()
    connected.set()
    claiming.join(30)
    assert failed == ["This run has ended."] and claims(library) == 0
    assert runs[1].claim(root, files("a")).taken == paths("a")
    with library.connection() as conn:
        assert conn.execute("SELECT who FROM runs").fetchall() == [("run 2",)]


def test_a_run_that_has_claimed_nothing_is_one_to_others_also_after_its_session_was_lost(library, runs, postgresql):
    def seen() -> bool:
        with library.connection() as conn:
            return another_run(conn)

    assert not seen()
    runs[0].begin()
    assert seen()
    with psycopg.connect(postgresql.dsn("postgres")) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [runs[0]._conn.info.backend_pid])
    assert not seen()
    with pytest.raises(db.TryAgain):
        runs[0].begin()
    runs[0].begin()
    assert seen()


CLAIMER = """
import random
library = db.open_library("default", folder)
run = db.Run(library, "child")
names, taken = [f"{n}.png" for n in range(400)], []
for start in range(0, 400, 20):
    batch = [db.FileState(name, 10, 1, 0) for name in names[start : start + 20]]
    random.shuffle(batch)
    for file in sorted(run.claim(1, batch).taken):
        taken.append(file)
print(*taken, flush=True)
import time; time.sleep(60)
"""


def test_processes_that_claim_the_same_files_at_once_share_them_out(library, root, python):
    assert root == 1
    children = [python(CLAIMER) for _ in range(3)]
    shares = [child.stdout.readline().split() for child in children]
    for child in children:
        child.kill()
        child.communicate()
    assert sorted(name for share in shares for name in share) == sorted(f"{n}.png" for n in range(400))
