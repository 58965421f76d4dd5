"""How the embedded server's processes ended, by its log."""

from __future__ import annotations

import re
import time
from pathlib import Path

LOG = "server.log"  # in the library's folder
_TAIL = 1 << 16  # bytes
_PATIENCE = 0.5  # seconds: who was connected hears of the end a moment before the log does
_ENDS = re.compile(rb"was terminated by (.*)")
_ILLEGAL = re.compile(rb"signal 4\b|exception 0xC000001D")  # SIGILL, STATUS_ILLEGAL_INSTRUCTION


def met_an_unknown_instruction(folder: Path, just_now: bool) -> bool:
    """Whether, of the server's processes, the last that was ended since its start was so by an instruction that this processor lacks.

    Every x86 wheel's pgvector is compiled for what its maker's machine had (AVX2 at the least), and no new try helps.
    """
    deadline = time.monotonic() + (_PATIENCE if just_now else 0)
    while True:
        try:
            with (folder / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - _TAIL))
                said = log.read()
        except OSError:
            return False
        ends = _ENDS.findall(said, max(0, said.rfind(b"starting PostgreSQL")))
        if ends and _ILLEGAL.match(ends[-1]):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
