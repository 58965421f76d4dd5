"""What failed because the server went away is tried again, while the person is told and may cancel."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.nodes.indexing import patience as module
from diffusion_toolkit.nodes.indexing.patience import Patience, patient


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.02,))


class Away:
    """A server that answers from the `after`th call on."""

    def __init__(self, after: int) -> None:
        self.calls, self.after = 0, after

    def __call__(self) -> str:
        self.calls += 1
        if self.calls < self.after:
            raise db.TryAgain("No server answers.")
        return "done"


def test_it_is_tried_until_the_server_is_back():
    away = Away(after=4)
    assert (Patience().again(away), away.calls) == ("done", 4)


@pytest.fixture
def long_away(monkeypatch) -> type[Away]:
    """Each call to this server takes 15 s, of the clock that counts."""
    shift = [0.0]

    class LongAway(Away):
        def __call__(self) -> str:
            shift[0] += 15
            return super().__call__()

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + shift[0]))
    return LongAway


def test_it_ends_with_what_was_wrong_and_how_long_it_was_waited_for(long_away):
    with pytest.raises(db.ServerTrouble, match=r"No server answers\. It was waited for 6\d s\. What was written is kept") as caught:
        Patience(seconds=60).again(long_away(after=10**9))
    assert not isinstance(caught.value, db.TryAgain)  # else whoever called us would wait once more


def test_the_time_begins_anew_with_each_outage(long_away):
    patience = Patience(seconds=60)
    assert [patience.again(long_away(after=5)) for _ in range(3)] == ["done"] * 3


def test_what_is_no_outage_is_raised_at_once():
    def full() -> None:
        raise db.ServerTrouble("The disk is full.")

    with pytest.raises(db.ServerTrouble, match="^The disk is full.$"):
        Patience().again(full)


def test_the_person_is_told_in_place_of_the_stage():
    said = []
    patience = Patience()
    told = patience.telling(lambda *what: said.append(what))
    told("Reading images", 3, 9)
    patience.again(Away(after=3))
    told("Reading images", 4, 9)
    assert said[0] == ("Reading images", 3, 9) and said[-1] == ("Reading images", 4, 9)
    assert said[1] == ("Waiting for the library's server (0 s of at most 120); Reading images", 3, 9)


class Cancelled(BaseException):
    pass


def cancel(*_: object) -> None:
    raise Cancelled


def test_a_cancel_ends_the_waiting_of_the_thread_that_tells():
    patience = Patience()
    patience.telling(cancel)
    with pytest.raises(Cancelled):
        patience.again(Away(after=10**9))


def test_a_cancel_ends_the_waiting_of_other_threads_too():
    patience, raised = Patience(seconds=30), []
    told = patience.telling(cancel)

    def write() -> None:
        try:
            patience.again(Away(after=10**9))
        except db.ServerTrouble as error:
            raised.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(Cancelled):
        told("Reading images", 0, 1)
    writer.join(10)
    assert len(raised) == 1


def test_progress_is_called_in_its_own_thread_only():
    threads = set()
    patience = Patience()
    patience.telling(lambda *_: threads.add(threading.get_ident()))
    writer = threading.Thread(target=patience.again, args=[Away(after=4)])
    writer.start()
    writer.join(30)
    assert threads == set()


def test_a_method_within_a_method_waits_once():
    class Store:
        patience = Patience(seconds=0.1)
        calls = 0

        @patient
        def outer(self) -> None:
            self.inner()

        @patient
        def inner(self) -> None:
            self.calls += 1
            raise db.TryAgain("No server answers.")

    store = Store()
    with pytest.raises(db.ServerTrouble):
        store.outer()
    assert store.calls < 12
