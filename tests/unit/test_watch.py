"""When a watch runs, and when it does not: over a queue that the test moves, second by second."""

from __future__ import annotations

import pytest
from diffusion_toolkit.embedders.folders import hidden
from diffusion_toolkit.embedders.pipeline import StandBack
from diffusion_toolkit.nodes.indexing.watch import Place, Watcher
from host.links import make_link
from host.watch_queue import OUTPUT, parts, queue, watch, watcher  # noqa: F401  (fixtures)


def test_a_saved_image_is_indexed_when_the_queue_has_been_empty_for_some_seconds(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=5))
    watcher.look(1)
    queue.saves()
    watcher.look(100)
    watcher.look(104.9)
    assert queue.put_in == []
    watcher.look(105)
    assert parts(queue) == ["part "]
    queue.ends()
    watcher.look(200)
    watcher.look(300)
    assert len(queue.put_in) == 1


def test_a_prompt_in_between_begins_the_wait_anew(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=5))
    queue.saves()
    watcher.look(0)
    queue.busy = 1
    watcher.look(4)
    queue.busy = 0
    watcher.look(6)
    watcher.look(10)
    assert queue.put_in == []
    watcher.look(11)
    assert len(queue.put_in) == 1


def test_a_folder_that_is_watched_itself_or_as_a_part_of_others_is_known(watcher) -> None:  # noqa: F811
    for subfolder, more in (("", {"node": "1"}), ("cats", {"node": "2"}), ("dogs", {"node": "3", "recursive": False})):
        watcher.start(watch(subfolder, **more))
    over = lambda folder, library="default": [one.place.subfolder for one in watcher.over(OUTPUT / folder, library)]  # noqa: E731
    assert over("cats/old") == over("cats") == ["", "cats"] and over("dogs/old") == over("") == [""]
    assert over("dogs") == ["", "dogs"] and over("cats", "another") == []


def test_what_is_saved_elsewhere_starts_no_run(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch("cats"))
    watcher.start(watch("dogs", node="5", recursive=False))
    queue.saves("birds/a.png")
    queue.saves("dogs/old/a.png")
    queue.saves("cats/.hidden/a.png")
    watcher.look(0)
    watcher.look(100)
    assert queue.put_in == []


def test_what_is_saved_into_a_hidden_folder_starts_no_run(watcher, queue, monkeypatch) -> None:  # noqa: F811
    """The watched folder itself may be hidden, as one that is indexed."""
    monkeypatch.setattr(hidden, "is_hidden", lambda place: place in (OUTPUT, OUTPUT / "cats", OUTPUT / "b.png"))  # as by Windows' attribute
    watcher.start(watch())
    for name in ("cats/old/a.png", "b.png"):
        queue.saves(name)
    watcher.look(0)
    watcher.look(100)
    assert queue.put_in == []
    queue.saves("dogs/a.png")
    watcher.look(200)
    watcher.look(300)
    assert len(queue.put_in) == 1


def test_what_the_pattern_leaves_out_starts_no_run_but_a_text_beside_images_does(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(pattern="*.png; cats/*.webp"))
    for name in ("a.mp4", "dogs/a.webp", "a.latent"):
        queue.saves(name)
    watcher.look(0)
    watcher.look(100)
    assert queue.put_in == []
    for name in ("A.PNG", "cats/a.webp", "a.txt"):
        queue.saves(name)
        watcher.look(1000)
        watcher.look(2000)
        queue.ends()
    watcher.look(3000)
    assert len(queue.put_in) == 3


@pytest.mark.parametrize(
    "watched, saved, looks_in",
    [("cats", "cats/link/a.png", "cats/link"), ("elsewhere", "cats/link/b.png", "elsewhere"), ("cats", "elsewhere/c.png", "")],
)
def test_what_is_saved_through_a_link_in_the_watched_folder_is_come_upon(tmp_path, watched, saved, looks_in) -> None:
    root = tmp_path.resolve()
    for folder in ("cats", "elsewhere"):
        (root / folder).mkdir()
    make_link(root / "cats/link", root / "elsewhere")
    one = watch(watched)
    one.root, one.folder = root, root / watched
    assert one.folder_of(root / saved) == (root / looks_in if looks_in else None)


def test_what_was_saved_before_the_watch_began_starts_no_run(watcher, queue) -> None:  # noqa: F811
    queue.saves()
    watcher.start(watch())
    watcher.look(0)
    watcher.look(100)
    assert queue.put_in == []


def test_the_latest_prompt_goes_along_so_that_the_cache_keeps_what_it_made(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch())
    queue.saves()
    watcher.look(0)
    watcher.look(100)
    assert queue.put_in == [("part ", {"9": "its nodes"})]


def test_a_run_makes_room_for_a_waiting_prompt_and_is_taken_up_after_it(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=5))
    queue.saves()
    watcher.look(0)
    watcher.look(5)
    running = watcher.run_of("watch 1")
    watcher.make_room(running)
    queue.waiting = 1
    with pytest.raises(StandBack):
        watcher.make_room(running)
    queue.ends()
    watcher.look(6)
    queue.waiting = 0
    watcher.look(7)
    watcher.look(11)
    assert len(queue.put_in) == 1
    watcher.look(12)
    assert len(queue.put_in) == 2
    watcher.make_room(running)
    queue.ends()
    watcher.look(13)
    watcher.look(100)
    assert len(queue.put_in) == 2  # this one did not stand back


def test_a_persons_own_run_is_no_watchs(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch())
    assert watcher.run_of("a person's") is None


def test_a_failed_run_is_tried_again_ever_more_seldom_and_told(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    queue.saves()
    started, seconds = [], 0
    while seconds < 4 * 3600:
        before = len(queue.put_in)
        watcher.look(seconds)
        if len(queue.put_in) > before:
            started.append(seconds)
            queue.ends("failed")
        seconds += 1
    waits = [later - earlier for earlier, later in zip(started, started[1:])]
    assert waits[:7] == pytest.approx([60, 120, 240, 480, 960, 1920, 3600], abs=3)
    assert all(wait == pytest.approx(3600, abs=3) for wait in waits[6:])
    assert "failed" in queue.told[0] and "no such checkpoint" in queue.told[0]


def test_a_watch_goes_on_after_as_many_failures_as_there_are(watcher, queue) -> None:  # noqa: F811
    often = watch(after=1)
    often.failures = 2000
    watcher.start(often)
    queue.saves()
    for second in (0, 1):
        watcher.look(second)
    queue.ends("failed")
    watcher.look(2)
    assert (often.failures, often.not_before) == (2001, 3602.0)


def test_after_a_good_run_a_failure_is_again_the_first(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    for ended in ("failed", "done", "failed"):
        queue.saves()
        watcher.look(1000 * len(queue.put_in))
        watcher.look(1000 * len(queue.put_in) + 500)
        queue.ends(ended)
    watcher.look(3000)
    assert "in 1 min" in queue.told[-1]


def test_a_cancelled_run_waits_for_the_next_saved_image(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    queue.saves("cats/a.png")
    watcher.look(0)
    watcher.look(1)
    queue.ends("cancelled")
    watcher.look(2)
    watcher.look(100)
    assert len(queue.put_in) == 1
    queue.saves("dogs/b.png")
    watcher.look(101)
    watcher.look(102)
    assert len(queue.put_in) == 2
    assert watcher.run_of("watch 2").look_in == OUTPUT  # what the cancelled one left is in it
    queue.ends()
    queue.saves("dogs/c.png")
    watcher.look(103)
    watcher.look(104)
    assert watcher.run_of("watch 3").look_in == OUTPUT / "dogs"


@pytest.mark.parametrize("unknown", [0, 1])
def test_a_run_deleted_from_the_queue_or_the_history_waits_for_the_next_saved_image(watcher, queue, unknown) -> None:  # noqa: F811
    """Of one that ended unseen it must not be taken for a person's, which would queue it over and over."""
    watcher.start(watch(after=1))
    queue.saves("cats/a.png")
    watcher.look(0)
    watcher.look(1)
    queue.busy, queue.unknown = 0, unknown
    watcher.look(2)
    watcher.look(100)
    assert len(queue.put_in) == 1 and watcher.run_of("watch 1") is None
    queue.saves("dogs/b.png")
    watcher.look(101)
    watcher.look(102)
    assert watcher.run_of("watch 2").look_in == OUTPUT


def test_a_run_looks_through_no_more_than_what_holds_the_new_images(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    queue.saves("2026/11/a.png")
    watcher.look(0)
    watcher.look(1)
    running = watcher.run_of("watch 1")
    assert running.look_in == OUTPUT / "2026/11"
    queue.waiting = 1
    with pytest.raises(StandBack):
        watcher.make_room(running)
    queue.waiting = 0
    queue.ends()
    queue.saves("2026/12/a.png")
    watcher.look(2)
    watcher.look(3)
    assert running.look_in == OUTPUT / "2026"
    queue.ends()
    queue.saves("b.png")
    watcher.look(4)
    watcher.look(5)
    assert running.look_in == OUTPUT


def test_two_watched_folders_take_turns(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch("cats", node="4", after=1))
    watcher.start(watch("dogs", node="5", after=1))
    queue.saves("cats/a.png")
    queue.saves("dogs/a.png")
    watcher.look(0)
    watcher.look(1)
    assert parts(queue) == ["part cats"]
    queue.ends()
    watcher.look(2)
    watcher.look(3)
    watcher.look(4)
    assert parts(queue) == ["part cats", "part dogs"]


def test_a_node_that_is_queued_again_over_another_folder_leaves_the_first(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch("cats", node="4", prompt="first"))
    watcher.start(watch("dogs", node="4", prompt="second"))
    assert [one.place.subfolder for one in watcher.watches()] == ["dogs"]


def test_programs_that_queue_without_a_workflow_do_not_replace_each_others_nodes(watcher, queue) -> None:  # noqa: F811
    for folder in ("cats", "dogs"):
        one = watch(folder, prompt=folder)
        one.node = ("", "4")
        watcher.start(one)
    assert watcher.folders("default") == [str(OUTPUT / "cats"), str(OUTPUT / "dogs")] and watcher.folders("another") == []


def test_another_node_over_the_same_folder_takes_the_watch_over(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch("cats", node="4", prompt="first", part="old"))
    watcher.start(watch("cats", node="7", prompt="second", part="new"))
    assert [one.part for one in watcher.watches()] == ["new"]


def test_a_folder_is_the_same_however_it_is_typed(watcher, queue) -> None:  # noqa: F811
    for typed, node in ((Place("output", "cats", "default"), "4"), (Place("another root", "./cats/", "default"), "7")):
        one = watch("cats", node=node, prompt=node)
        one.place = typed
        watcher.start(one)
    watcher.start(watch("cats", node="8", prompt="8", library="another"))
    assert [one.node[1] for one in watcher.watches()] == ["7", "8"]


def test_a_node_that_a_list_runs_for_several_folders_watches_them_all(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch("cats", node="4", prompt="one list"))
    watcher.start(watch("dogs", node="4", prompt="one list"))
    assert len(watcher.watches()) == 2


def test_an_ended_watch_runs_no_more(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    queue.saves()
    watcher.look(0)
    assert watcher.end(OUTPUT / "another folder by now", "default", ("workflow", "4"), "second") == [OUTPUT]
    watcher.look(100)
    assert queue.put_in == []
    assert watcher.end(OUTPUT, "default", ("workflow", "4"), "third") == []


def test_a_run_that_fails_after_its_watch_ended_is_told_as_the_last(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    queue.saves()
    watcher.look(0)
    watcher.look(1)
    watcher.end(OUTPUT, "default", ("workflow", "4"), "second")
    queue.ends("failed")
    watcher.look(2)
    assert "failed and watching has ended. no such checkpoint" in queue.told[-1]


@pytest.mark.parametrize(
    "begun_by, run_by, ends",
    [("workflow", "another", False), ("workflow", "", True), ("", "workflow", True), ("", "", True)],
)
def test_watch_off_ends_another_nodes_watch_only_where_one_of_the_two_is_not_known(watcher, begun_by, run_by, ends) -> None:  # noqa: F811
    one = watch()
    one.node = (begun_by, "4")
    watcher.start(one)
    assert watcher.end(OUTPUT / "elsewhere", "default", (run_by, "9"), "second") == []
    assert watcher.end(OUTPUT, "another", (run_by, "9"), "second") == []
    assert watcher.end(OUTPUT, "default", (run_by, "4"), "second") == ([OUTPUT] if ends else [])


def test_of_a_watchs_runs_the_history_keeps_the_latest(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch(after=1))
    for n in range(3):
        queue.saves()
        watcher.look(100 * n)
        watcher.look(100 * n + 50)
        queue.ends()
    watcher.look(1000)
    assert queue.forgotten == ["watch 1", "watch 2"]


def test_a_fault_of_the_host_ends_watching_and_is_logged(queue, caplog) -> None:  # noqa: F811
    queue.tasks = lambda: 1 / 0
    watcher = Watcher(queue)
    watcher.start(watch())
    watcher._thread.join(10)
    assert watcher.watches() == [] and "Watching ended" in caplog.text
    assert queue.told and "Watching ended" in queue.told[0]  # the node says so too
