"""When a watch brings up to date what searches use, which may take long to make."""

from __future__ import annotations

import pytest
from diffusion_toolkit.embedders.pipeline import StandBack
from diffusion_toolkit.nodes.indexing.watch import LONG_QUIET_S
from host.watch_queue import parts, queue, watch, watcher  # noqa: F401  (fixtures)


def run_that_is(watcher, queue, unfinished: bool, unrefreshed: bool) -> None:
    """The run in the queue ends in order, with this left to do."""
    watcher.ran(watcher.run_of(f"watch {len(queue.put_in)}"), unfinished, unrefreshed)
    queue.ends()


def test_indexes_whose_making_had_to_make_room_wait_for_a_long_quiet(watcher, queue) -> None:  # noqa: F811
    one = watch(after=5)
    watcher.start(one)
    watcher.start(watch("elsewhere", node="7", library="another"))
    queue.saves("a.png")
    watcher.look(0)
    watcher.look(5)
    assert one.refreshes
    queue.waiting = 1
    with pytest.raises(StandBack):
        watcher.make_room(one)
    queue.waiting = 0
    run_that_is(watcher, queue, unfinished=False, unrefreshed=True)
    assert [one.behind for one in watcher.watches()] == [True, False]
    watcher.look(10)
    watcher.look(1000)
    assert len(queue.put_in) == 1  # all that is new is indexed, so there is no hurry
    queue.saves("b.png")
    watcher.look(1001)
    watcher.look(1006)
    assert len(queue.put_in) == 2 and not one.refreshes
    watcher.look(1007)
    run_that_is(watcher, queue, unfinished=False, unrefreshed=True)
    watcher.look(1010)
    watcher.look(1010 + LONG_QUIET_S - 1)
    assert len(queue.put_in) == 2
    watcher.look(1010 + LONG_QUIET_S)
    assert parts(queue) == ["part "] * 3 and one.refreshes
    run_that_is(watcher, queue, unfinished=False, unrefreshed=False)
    watcher.look(5000)
    watcher.look(20000)
    assert len(queue.put_in) == 3


def test_files_that_are_left_and_a_cancel_make_no_run_of_indexes(watcher, queue) -> None:  # noqa: F811
    one = watch(after=1)
    watcher.start(one)
    queue.saves()
    watcher.look(0)
    watcher.look(1)
    run_that_is(watcher, queue, unfinished=False, unrefreshed=True)
    watcher.look(2)
    watcher.look(2 + LONG_QUIET_S)
    run_that_is(watcher, queue, unfinished=True, unrefreshed=False)  # a prompt came before it got to the indexes
    watcher.look(3000)
    assert one.behind
    watcher.look(3000 + LONG_QUIET_S)
    queue.ends("cancelled")
    watcher.look(6000)
    watcher.look(6000 + 2 * LONG_QUIET_S)
    assert len(queue.put_in) == 3


def test_indexes_whose_making_was_cancelled_are_left_by_all_watches_of_the_library(watcher, queue) -> None:  # noqa: F811
    for subfolder in ("", "cats"):
        watcher.start(watch(subfolder, node=subfolder, after=1))
    queue.saves()
    watcher.look(0)
    watcher.look(1)
    run_that_is(watcher, queue, unfinished=False, unrefreshed=True)
    watcher.look(2)
    assert [one.behind for one in watcher.watches()] == [True, True]
    watcher.look(2 + LONG_QUIET_S)
    queue.ends("cancelled")
    watcher.look(3000)
    assert [one.behind for one in watcher.watches()] == [False, False]
