"""A run on Ray: workers that load the same models, each with a share of the files, all on one PostgreSQL.

A worker that ends early helps another with what is left of its share; claims keep two from reading the same file. The share of a
worker that dies goes to another. Texts follow when all images are there, so that each text is seen by one worker.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UsageError
from .progress import Bar
from .share import HELPED_FROM, Answer, Shares

log = logging.getLogger("diffusion_toolkit")

LOCAL = "local"
REQUIREMENT = "ray>=2.52"  # the first that lets in only those who have a token
_OLDEST = (2, 52)
_INSTALL = f'Install it: python -m pip install "{REQUIREMENT}"'
LOOK_SECONDS = 0.5  # between two looks at the workers
CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0  # in which workers begin, where there is room for them
HUNG_SECONDS = 900.0  # without a word from a worker that others wait for; loading a model from a slow drive may take long
STOP_SECONDS = 60.0  # for which they are given time to end their batch
_OBJECTS = 100 * 2**20  # bytes of Ray's own store on a local cluster, the least it takes; nothing is kept there


class WorkerFailed(RuntimeError):
    """A worker could not do its work; the message is its own."""

    __module__ = "diffusion_toolkit"  # it names the cause, as all our own errors do


@contextmanager
def connected(address: str, workers: int | None, verbose: bool) -> Iterator[Any]:
    """Ray, connected, or started for this command alone where `address` is "local". It reports nothing to its makers.

    Raises:
        UsageError: it is not installed, or there is no cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its own words: this will be the default. Else it warns here
    _refuse_if_no_ray(address)
    options: dict[str, Any] = {"address": address}
    scratch = None
    if address == LOCAL:
        if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            # Its processes listen on the network. Without a token of ours one is left in the home folder.
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        # Short, since sockets lie in it, and Ray would leave its logs behind in its own.
        scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if Path("/tmp").is_dir() and os.name != "nt" else None)
        options = {
            "num_cpus": max(os.cpu_count() or 1, workers or 1), "include_dashboard": False, "object_store_memory": _OBJECTS,
            "_temp_dir": os.path.join(scratch, "r"),  # which Ray opens to everybody; the folder around it stays ours
        }  # fmt: skip
    try:
        yield _started(options, address, verbose)
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()  # ends a cluster that was started here, leaves another
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _started(options: dict[str, Any], address: str, verbose: bool) -> Any:
    try:
        import ray

        if version_of(ray.__version__) < _OLDEST:
            raise UsageError(f"Ray {ray.__version__} is too old: before {REQUIREMENT[5:]} it asks nobody for a token. {_INSTALL}")
        logging_level = logging.INFO if verbose else logging.ERROR
        ray.init(**options, logging_level=logging_level, log_to_driver=verbose, configure_logging=False)
        return ray
    except ImportError as error:
        raise UsageError(f"--ray needs Ray on each machine, in the Python that runs ComfyUI. {_INSTALL}") from error
    except ConnectionError as error:
        raise UsageError(f"There is no Ray cluster at {address!r} ({error}). `ray start --head` starts one.") from error
    except (RuntimeError, ValueError) as error:  # it may be no address at all, or of a cluster of another version
        if address == LOCAL or isinstance(error, UsageError):
            raise
        why = " ".join(str(error).split()).rstrip(".")
        raise UsageError(f"Ray can't use {address!r} ({why}). Give --ray an address such as 10.0.0.1:6379, auto, or local.") from error


def _refuse_if_no_ray(address: str) -> None:
    """Ray itself tries for minutes, at an address where nothing listens, or something else."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not (separator and port.isdigit()):
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection, connection.makefile("rb") as said:
            # It speaks HTTP/2, and begins with a frame of settings (type 4); under TLS it waits to be spoken to.
            is_ray = os.environ.get("RAY_USE_TLS", "0") != "0" or said.read(4)[3:] == b"\4"
    except (OSError, OverflowError, UnicodeError) as error:  # the last two of a port or a name that there can't be
        raise UsageError(f"Nothing answers at {address} ({error}). `ray start --head` starts a cluster.") from error
    if not is_ray:
        raise UsageError(f"What answers at {address} is no Ray cluster. Give the port that `ray start --head` tells.")


def version_of(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 2.52 of "2.52.0rc1"."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def plan(nodes: Sequence[Mapping[str, Any]], workers: int | None) -> tuple[int, int, int]:
    """(workers, GPUs each, CPUs each) for the machines that are alive: one worker for each GPU, else for each machine.

    Raises:
        UsageError: there is no room for so many.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = int(sum(one.get("GPU", 0) for one in resources))
    wanted = workers or gpus or len(resources)
    if gpus and wanted > gpus:
        raise UsageError(f"--workers {wanted}: the cluster has {gpus} GPUs, and each worker takes one.")
    holders = [one for one in resources if one.get("GPU", 0)] if gpus else resources
    on_each = math.ceil(wanted / len(holders))
    cpus = int(min(one.get("CPU", 0) for one in holders) // on_each)
    if cpus < 1:
        raise UsageError(f"--workers {wanted}: there is no CPU for each on the {len(holders)} machines of the cluster.")
    return wanted, (1 if gpus else 0), cpus


class Cluster:
    """The workers of one run, in a `with` statement, after which there are none.

    `package` and all of the setup's paths must be the same on each machine. What makes a worker stays in Ray's head node for as
    long as that runs; the library's `connection`, which holds a password, therefore goes to it in a call.
    """

    def __init__(self, ray: Any, package: Path, setup: dict[str, Any], connection: str, workers: int | None, bar: Bar) -> None:
        self._ray, self._bar, self._connection = ray, bar, connection
        count, gpus, cpus = plan(ray.nodes(), workers)
        board, worker = _actors(str(package))
        self._board = ray.remote(num_cpus=0)(board).remote()
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD")(worker)
        self._workers = {number: remote.remote(self._board, number, setup) for number in range(count)}
        self._told: dict[int, tuple[str, int, int]] = {}  # how far each is
        self._began = time.monotonic()
        self._heard = dict.fromkeys(self._workers, self._began)  # when each told something new, or was given work
        self.lost: list[int] = []

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._stop()
        finally:
            for actor in (*self._workers.values(), self._board):
                self._ray.kill(actor)

    def begin(self) -> list[dict[str, Any]]:
        """Let each load ComfyUI and its models; what each has, which is the same models."""
        begun = self._each({number: worker.begin.remote(self._connection) for number, worker in self._workers.items()})
        if not begun:
            raise WorkerFailed("No worker could be started. `--verbose` shows what Ray says of it.")
        first, *others = begun
        for other in others:
            if other["encoders"] != first["encoders"]:
                raise UsageError(
                    f"Two workers differ in their models: {_models(first)} on {first['machine']}, {_models(other)} on {other['machine']}. "
                    "Copy the same files into both, or name them."
                )
        return begun

    def images(self) -> list[Answer]:
        """Read and embed the files."""
        return self._share_out("images", helping=True)

    def texts(self) -> list[Answer]:
        """Encode the texts."""
        return self._share_out("texts", helping=False)  # each has its part of the budget for token states

    def _each(self, calls: dict[int, Any]) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        running = {call: number for number, call in calls.items()}
        while running:
            for call in self._ended(running):
                answer = self._answer(call, running.pop(call))
                done += [answer] if answer is not None else []
            self._give_up(running, bool(done))
        return done

    def _share_out(self, what: str, helping: bool) -> list[Answer]:
        """Give each worker a share, and the shares of those that died or hang to others."""
        shares = Shares(len(self._workers))
        running: dict[Any, int] = {}  # the call and its worker
        while not shares.complete or running:
            for number in sorted(self._workers.keys() - set(running.values())):
                share = shares.take(number, self._behind(running) if helping else ())
                if share is not None:
                    running[getattr(self._workers[number], what).remote(share, shares.count)] = number
                    self._heard[number] = time.monotonic()
            if not running:
                raise WorkerFailed("No worker is left: all died or hung. What was written is kept; the same command goes on from there.")
            for call in self._ended(running):
                number = running.pop(call)
                answer = self._answer(call, number)
                if answer is None:
                    shares.died(number)
                else:
                    shares.done(number, answer)
            for number in self._give_up(running, bool(self.lost) or len(running) < len(self._workers)):
                shares.died(number)
        return shares.answers

    def _give_up(self, running: dict[Any, int], waited_for: bool) -> list[int]:
        """End the workers that hang, on a drive or a GPU that does not answer: all that are still at work, where others wait for
        them, and none has told anything new for long."""
        if not waited_for or any(time.monotonic() < self._heard[number] + HUNG_SECONDS for number in running.values()):
            return []
        given_up = list(running.values())
        for number in given_up:
            at = self._told.get(number, ("beginning", 0, 0))[0]
            log.warning("Worker %d told nothing new for %.0f minutes, and is given up. It was at: %s", number, HUNG_SECONDS / 60, at)
            self._ray.kill(self._workers.pop(number))
            self.lost.append(number)
        running.clear()
        return given_up

    def _ended(self, running: dict[Any, int]) -> list[Any]:
        """Calls that are done, after a while at most; the bar moves, and a cancel is raised here."""
        ended, _ = self._ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS)
        try:
            told = self._ray.get(self._board.all.remote(), timeout=30)
        except self._ray.exceptions.RayError as error:
            raise WorkerFailed(f"The cluster does not answer any more ({type(error).__name__}). What was written is kept.") from error
        self._heard.update((number, time.monotonic()) for number, said in told.items() if said != self._told.get(number))
        self._told = told
        at_work = {number: told[number] for number in running.values() if number in told}
        self._bar(*_together(at_work, len(self._workers), time.monotonic() - self._began))
        return ended

    def _behind(self, running: Mapping[Any, int]) -> list[int]:
        """The workers that have much left to do, most first."""
        left = {number: total - done for number, (_, done, total) in self._told.items() if number in running.values()}
        return sorted((number for number, files in left.items() if files >= HELPED_FROM), key=lambda number: -left[number])

    def _answer(self, call: Any, number: int) -> dict[str, Any] | None:
        """None when the worker died."""
        try:
            answer = self._ray.get(call)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError) as error:
            log.warning("Worker %d died: %s", number, str(error).splitlines()[0])
            self._workers.pop(number)
            self.lost.append(number)
            return None
        if "error" in answer:
            kind = UsageError if answer["usage"] else WorkerFailed
            raise kind("\n".join(filter(None, [answer["trace"].rstrip(), answer["error"]])))
        return answer

    def _stop(self) -> None:
        """Let workers end the batch that they are in."""
        self._board.stop.remote()
        asked = [worker.pause.remote() for worker in self._workers.values()]  # done when what it does is done
        self._ray.wait(asked, num_returns=len(asked), timeout=STOP_SECONDS)


def _together(told: Mapping[int, tuple[str, int, int]], workers: int, seconds: float) -> tuple[str, int, int]:
    """What most workers are at, summed, `seconds` after the start."""
    stages = [_plain(stage) for stage, _, _ in told.values()]
    if not stages:
        why = "; another job may hold the cluster's CPUs or GPUs, see `ray status`" if seconds > PATIENCE_SECONDS else ""
        return f"Waiting for {workers} workers{why}", 0, 0
    most = max(dict.fromkeys(stages), key=stages.count)
    at_it = [(done, total) for stage, done, total in told.values() if _plain(stage) == most]
    return f"{most} ({workers} workers)", sum(done for done, _ in at_it), sum(total for _, total in at_it)


def _plain(stage: str) -> str:
    """Without what is said after it, such as how much of the budget is used: that is the worker's own part of it."""
    return stage.partition("; ")[0]


def _models(begun: Mapping[str, Any]) -> str:
    from ...db import told_encoder

    return ", ".join(f"{family} {told_encoder(name, fingerprint)}" for family, (fingerprint, name) in begun["encoders"].items()) or "none"


def _actors(package: str) -> tuple[type, type]:
    """The classes whose objects live in Ray's processes.

    They are made here, in a function, because Ray then sends their code along; those of a module it would have each process
    import by a name that none of them knows.
    """

    class Board:
        """Where the workers say how far they are, and learn whether to go on."""

        def __init__(self) -> None:
            self._told: dict[int, tuple[str, int, int]] = {}
            self._go_on = True

        def tell(self, number: int, stage: str, done: int, total: int) -> bool:
            self._told[number] = (stage, done, total)
            return self._go_on

        def all(self) -> dict[int, tuple[str, int, int]]:
            return self._told

        def stop(self) -> None:
            self._go_on = False

    class Worker:
        def __init__(self, board: Any, number: int, setup: dict[str, Any]) -> None:
            import importlib.util

            spec = importlib.util.spec_from_file_location("run", package + "/run.py")
            run = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(run)
            run.load_package()
            import ray
            from diffusion_toolkit.nodes.command.ray_worker import Work

            self._work = Work(setup, lambda stage, done, total: ray.get(board.tell.remote(number, stage, done, total)))

        def begin(self, connection: str) -> dict[str, Any]:
            return self._work.begin(connection)

        def images(self, number: int, of: int) -> dict[str, Any]:
            return self._work.images(number, of)

        def texts(self, number: int, of: int) -> dict[str, Any]:
            return self._work.texts(number, of)

        def pause(self) -> None:
            pass

    return Board, Worker
