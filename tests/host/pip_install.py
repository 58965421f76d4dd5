"""Runs pip with one line of progress in place of its many, and keeps everything it said in a log; standard library only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from .comfyui_source import SetupError

_PLAIN_EVERY_S = 15
PIP_WITH_RAW_PROGRESS = (24, 1)


def pip_install(python: Path, arguments: Sequence[str], log: Path, *, quiet: bool = False) -> None:
    """`pip install` with `arguments` for that Python; SetupError with the end of what pip said when it fails."""
    # --no-compile: compiling all of torch and transformers takes longer than the imports of what is used ever will.
    base = ["install", "--no-compile", "--disable-pip-version-check", "--no-input", "--no-warn-script-location"]
    run_pip(python, [*base, *arguments], log, quiet=quiet)


def run_pip(python: Path, arguments: Sequence[str], log: Path, *, quiet: bool = False) -> None:
    """Any pip command, with the progress and the errors of `pip_install`; `quiet` shows nothing while it works."""
    command = [str(python), "-m", "pip", *arguments]
    if not quiet and pip_version(python) >= PIP_WITH_RAW_PROGRESS:
        command.append("--progress-bar=raw")  # "Progress <bytes> of <bytes>" lines
    progress = _Progress(visible=not quiet)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as record:
        record.write(f"\n$ {' '.join(command)}\n")
        environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
            text=True, encoding="utf-8", errors="replace",
        )
        assert process.stdout is not None
        end: list[str] = []
        try:
            with progress:
                for line in process.stdout:
                    progress.see(line)
                    if not line.startswith("Progress "):
                        record.write(line)
                        end = [*end[-25:], line.rstrip()]
                code = process.wait()
                progress.failed = code != 0
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code:
        errors = [line for line in end if line.startswith("ERROR")] or end
        raise SetupError("pip failed:\n    " + "\n    ".join(errors) + f"\nAll it said is in {log}.{_hint(end)}")


def pip_version(python: Path) -> tuple[int, ...]:
    """The pip of that Python; SetupError when it has none."""
    said = subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"pip (\d+)\.(\d+)", said.stdout)
    if version is None:
        raise SetupError(f"{python} has no pip: `{python} -m ensurepip` adds it. It said: {said.stderr.strip()}")
    return tuple(map(int, version.groups()))


def _hint(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    if "No space left" in text or "Errno 28" in text:
        return " Free disk space (also for pip's temporary files) and run the command again."
    if "hash" in text.lower() and "match" in text.lower():
        return " A package arrived changed or damaged: try `pip cache purge`, then run the command again."
    if re.search(r"Connection|Retrying|resolve host|Temporary failure|timed out|Max retries", text):
        return " PyPI could not be reached: check the network or pip's proxy settings, then run the command again."
    return " Running the command again goes on from what is already there."


class _Progress:
    """Turns pip's lines into a state, and shows it each second on a terminal, each 15 s in a file."""

    def __init__(self, *, visible: bool) -> None:
        self._visible = visible
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._files = 0
        self._bytes = 0  # of finished files
        self._current = (0, 0)
        self._doing = "looking up what is needed"
        self.failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def see(self, line: str) -> None:
        if match := re.match(r"Progress (\d+) of (\d+)", line):
            self._current = (int(match[1]), int(match[2]))
        elif match := re.match(r"\s+(Downloading|Using cached) (\S+)", line):
            self._finish_file()
            self._files += 1
            self._doing = match[2].rsplit("/", 1)[-1].split("-")[0]
        elif line.startswith("Installing collected packages"):
            self._finish_file()
            self._doing = f"unpacking {line.count(',') + 1} packages"

    def _finish_file(self) -> None:
        self._bytes += self._current[1]
        self._current = (0, 0)

    def _text(self) -> str:
        seconds = int(time.monotonic() - self._started)
        transferred = f"{(self._bytes + self._current[0]) / 1e6:,.0f} MB"
        return f"  {seconds // 60}:{seconds % 60:02d}  {self._files} files, {transferred} transferred, {self._doing}"

    def _show(self) -> None:
        while not self._stop.wait(1 if self._terminal else _PLAIN_EVERY_S):
            print(f"\r{self._text():<79.79}" if self._terminal else self._text(), end="" if self._terminal else "\n", flush=True)

    def __enter__(self) -> _Progress:
        if self._visible:
            self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        if self._visible:
            self._thread.join()
            self._finish_file()
            self._doing = "stopped" if kind else "failed" if self.failed else "done"
            print(f"\r{self._text():<79.79}" if self._terminal else self._text(), flush=True)
