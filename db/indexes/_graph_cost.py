"""What it takes to make an HNSW index, in memory and in time, and when it takes less than adding to the one that is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import Connection

from ..preflight import builds_in_parallel
from ..server._settings import MB, machine_memory

if TYPE_CHECKING:
    from ..connection import Library

# Measured with 20,000 to 100,000 halfvecs of 1,024 dimensions, m 16, ef_construction 128, two cores: 0.6 to 1 ms a row to make a graph in
# memory by both (twice that alone), 7 to 9 ms to add a row to it on disk. More cores make graphs faster, but add rows no faster.
ADDING = 8.0  # times as long for a row
SLACK = 16 * MB  # of shared memory, for what is no graph
LEAST_FOR_EACH = 32 * MB  # without which PostgreSQL starts no helper


def graph_bytes(dims: int, m: int, method: str = "hnsw") -> int:
    """What pgvector 0.8 takes for a row of a graph in memory; seen by where it says that a graph no longer fits."""
    return (dims // 8 if method == "binary" else 2 * dims) + 200 + 32 * m


def making_pays(new: int, there: int, row: int, memory: int) -> bool:
    """Whether to make an index over all rows takes less than to add the `new` ones to that of the rows `there`.

    A graph beyond `memory` bytes, of `row` bytes each, goes on as if its further rows were added.
    """
    rows = new + there
    fit = min(rows, memory // max(row, 1))
    return fit + (rows - fit) * ADDING < new * ADDING


def memory_for(library: Library, conn: Connection) -> int:
    """Bytes that a graph of this library may take: of the machine where the server is ours, else what its owner set.

    Half of what is free: models may be in memory, and what a graph takes more than there is would end it, or another program.
    """
    granted = conn.execute("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))").fetchone()[0]
    return max(granted, min(_free_memory() // 2, _shared_memory(conn))) if library.embedded else granted


def settings_for(library: Library, conn: Connection, need: int) -> dict[str, str]:
    """Settings of the session that makes a graph of `need` bytes: where the server is not ours, only that it has no helpers where they are faulty.

    As much memory as it needs and no more, since a parallel build takes all of maintenance_work_mem at once; a process for each core.
    """
    parallel = builds_in_parallel(conn)
    if not library.embedded:
        return {} if parallel else {"max_parallel_maintenance_workers": "0"}
    helpers = max(1, (os.cpu_count() or 2) - 1) if parallel else 0
    wanted = max(need + need // 8 + SLACK, LEAST_FOR_EACH * (helpers + 1))
    return {
        "maintenance_work_mem": f"{min(wanted, memory_for(library, conn)) // MB}MB",
        "max_parallel_maintenance_workers": str(helpers),
        "min_parallel_table_scan_size": "0",  # by which PostgreSQL would take four helpers for 250 MB, whatever the cores
    }


def _free_memory() -> int:
    import psutil

    return min(psutil.virtual_memory().available, machine_memory())


def _shared_memory(conn: Connection) -> int:
    """What a parallel build may take of /dev/shm, where it is taken from there."""
    shm = Path("/dev/shm")
    if shm.is_dir() and conn.execute("SHOW dynamic_shared_memory_type").fetchone()[0] == "posix":
        return shutil.disk_usage(shm).free * 9 // 10
    return 1 << 62
