"""New rows on a large scale, index builds included: the package's bulk writes against the plain table with its five HNSW indexes.

The plain way is a row at a time, INSERT and commit, into one table with a float32 `vector` column and an HNSW index for each of the
five kinds, at PostgreSQL's own settings. Its rate falls as the indexes grow, so it is sampled at the end: over the last --sample rows
of the table, the rest of which is copied in and indexed untimed. Ours is an empty library at the settings that the embedded server
ships with: all rows through write_images and the vectors' writers, then the indexes of each kind, then the one over several kinds.
All texts are distinct. Negatives have CLIP vectors too, as Index Folder gives them, so ours writes seven vectors a row where the plain way
has five; the two are the Loader's, in no index. With --negatives there are only so many of them, as in a person's library, and four of
ours are a row's own.
Drawing the vectors is not timed. Seconds of processors are of both, client and server: they say more where a machine is shared.

    .venv/bin/python benchmarks/bulk.py [--rows 20000] [--sample 1000] [--negatives 0] [--batch 256] [--folder DIR] [--only plain|ours]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import Timed, machine, table
from synthetic import DIMS, FAMILIES, Data, open_filled, stop

PLAIN_SETTINGS = {"shared_buffers": "128MB", "maintenance_work_mem": "64MB", "max_wal_size": "1GB", "work_mem": "4MB"}  # PostgreSQL's
COLUMNS = ", ".join(f"{kind} vector({dims})" for kind, dims in DIMS.items())


class Watch:
    """Adds up the seconds, and those of processors, of what runs inside `with watch(name)`: ours and the server's."""

    def __init__(self, library: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        with library.connection() as conn:
            self._postmaster = psutil.Process(conn.info.backend_pid).parent()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started, worked = time.perf_counter(), self._worked()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.processor[name] = self.processor.get(name, 0.0) + self._worked() - worked

    def _worked(self) -> float:
        ended = self._postmaster.cpu_times()
        total = time.process_time() + ended.children_user + ended.children_system
        for process in self._postmaster.children():
            with suppress(psutil.NoSuchProcess):
                own = process.cpu_times()
                total += own.user + own.system
        return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="the bar's are 100000, which takes a quarter of an hour")
    parser.add_argument("--sample", type=int, default=1000, help="rows of the plain way that are timed; the bar's are 2000")
    parser.add_argument("--negatives", type=int, default=0, help="how many distinct ones ours has; 0: as many as rows")
    parser.add_argument("--batch", type=int, default=256, help="images or texts in a transaction of ours")
    parser.add_argument("--folder", type=Path, help="where both libraries are made and removed; default: a temporary one")
    parser.add_argument("--only", choices=["plain", "ours"])
    options = parser.parse_args()
    data = Data(options.rows)
    negatives = options.negatives or options.rows
    print(f"{machine()}\n{options.rows:,} rows, {negatives:,} distinct negatives, batches of {options.batch}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bulk-", dir=options.folder) as scratch:
        plain = None if options.only == "ours" else plain_way(Path(scratch) / "plain", data, options.sample)
        ours = None if options.only == "plain" else our_way(Path(scratch) / "ours", data, options.batch, negatives)
    for way in filter(None, (plain, ours and ours[1], ours and ours[0])):
        print(f"{way.name}: {way.items:,} rows in {way.seconds:.1f} s, {way.rate:.1f} rows/s")
    if plain and ours:
        print(f"\n{table('rows', plain, ours[0])}\nWithout the index over several kinds: {ours[1].rate / plain.rate:.2f} times.")


def plain_way(folder: Path, data: Data, sample: int) -> Timed:
    """The last `sample` rows of the table, one at a time."""
    from psycopg import sql

    first = data.rows - sample
    library = open_filled(folder)
    rows = _rows(data)
    with library.connection() as conn:
        conn.execute(f"CREATE TABLE plain (path text, prompt_text text, negative_text text, {COLUMNS})")
        with conn.cursor().copy("COPY plain FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text"] * 3 + ["vector"] * 5)
            for row in (next(rows) for _ in range(first)):
                copy.write_row(row)
    for kind in DIMS:
        started = time.perf_counter()
        with library.connection() as conn:
            conn.execute("SET LOCAL maintenance_work_mem = '1500MB'")
            conn.execute(f"CREATE INDEX ON plain USING hnsw ({kind} vector_cosine_ops)")
        print(f"{time.perf_counter() - started:7.1f} s  (untimed) plain index over {first:,} {kind}", flush=True)
    with library.connection() as conn:
        conn.autocommit = True
        for name, value in PLAIN_SETTINGS.items():
            conn.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.SQL(name), sql.Literal(value)))
        conn.autocommit = False
    stop(folder)
    library = open_filled(folder)
    waiting = list(rows)
    warm = max(1, sample // 20)
    for row in waiting[:warm]:  # what is read for the first time after the start
        _insert(library, row)
    watch = Watch(library)
    with watch("plain"):
        for row in waiting[warm:]:
            _insert(library, row)
    timed = Timed(f"plain, rows {first + warm + 1:,} to {data.rows:,}", sample - warm, watch.seconds["plain"])
    print(f"{watch.seconds['plain']:7.1f} s, {watch.processor['plain']:7.1f} s of processors: plain", flush=True)
    library.close()
    stop(folder)
    return timed


def _insert(library: Any, row: tuple) -> None:
    with library.connection() as conn:
        conn.execute("INSERT INTO plain VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", row)


def _rows(data: Data) -> Iterator[tuple]:
    from pgvector import Vector

    texts = Texts(data.rows)
    for number, vectors in enumerate(zip(*(of_kind for kind in DIMS for of_kind in [_flat(data, kind)]))):
        yield (f"{number}.png", texts.text("prompt", number), texts.text("negative", number), *map(Vector, vectors))


def _flat(data: Data, kind: str) -> Iterator[np.ndarray]:
    return (vector for batch in data.vectors(kind) for vector in batch)


class Texts:
    """Twelve words of five thousand, as frequent as in a language, and the text's number."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        letters = rng.integers(97, 123, (5000, 7)).astype(np.uint8)
        words = [bytes(row[: 3 + number % 5]).decode() for number, row in enumerate(letters)]
        share = 1 / np.arange(1, 5001)
        self._rng, self._words, self._share = rng, words, share / share.sum()

    def text(self, kind: str, number: int) -> str:
        return ", ".join(self._words[place] for place in self._rng.choice(5000, 12, p=self._share)) + f", {kind} {number}"


def our_way(folder: Path, data: Data, batch: int, negatives: int) -> tuple[Timed, Timed]:
    """All rows and all indexes; and the same without the index over several kinds."""
    from diffusion_toolkit import db
    from diffusion_toolkit.db.hybrid.refresh import refresh_hybrid

    library = open_filled(folder)
    watch, stages = Watch(library), _Stages()
    with library.connection() as conn:
        encoders = {
            family: db.ensure_encoder(conn, db.Encoder(family, f"bulk-{family}", f"bulk {family}", DIMS[kind]))
            for kind, family in FAMILIES.items()
        }
        db.activate_encoders(conn, list(encoders.values()))
        root = db.ensure_root(conn, "output", "/bulk")
    with watch("indexes put off"):
        expected = {id_: data.rows + negatives * (family != "image") for family, id_ in encoders.items()}
        db.postpone_indexes(library, expected)
    text_ids = _images(library, db, root, encoders["image"], data, batch, negatives, watch)
    of_negatives = replace(data, rows=negatives, seed=data.seed + 1)
    todo = [("prompt", data, "prompt"), ("negative", of_negatives, "negative")]
    todo += [(kind, source, which) for kind in ("clip_l", "clip_g") for source, which in ((data, "prompt"), (of_negatives, "negative"))]
    for kind, source, which in todo:
        ids = iter(text_ids[which])
        for vectors in _batches(source, kind, batch):
            with watch("text vectors"), library.connection() as conn:
                db.write_text_vectors(conn, encoders[FAMILIES[kind]], [next(ids) for _ in vectors], vectors)
    with watch("indexes of the kinds"):
        db.make_postponed(library, stages)
    with watch("index over several kinds"):
        print(f"  {refresh_hybrid(library, stages) or '(fewer images than it is made from on)'}", flush=True)
    library.close()
    stop(folder)
    for name, seconds in watch.seconds.items():
        print(f"{seconds:7.1f} s, {watch.processor[name]:7.1f} s of processors: {name}", flush=True)
    for stage, seconds in stages.seconds().items():
        print(f"{seconds:7.1f} s  {stage}", flush=True)
    total = sum(watch.seconds.values())
    alone = total - watch.seconds["index over several kinds"]
    return Timed("ours, all indexes", data.rows, total), Timed("ours, without the index over several kinds", data.rows, alone)


def _images(
    library: Any, db: Any, root: int, encoder: int, data: Data, batch: int, negatives: int, watch: Watch
) -> dict[str, list[int]]:
    """Write images with their vectors; ids of the distinct prompts and negatives, in order."""
    kept = Texts(data.rows + 1)
    known = [kept.text("negative", number) for number in range(negatives)]
    texts, number = Texts(data.rows), 0
    for vectors in _batches(data, "image", batch):
        records = []
        for _ in vectors:
            prompt, negative = texts.text("prompt", number), known[number % negatives]
            records.append(
                db.ImageRecord(
                    hash=number.to_bytes(32, "big"), width=1024, height=1024, path=f"{number // 1000:04d}/image_{number:07d}.png",
                    file_size=1_500_000, mtime_ns=1_700_000_000_000_000_000 + number, prompt=db.TextPair(prompt, prompt),
                    negative=db.TextPair(negative, negative), seed=number, steps=20, cfg=7.0, sampler="euler", scheduler="karras",
                    checkpoint="sd_xl_base_1.0.safetensors", generator="ComfyUI", phash=number,
                )
            )  # fmt: skip
            number += 1
        with watch("images, texts and image vectors"), library.connection() as conn:
            db.write_image_vectors(conn, encoder, db.write_images(conn, root, records), vectors)
    with library.connection() as conn:
        found = conn.execute("SELECT prompt_id, negative_id FROM images ORDER BY id").fetchall()
    return {"prompt": [row[0] for row in found], "negative": list(dict.fromkeys(row[1] for row in found))}


def _batches(data: Data, kind: str, size: int) -> Iterator[np.ndarray]:
    for drawn in data.vectors(kind):
        for start in range(0, len(drawn), size):
            yield drawn[start : start + size]


class _Stages:
    """A `progress` that keeps when each stage was told first."""

    def __init__(self) -> None:
        self._told: list[tuple[float, str]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._told or self._told[-1][1] != stage:
            self._told.append((time.perf_counter(), stage))

    def seconds(self) -> dict[str, float]:
        found: dict[str, float] = {}
        ends = [moment for moment, _ in self._told[1:]] + [time.perf_counter()]
        for (begun, stage), end in zip(self._told, ends):
            found[stage] = found.get(stage, 0.0) + end - begun
        return {stage: seconds for stage, seconds in found.items() if seconds >= 1}


if __name__ == "__main__":
    main()
