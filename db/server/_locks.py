"""A lock on a file between processes, shared or exclusive, that the system drops when its holder dies."""

from __future__ import annotations

import sys
import time
from pathlib import Path

if sys.platform == "win32":
    import fasteners

    class FileLock:
        """LockFileEx, by fasteners; the methods are described below."""

        def __init__(self, path: Path | str, *, make: bool = True) -> None:
            self._lock = fasteners.InterProcessReaderWriterLock(path)

        def acquire(self, *, shared: bool = False, timeout: float = 0) -> bool:
            take = self._lock.acquire_read_lock if shared else self._lock.acquire_write_lock
            return take(timeout=timeout)

        def release(self) -> None:
            self._lock.release_read_lock()

        def held_by_child(self) -> dict[str, object]:
            return {}  # a handle's lock is its process's alone: nobody holds it then

        def leave_to_child(self) -> None:
            self.release()

else:
    import fcntl

    class FileLock:
        """flock(2), not the record locks of fcntl(2): those are lost as soon as their process closes the same file
        anywhere else, as a backup of ComfyUI's user directory from within ComfyUI would do."""

        def __init__(self, path: Path | str, *, make: bool = True) -> None:
            self._path, self._make, self._file = path, make, None

        def acquire(self, *, shared: bool = False, timeout: float = 0) -> bool:
            """Whether the lock was had within `timeout` seconds. Where there is no file it is made or, not to `make`, isn't had."""
            try:
                file = open(self._path, "a" if self._make else "r+", encoding="ascii")
            except OSError:
                if self._make:
                    raise
                return False
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        file.close()
                        return False
                    time.sleep(0.02)
                else:
                    self._file = file
                    return True

        def release(self) -> None:
            """Give the lock up, also for processes forked meanwhile, which share it."""
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)
                self._file.close()
                self._file = None

        def held_by_child(self) -> dict[str, object]:
            """Options of Popen by which a child, and its own children, hold this lock too: until the last of us has ended."""
            return {"pass_fds": (self._file.fileno(),)}

        def leave_to_child(self) -> None:
            """Hold it no more ourselves."""
            self._file.close()
            self._file = None
