"""A bar on the terminal, lines elsewhere, and Ctrl-C, which ends a run after the batch that it is in."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from .errors import CANCELLED

_HANGUP = getattr(signal, "SIGHUP", None)  # the terminal was closed, or the connection to it is lost; Windows has none
_BREAK = getattr(signal, "SIGBREAK", None)  # Windows: Ctrl+Break, and all that one program can send to another
_SIGNALS = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, _HANGUP, _BREAK)))
LINE_SECONDS = 10.0  # between two lines of one stage, where there is no terminal
CLOCK_SECONDS = 1.0  # between two looks of a bar that stands still


class Cancelled(KeyboardInterrupt):
    """By a person or the system; `signal` says by which signal, and `code` what the command ends with."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number
        self.code = CANCELLED if number in (signal.SIGINT, _BREAK) else 128 + number


class Cancel:
    """While it is entered, the first Ctrl-C or termination inside `politely` waits for the next `check`; elsewhere, and the second
    time, it ends at once."""

    def __init__(self) -> None:
        self._asked: int | None = None
        self._polite = False
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []  # of the standard output and error, those that a person sees

    def __enter__(self) -> Cancel:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        self.take_signals()
        return self

    def take_signals(self) -> None:
        """Again, where another library has taken them."""
        for number in _SIGNALS:
            if number != _HANGUP or self._before[number] != signal.SIG_IGN:  # as nohup asks for
                signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def politely(self) -> Iterator[None]:
        self._polite = True
        try:
            yield
        finally:
            self._polite = False

    def check(self) -> None:
        if self._asked is not None:
            raise Cancelled(self._asked)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == _HANGUP:
            self._forget_the_terminal()
            if self._asked == number:  # the shell and the system both tell of it
                return
        if self._asked is not None or not self._polite:
            self._asked = number
            raise Cancelled(number)
        self._asked = number
        with suppress(OSError, ValueError):  # not print: what is interrupted here may be printing
            os.write(sys.stderr.fileno(), b"\nCancelling after this batch; once more ends at once.\n")

    def _forget_the_terminal(self) -> None:
        """It is gone, and to write to it is an error, which would be the end in the middle of a batch."""
        for number in self._terminals:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, number)
            os.close(nothing)


class Bar:
    """Called as the pipeline's `Progress`: (stage, done, total)."""

    def __init__(self, cancel: Cancel, quiet: bool = False) -> None:
        self._cancel, self._quiet = cancel, quiet
        self._terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._stage = ""
        self._told: dict[str, float] = {}  # when each stage was told last
        self._lines: dict[str, str] = {}  # and as what

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._cancel.check()
        if self._quiet:
            return
        same = re.sub(r"\(\d+ s ", "(", stage)  # a stage that tells how long it has waited is still the same
        if self._terminal:
            self._draw(stage, same, done, total)
        elif (now := time.monotonic()) >= self._told.get(same, -math.inf) + LINE_SECONDS:
            line = f"{stage}: {done} of {total}" if total else stage
            if line != self._lines.get(same):
                print(line, file=sys.stderr, flush=True)
            self._told[same], self._lines[same] = now, line

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, stage: str, same: str, done: int, total: int) -> None:
        from tqdm import tqdm

        now = time.monotonic()
        name, _, more = stage.partition("; ")
        if same != self._stage or self._bar is None or bool(total) != bool(self._bar.total):
            self.close()
            if more and same not in self._told:
                tqdm.write(stage, file=sys.stderr)
            counted = {} if total else {"bar_format": "{desc}"}
            self._bar = tqdm(desc=name, total=total or None, file=sys.stderr, leave=False, dynamic_ncols=True, mininterval=0.2, **counted)
            self._stage, self._told[same] = same, now
        self._bar.set_description_str(name, refresh=False)
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)
        if now > self._told[same] + CLOCK_SECONDS:
            if not total:
                self._bar.bar_format = "{desc} [{elapsed}]"  # no clock for what tells only that it begins: it would stand still
            self._told[same] = now
            self._bar.refresh()


def set_up_log(verbose: bool) -> None:
    """Warnings to the standard error, above the bar where there is one."""

    class Above(logging.StreamHandler):
        def emit(self, record: logging.LogRecord) -> None:
            from tqdm import tqdm

            tqdm.write(self.format(record), file=sys.stderr)

    handler = Above()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)
