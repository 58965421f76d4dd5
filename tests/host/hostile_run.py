"""Reads hostile files in a process of its own, which is given little memory, and notes what each one cost.

    .venv/bin/python tests/host/hostile_run.py [--large] [--only part-of-a-name] [--slowest 20]

A reader that hangs is stopped by a signal after HANG_S seconds of the processor; should it sit where no signal reaches it,
the parent ends the process. Both find hangs and measure nothing: what each file took is noted, for a report to show.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HANG_S = 8  # of the processor, for one call: many times what the slowest may take
PATIENCE_S = 120  # by the clock, on however busy a machine
MEMORY = 3 * 2**30  # of address space for the process


@dataclass(frozen=True)
class Cost:
    """What reading one file did. `error` is the traceback's last line of what should not have been raised."""

    name: str
    size: int
    seconds: float = 0.0  # of the processor, for read_metadata alone: a busy machine shall not count
    memory: int = 0  # bytes by which the process's peak grew
    error: str | None = None
    answer: str = ""
    decode_seconds: float = 0.0  # read_image, which decodes pixels and reads metadata again


class Hung(BaseException):
    """Raised by the signal; no reader's `except Exception` may swallow it."""


def read_all(*, large: bool = False, only: str = "") -> list[Cost]:
    """The cost of every file; one that hangs or kills the process has that as its error, and the next goes on."""
    costs: list[Cost] = []
    while True:
        command = [
            sys.executable,
            "-W",
            "ignore",
            __file__,
            "--worker",
            "--skip",
            str(len(costs)),
            "--only",
            only,
            *(["--large"] if large else []),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read_lines, args=(process, lines), daemon=True).start()
        begun: dict[str, Any] | None = None
        try:
            while (line := lines.get(timeout=PATIENCE_S)) is not None:
                said = json.loads(line)
                if "seconds" in said:
                    costs.append(Cost(**said))
                    begun = None
                else:
                    begun = said
            trouble = f"ended the process ({process.wait()})"
        except queue.Empty:
            process.kill()
            trouble = f"still at it after {PATIENCE_S} s"
        process.wait()
        if begun is None:
            assert process.returncode == 0, f"the worker failed ({process.returncode}) between files, after {costs[-1:]}"
            return costs
        costs.append(Cost(begun["name"], begun["size"], error=trouble))


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _files(large: bool, only: str) -> Iterator[tuple[str, bytes]]:
    from host.hostile_files import hostile_files, hostile_graph_files

    for files in (hostile_files(large), hostile_graph_files()):
        yield from ((name, content) for name, content in files if only in name)


def _work(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from host.hostile_workflows import DEFINITIONS
    from host.package import load_package

    load_package()
    from diffusion_toolkit.embedders.metadata import read_metadata
    from diffusion_toolkit.embedders.pictures.decode import ImageError, read_image

    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGPROF, _hung)
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-hostile-") as folder:
        for number, (name, content) in enumerate(_files(options.large, options.only)):
            if number < options.skip:
                continue
            path, size = Path(folder) / name, len(content)
            path.write_bytes(content)
            del content
            print(json.dumps({"name": name, "size": size}), flush=True)
            error, answer, before, begun = None, "", _reset_peak(), time.process_time()
            _alarm(HANG_S)
            try:
                found = read_metadata(path, definitions=DEFINITIONS if name.startswith("workflow-") else {})
                answer = f"{found.prompt_origin.confidence}: {found.prompt!r}"[:60]
            except OSError as raised:
                answer = f"OSError {raised}"
            except (Exception, Hung) as raised:  # noqa: BLE001 - to be told
                error = _told("read_metadata", raised)
            seconds, memory, found = time.process_time() - begun, _peak() - before, None
            begun = time.process_time()
            try:
                if not name.startswith(("graph-", "workflow-")):  # sound pictures: read_image adds nothing but time
                    _alarm(HANG_S)
                    read_image(path)
            except (ImageError, OSError):
                pass
            except (Exception, Hung) as raised:  # noqa: BLE001
                error = error or _told("read_image", raised)
            _alarm(0)
            path.unlink()
            print(
                json.dumps(asdict(Cost(name, size, seconds, memory, error, answer, time.process_time() - begun))),
                flush=True,
            )


def _alarm(seconds: float) -> None:
    """Raise Hung after so many seconds of the processor; 0 ends it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _hung(*_: object) -> None:
    raise Hung(f"still at it after {HANG_S} s")


def _told(call: str, raised: BaseException) -> str:
    frame, places = raised.__traceback__, []
    while frame is not None:
        places.append(f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}")
        frame = frame.tb_next
    return f"{call} raised {type(raised).__name__}: {str(raised)[:100]} at {' '.join(places[-4:])}"


def _reset_peak() -> int:
    """Forget the process's peak memory, where that can be done, and say the present one."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return 0
    return _peak()


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--skip", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--large", action="store_true", help="with files of up to 100 MB")
    parser.add_argument("--only", default="", help="files whose name holds this")
    parser.add_argument("--slowest", type=int, default=20)
    options = parser.parse_args()
    if options.worker:
        _work(options)
        return
    started = time.perf_counter()
    costs = read_all(large=options.large, only=options.only)
    print(f"{len(costs)} files, {sum(cost.size for cost in costs) / 1e6:.0f} MB, in {time.perf_counter() - started:.0f} s, {os.cpu_count()} cores")
    for cost in costs:
        if cost.error:
            print(f"WRONG {cost.name} ({cost.size} bytes): {cost.error}")
    for title, key in (("slowest", lambda cost: cost.seconds), ("most memory", lambda cost: cost.memory)):
        print(f"\n{title}: name, bytes, processor seconds of read_metadata, of read_image, MB of memory, answer")
        for cost in sorted(costs, key=key, reverse=True)[: options.slowest]:
            print(f"  {cost.name} {cost.size} {cost.seconds:.2f} {cost.decode_seconds:.2f} {cost.memory / 1e6:.0f} {cost.answer}")


if __name__ == "__main__":
    main()
