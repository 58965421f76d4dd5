"""Settings for the embedded PostgreSQL, sized by the memory and the shared memory this machine has."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

MB = 1 << 20
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

# What a commit waits for, so that it outlives a power loss: where PostgreSQL's own choice leaves it in the drive's cache. (On Linux it
# does not. Neither of the two has been tried on such a machine; both names are known to every PostgreSQL of the system.)
FLUSH = {"darwin": "fsync_writethrough", "win32": "fsync"}

TEMPLATE = """\
# Rewritten by diffusion-toolkit at each start. Change a setting with ALTER SYSTEM instead: that wins and is kept.
shared_buffers = {shared_buffers}MB
effective_cache_size = {effective_cache_size}MB
maintenance_work_mem = {maintenance_work_mem}MB
work_mem = 16MB
random_page_cost = 1.1
max_connections = 40
max_worker_processes = {workers}
max_parallel_workers = {workers}
max_wal_size = {wal}MB
dynamic_shared_memory_type = {shared_memory}
logging_collector = off
log_destination = stderr
log_checkpoints = off
{flush}"""


def settings(memory: int, shared_memory_space: int | None, cores: int = 2, free_disk: int = 0) -> str:
    """The text of the configuration file, for `memory` bytes of RAM and what `/dev/shm` holds (None: there is none).

    A large index build gives itself more memory and as many processes as there are cores (`_graph_cost`). The log between two checkpoints
    may grow to a 16th of what is free on the disk, since a long run logs each page whole once after every checkpoint; and to 2 GB at
    most, since all of it is replayed after a crash.

    pgvector's parallel index build takes the whole of maintenance_work_mem as dynamic shared memory; containers have
    64 MB of it in /dev/shm, so there System V segments are used, which have no such limit on Linux.
    """
    maintenance = _between(64, memory // MB // 16, 2048)
    small = shared_memory_space is not None and shared_memory_space < 2 * maintenance * MB
    default = "windows" if sys.platform == "win32" else "posix"
    return TEMPLATE.format(
        shared_buffers=_between(128, memory // MB // 8, 4096),
        effective_cache_size=max(256, memory // MB // 2),
        maintenance_work_mem=maintenance,
        shared_memory="sysv" if small else default,
        workers=max(8, cores + 4),
        wal=_between(1024, free_disk // MB // 16, 2048),
        flush=f"wal_sync_method = {FLUSH[sys.platform]}\n" if sys.platform in FLUSH else "",
    )


def machine_settings(data: Path) -> str:
    """`settings` for this machine, or for the container's memory limit where that is lower; `data` is where the library lies."""
    shm = Path("/dev/shm")
    space = shutil.disk_usage(shm).total if sys.platform == "linux" and shm.is_dir() else None
    return settings(machine_memory(), space, os.cpu_count() or 2, shutil.disk_usage(data).free)


def machine_memory() -> int:
    """Bytes of memory that we may take at most: the machine's, or the container's."""
    import psutil

    memory = psutil.virtual_memory().total
    for limit in CGROUP_LIMITS:
        try:
            memory = min(memory, int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
    return memory


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))
