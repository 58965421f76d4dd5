"""Shares of a run on several machines: together they are everything, and what a worker left undone is done by another."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module", autouse=True)
def share():
    import_comfy()
    from diffusion_toolkit.nodes.command import share

    return share


class Listed:
    """A source of some files, one of which can't be read."""

    def files(self, on_error, stopped):
        from diffusion_toolkit.embedders.folders.scan import FileEntry

        on_error("folder/0.gif", "it can't be read")
        return (FileEntry(f"folder/{number}.png", 1, 1) for number in range(100))

    def covers(self, path):
        return True


def test_every_file_is_in_one_share_and_so_is_every_problem(share):
    problems, found, gone = [], [], []
    for number in range(3):
        source = share.SharedSource(Listed(), share.Share(number, 3))
        entries = [entry.path for entry in source.files(lambda *problem: problems.append(problem), lambda: False)]
        assert len(entries) > 20 and all(source.covers(path) for path in entries)
        found += entries
        gone += [number] * source.covers("folder/gone.png")
    assert sorted(found) == sorted(f"folder/{number}.png" for number in range(100))
    assert problems == [("folder/0.gif", "it can't be read")] and len(gone) == 1


def test_each_worker_has_its_own_share_and_none_is_left(share):
    shares = share.Shares(2)
    assert (shares.take(1), shares.take(0)) == (1, 0)
    shares.done(0, {})
    assert not shares.complete and shares.take(0) is None
    shares.done(1, {})
    assert shares.complete


def test_who_is_done_helps_who_is_behind_once(share):
    shares = share.Shares(2)
    shares.take(0), shares.take(1)
    shares.done(0, {"first": 1})
    assert shares.take(0, [1]) == 1
    shares.done(0, {"helped": 1})
    assert shares.take(0, [1]) is None and not shares.complete
    shares.done(1, {"late": 1})
    assert shares.complete
    assert shares.answers == [({"first": 1}, False), ({"helped": 1}, True), ({"late": 1}, False)]


def test_the_share_of_a_worker_that_died_is_done_again_also_where_a_helper_has_been_through(share):
    shares = share.Shares(2)
    shares.take(0), shares.take(1)
    shares.done(0, {})
    shares.take(0, [1])
    shares.died(1)
    shares.done(0, {})  # it may have passed by what the dead worker had claimed
    assert not shares.complete
    assert shares.take(0) == 1
    shares.done(0, {})
    assert shares.complete and [helping for _, helping in shares.answers] == [False, True, False]


def test_there_is_a_worker_for_each_gpu_else_for_each_machine():
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.ray_cluster import plan

    def nodes(*resources):
        return [{"Alive": True, "Resources": one} for one in resources] + [{"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}]

    assert plan(nodes({"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 2}, {"CPU": 64}), None) == (4, 1, 8)
    assert plan(nodes({"CPU": 8}, {"CPU": 4}), None) == (2, 0, 4)
    assert plan(nodes({"CPU": 8}), 3) == (3, 0, 2)
    with pytest.raises(UsageError, match="4 GPUs"):
        plan(nodes({"CPU": 16, "GPU": 4}), 5)
    with pytest.raises(UsageError, match="no CPU for each"):
        plan(nodes({"CPU": 2}), 3)


def test_reports_of_several_become_one_and_name_a_file_once():
    from diffusion_toolkit.embedders.pipeline import IndexReport
    from diffusion_toolkit.embedders.pipeline.records import Named
    from diffusion_toolkit.nodes.indexing.index_run import together

    first = IndexReport(found=3, added=2, vectors={"image": 2}, skipped=Named([("a.png", "is broken")]))
    second = IndexReport(found=4, added=4, vectors={"image": 4, "clip_l": 1}, skipped=Named([("a.png", "is broken"), ("b.png", "too")]))
    second.skipped.total += 10  # counted, not named
    whole = together([first, second])
    assert (whole.found, whole.added, whole.vectors) == (7, 6, {"image": 6, "clip_l": 1})
    assert whole.skipped == [("a.png", "is broken"), ("b.png", "too")] and whole.skipped.total == 12


def test_a_helpers_report_does_not_count_the_files_it_found():
    from dataclasses import asdict

    from diffusion_toolkit.embedders.pipeline import IndexReport
    from diffusion_toolkit.nodes.command.ray_index import report_of

    sent = {**asdict(IndexReport(found=9, unchanged=5, added=2)), "totals": {name: 0 for name in ("skipped", "unknown", "unread_metadata")}}
    helped, own = report_of(sent, True), report_of(sent, False)
    assert (helped.found, helped.unchanged, helped.added) == (0, 0, 2)
    assert (own.found, own.unchanged, own.added) == (9, 5, 2)


def test_what_a_helper_marks_as_gone_is_counted():
    from dataclasses import asdict

    from diffusion_toolkit.embedders.pipeline import IndexReport
    from diffusion_toolkit.nodes.command.ray_index import report_of_all

    def answer(helping, **counts):
        return {**asdict(IndexReport(**counts)), "totals": {name: 0 for name in ("skipped", "unknown", "unread_metadata")}}, helping

    owner = answer(False, found=5, known_elsewhere=2, missing=2, moved=2, elsewhere=3)
    helper = answer(True, found=5, known_elsewhere=3, missing=4, moved=3, elsewhere=2)
    whole = report_of_all(IndexReport(), [owner, helper], set())
    assert (whole.known_elsewhere, whole.missing, whole.moved, whole.elsewhere) == (5, 6, 5, 0)


def test_what_helpers_read_is_not_told_as_left_to_another_run():
    from dataclasses import asdict

    from diffusion_toolkit.embedders.pipeline import IndexReport
    from diffusion_toolkit.nodes.command.ray_index import report_of_all

    def answer(helping, **counts):
        return {**asdict(IndexReport(**counts)), "totals": {name: 0 for name in ("skipped", "unknown", "unread_metadata")}}, helping

    owner = answer(False, found=200, added=95, elsewhere=105, others={"gpu-box, process 12", "gpu-box, process 99"})
    helper = answer(True, found=200, added=97, known_elsewhere=3, elsewhere=100, others={"gpu-box, process 11"})
    whole = report_of_all(IndexReport(), [owner, helper], {"gpu-box, process 11", "gpu-box, process 12"})
    assert (whole.found, whole.added, whole.elsewhere, whole.others) == (200, 192, 5, {"gpu-box, process 99"})


def test_workers_get_equal_parts_of_the_budget_that_is_left():
    from diffusion_toolkit.nodes.command.ray_worker import part_of_budget

    assert part_of_budget(1000, used=200, workers=4) == 400
    assert part_of_budget(1000, used=1500, workers=4) == 1500


def test_what_makes_a_worker_holds_no_password():
    """Ray keeps it, also of a worker that has ended, in the memory of its head node and may be on a disk."""
    from diffusion_toolkit.nodes.command.ray_cluster import Cluster

    made, called = [], []

    class Method:
        def __init__(self, name):
            self.name = name

        def remote(self, *arguments):
            called.append((self.name, arguments))

    class Actor:
        def __getattr__(self, name):
            return Method(name)

    class Made:
        def remote(self, *arguments):
            made.append(arguments)
            return Actor()

    class Ray:
        class exceptions:
            RayError = RuntimeError

        def nodes(self):
            return [{"Alive": True, "Resources": {"CPU": 2.0}}]

        def remote(self, **options):
            return lambda kind: Made()

        def wait(self, calls, **options):
            return calls, []

        def get(self, call, **options):
            raise RuntimeError("the cluster is gone")

    cluster = Cluster(Ray(), Path("package"), {"library": "default"}, "password=secret", None, lambda *told: None)
    with pytest.raises(RuntimeError, match="does not answer"):
        cluster.begin()
    assert ("begin", ("password=secret",)) in called and len(made) == 2 and "secret" not in str(made)


def test_a_ray_that_asks_nobody_for_a_token_is_refused(monkeypatch):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.ray_cluster import connected

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__version__="2.51.1", shutdown=lambda: None))
    with pytest.raises(UsageError, match=r"2\.51\.1 is too old.*ray>=2\.52"), connected("local", None, False):
        pass


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("bogus", r"can't use 'bogus' \(Invalid address format: bogus\)\. Give --ray an address such as 10\.0\.0\.1:6379, auto, or local\."),
        ("foo://x", "can't use 'foo://x' .*such as 10"),
        ("127.0.0.1:99999", "Nothing answers at 127.0.0.1:99999"),
        ("a..b:6379", r"Nothing answers at a\.\.b:6379"),
        ("127.0.0.1:1", "Nothing answers at 127.0.0.1:1 "),
    ],
)
def test_what_is_no_address_of_a_cluster_is_told_in_a_sentence(address: str, says: str):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.ray_cluster import connected

    with pytest.raises(UsageError, match=says) as caught, connected(address, None, False):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("greeting", "says"), [(b"SSH-2.0-OpenSSH\r\n", "What answers at .* is no Ray cluster"), (b"", "Nothing answers at .*timed out")])
def test_another_program_at_the_address_is_told_at_once(greeting: bytes, says: str, monkeypatch):
    """Where Ray itself would try for minutes."""
    from diffusion_toolkit.nodes.command import ray_cluster

    monkeypatch.setattr(ray_cluster, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(ray_cluster, "_started", lambda *told: pytest.fail("Ray was asked"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        greeter = threading.Thread(target=lambda: server.accept()[0].sendall(greeting) if greeting else None)
        greeter.start()
        with pytest.raises(ray_cluster.UsageError, match=says), ray_cluster.connected(address, None, False):
            pass
        greeter.join()


def test_a_cluster_is_known_by_the_settings_that_it_begins_with(monkeypatch):
    from diffusion_toolkit.nodes.command import ray_cluster

    monkeypatch.setattr(ray_cluster, "_started", lambda *told: "ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        greeter = threading.Thread(target=lambda: server.accept()[0].sendall(bytes([0, 0, 0x18, 4, 0])))  # as that of 2.60 does
        greeter.start()
        with ray_cluster.connected(f"127.0.0.1:{server.getsockname()[1]}", None, False) as ray:
            assert ray == "ray"
        greeter.join()


def test_where_no_worker_begins_for_a_minute_the_bar_says_why():
    from diffusion_toolkit.nodes.command.ray_cluster import _together

    assert _together({}, 2, 5.0)[0] == "Waiting for 2 workers"
    assert "`ray status`" in _together({}, 2, 90.0)[0]


def test_the_bar_tells_what_most_workers_are_at_without_each_ones_own_part():
    from diffusion_toolkit.nodes.command.ray_cluster import _together

    told = {0: ("CLIP vectors; budget 2 GiB", 1, 10), 1: ("CLIP vectors; budget 3 GiB", 2, 10), 2: ("Reading images", 5, 5)}
    assert _together(told, 3, 0.0) == ("CLIP vectors (3 workers)", 3, 20)


@pytest.fixture
def hanging(monkeypatch):
    """Shares out work among workers, of whom some hang for ever at what they are given; the clock goes on a minute with each look."""
    from diffusion_toolkit.nodes.command import ray_cluster

    now, killed, given = [0.0], [], []
    monkeypatch.setattr(ray_cluster.time, "monotonic", lambda: now[0])

    def run(workers: int, hang: set[int], told=lambda: {}):
        def method(number):
            return SimpleNamespace(remote=lambda *share: given.append((number, *share)) or (number, len(given)))

        class Ray:
            class exceptions:
                RayError = RayActorError = OutOfMemoryError = ConnectionError

            def wait(self, calls, **options):
                now[0] += 60
                assert now[0] < 10_000, "it waits for ever"
                return [call for call in calls if call[0] not in hang], []

            def get(self, call, **options):
                return told() if call == "board" else {"worker": call[0]}

            def kill(self, actor):
                killed.append(actor.number)

        made = ray_cluster.Cluster.__new__(ray_cluster.Cluster)
        made._ray, made._bar, made._began, made._told, made.lost = Ray(), lambda *told: None, 0.0, {}, []
        made._board = SimpleNamespace(all=SimpleNamespace(remote=lambda: "board"))
        made._workers = {number: SimpleNamespace(number=number, images=method(number), begin=method(number)) for number in range(workers)}
        made._heard = dict.fromkeys(made._workers, 0.0)
        return made

    run.killed, run.given, run.now = killed, given, now
    return run


def test_a_worker_that_hangs_is_given_up_and_its_share_done_by_another(hanging, caplog):
    cluster = hanging(3, {1})
    answers = cluster.images()
    assert sorted(share for _, share, _ in hanging.given) == [0, 1, 1, 2] and len(answers) == 3
    assert hanging.killed == cluster.lost == [1] and "Worker 1 told nothing new for 15 minutes, and is given up" in caplog.text


def test_where_all_hang_in_the_end_the_run_fails(hanging):
    from diffusion_toolkit.nodes.command.ray_cluster import WorkerFailed

    hang = {1}
    cluster = hanging(2, hang)
    cluster._ray.kill = lambda actor: hang.add(0)  # the drive that it hangs on is gone for the other too
    with pytest.raises(WorkerFailed, match="all died or hung"):
        cluster.images()


def test_a_worker_that_tells_of_its_work_is_waited_for(hanging):
    hang, steps = {1}, []

    def told():
        steps.append(1)
        if len(steps) > 40:
            hang.clear()
        return {1: ("Reading images", len(steps) // 10, 100)}

    cluster = hanging(2, hang, told)
    assert len(cluster.images()) == 2 and cluster.lost == [] and hanging.now[0] > 2400


def test_who_does_not_begin_is_not_waited_for_once_others_have(hanging):
    cluster = hanging(2, {1})
    begun = cluster._each({number: worker.begin.remote("") for number, worker in cluster._workers.items()})
    assert begun == [{"worker": 0}] and cluster.lost == [1]


def test_a_worker_refuses_no_list_and_tells_how_far_it_has_read_it(share, tmp_path, monkeypatch):
    from diffusion_toolkit.embedders.pipeline import Encoders
    from diffusion_toolkit.nodes.command.ray_worker import Setup, Work
    from diffusion_toolkit.nodes.indexing import index_run

    monkeypatch.setattr(index_run, "roots", lambda: {"output": tmp_path})
    listed, told = tmp_path / "list.txt", []
    listed.write_text("# nothing\n" * 1000, encoding="utf-8")
    work = Work(vars(Setup("", [], None, {}, "default", {})), lambda *said: not told.append(said))
    work._job, work._encoders = index_run.Job("output", tmp_path, image_list=listed), Encoders()
    assert work.images(0, 2)["found"] == 0 and told == [("Lines of the image list", 1000, 1000)]


def test_a_gpu_chosen_for_all_workers_of_ray_is_refused(monkeypatch):
    from comfy.cli_args import args
    from diffusion_toolkit.nodes.command.comfyui import refuse_chosen_devices
    from diffusion_toolkit.nodes.command.errors import UsageError

    refuse_chosen_devices()
    monkeypatch.setattr(args, "default_device", 0)
    with pytest.raises(UsageError, match="--default-device and --ray"):
        refuse_chosen_devices()


def test_all_gpus_chosen_are_left_as_they_are(monkeypatch):
    """Newer ComfyUIs have `--cuda-device all`; as the name of a device it would leave torch none."""
    from comfy.cli_args import args
    from diffusion_toolkit.nodes.command import comfyui

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    monkeypatch.setattr(args, "cuda_device", "all")
    monkeypatch.setattr(args, "default_device", 1)  # which they leave alone too, beside it
    comfyui._choose_devices(args)
    assert comfyui.os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"
    monkeypatch.setattr(args, "default_device", None)
    comfyui.refuse_chosen_devices()
