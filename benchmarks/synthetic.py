"""Fill a library in a folder with synthetic images, by the package's own schema and COPY, the HNSW indexes made afterwards.

A vector is the centre of its cluster plus noise: `noise` is the length of the noise against the centre's 1, spread over
all dimensions, so that two vectors of a cluster have a cosine of about 1 / (1 + noise^2). Lengths are as the models give them: text vectors are unit vectors, the others are not.
What was drawn is written to synthetic.json in the folder; `Data` draws the same again, and queries that are not in the library.

Two presets. `apart`: each kind draws its clusters independently of the others, as issue 5's bars have it, and the noise goes in all
dimensions: within a cluster all are about equally far, the hardest case. `issue`: what gives the figures that the issue measured
(IVFFlat, HNSW, candidates of each kind, the kinds side by side) all at once; the search for it is in RESULTS.md, "Data like the
issue's". Its noise lies in the 28 dimensions of the centres, and an image's cluster is the same in all kinds, but for 1 % of each.

    .venv/bin/python benchmarks/synthetic.py FOLDER [--rows 100000] [--preset issue] [--images-per-text 1] [--noise 1.0] [--kinds prompt,image]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from harness import REPOSITORY  # makes `host` importable

assert REPOSITORY
from host.package import load_package

load_package()

DIMS = {"prompt": 1024, "negative": 1024, "image": 1024, "clip_l": 768, "clip_g": 1280}
LENGTHS = {"prompt": (1.0, 1.0), "negative": (1.0, 1.0), "image": (10.0, 20.0), "clip_l": (20.0, 30.0), "clip_g": (20.0, 40.0)}
FAMILIES = {"prompt": "text", "negative": "text", "image": "image", "clip_l": "clip_l", "clip_g": "clip_g"}
CHECKPOINTS = {  # share of the images; the last two are what the filters of 1 % and 0.01 % ask for
    "sd_xl_base_1.0.safetensors": 0.5, "juggernaut.safetensors": 0.3, "dreamshaper.safetensors": 0.1499,
    "five_percent.safetensors": 0.04, "one_percent.safetensors": 0.01, "one_of_ten_thousand.safetensors": 0.0001,
}
SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "ddim", "uni_pc"]
SIZES = [(1024, 1024), (832, 1216), (1216, 832), (1536, 640), (512, 768)]
BATCH = 5000
PRESETS: dict[str, dict[str, Any]] = {"apart": {}, "issue": {"rows_per_cluster": 400, "rank": 28, "flat": True, "shared": 0.99}}


@dataclass(frozen=True)
class Data:
    """What is drawn; the same numbers give the same vectors, whatever the batches."""

    rows: int
    images_per_text: int = 1
    noise: float = 1.0
    rows_per_cluster: int = 800
    missing: float = 0.0  # share of the images without a negative, and as many without a prompt
    kinds: tuple[str, ...] = tuple(DIMS)
    seed: int = 1
    rank: int = 32  # the centres lie in a space of so many dimensions: clusters have near and far ones; 0: all are alike far
    flat: bool = False  # the noise lies in the space of the centres, not in all dimensions
    shared: float = 0.0  # share of the items of each kind whose cluster is their image's, the same in all kinds

    @classmethod
    def of(cls, folder: Path) -> Data:
        """As a folder was filled."""
        given = json.loads((Path(folder) / "synthetic.json").read_text(encoding="utf-8"))
        return cls(**{"rank": 0, **given, "kinds": tuple(given["kinds"])})

    @property
    def texts(self) -> int:
        return -(-self.rows // self.images_per_text)

    def items(self, kind: str) -> int:
        """How many vectors of this kind there are: one of an image, or of a text."""
        return self.rows if kind == "image" else self.texts

    def clusters(self, kind: str) -> np.ndarray:
        """The cluster of each item."""
        own = self._rng(kind, 0).integers(self._cluster_count(kind), size=self.items(kind))
        if not self.shared:
            return own
        common = (np.random.default_rng([self.seed, len(DIMS)]).random(self.texts) * self._cluster_count(kind)).astype(int)
        if kind == "image":
            common = np.repeat(common, self.images_per_text)[: self.rows]
        return np.where(self._rng(kind, 4).random(len(own)) < self.shared, common, own)

    def vectors(self, kind: str, batch: int = BATCH) -> Iterator[np.ndarray]:
        """All vectors [n, dims] float32 of a kind, in batches of 5,000 items."""
        clusters, centres = self.clusters(kind), self._centres(kind)
        for number, start in enumerate(range(0, len(clusters), BATCH)):
            yield self._around(kind, centres[clusters[start : start + BATCH]], self._rng(kind, 2, number))

    def queries(self, kind: str, count: int, like: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
        """New vectors [count, dims]: from clusters drawn anew, or from those of the items `like`."""
        rng = self._rng(kind, 3, seed)
        chosen = rng.integers(self._cluster_count(kind), size=count) if like is None else self.clusters(kind)[like]
        return self._around(kind, self._centres(kind)[chosen], rng)

    def _cluster_count(self, kind: str) -> int:
        return max(1, self.items(kind) // self.rows_per_cluster)

    def _centres(self, kind: str) -> np.ndarray:
        rng = self._rng(kind, 1)
        if self.rank:
            axes = self._axes(kind, rng)
            centres = rng.standard_normal((self._cluster_count(kind), self.rank), np.float32) @ axes
        else:
            centres = rng.standard_normal((self._cluster_count(kind), DIMS[kind]), np.float32)
        return centres / np.linalg.norm(centres, axis=1, keepdims=True)

    def _axes(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """What spans the space of the centres: the first thing that `rng` draws."""
        return rng.standard_normal((self.rank, DIMS[kind]), np.float32)

    def _around(self, kind: str, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.flat:
            noise = rng.standard_normal((len(centres), self.rank), np.float32) @ self._axes(kind, self._rng(kind, 1)) / np.float32(self.rank**0.5)
        else:
            noise = rng.standard_normal(centres.shape, np.float32)
        points = centres + noise * np.float32(self.noise / DIMS[kind] ** 0.5)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        return points * rng.uniform(*LENGTHS[kind], size=(len(points), 1)).astype(np.float32)

    def _rng(self, kind: str, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, list(DIMS).index(kind), *purpose])


def open_filled(folder: Path) -> Any:
    """The library in `folder`, whatever DIFFUSION_TOOLKIT_DSN says."""
    import os

    from diffusion_toolkit import db

    os.environ.pop("DIFFUSION_TOOLKIT_DSN", None)
    return db.open_library("default", Path(folder))


def stop(folder: Path) -> None:
    """Close the library in `folder` and stop its server, if no other process uses it."""
    from diffusion_toolkit.db.server.embedded import EmbeddedServer

    open_filled(folder).close()
    EmbeddedServer.start(Path(folder)).stop()


def fill(folder: Path, data: Data, index: bool = True, memory: str = "", all_texts: bool = False) -> None:
    """Make the library; `memory` is maintenance_work_mem for the index builds.

    With `all_texts` the negatives have CLIP-L and CLIP-G vectors too, as Index Folder stores them; no search compares these.
    """
    from diffusion_toolkit import db

    library = open_filled(folder)
    with library.connection() as conn:
        by_family = {
            FAMILIES[kind]: db.ensure_encoder(
                conn, db.Encoder(FAMILIES[kind], f"synthetic-{FAMILIES[kind]}", f"synthetic {FAMILIES[kind]}", DIMS[kind])
            )
            for kind in data.kinds
        }
        db.activate_encoders(conn, list(by_family.values()))
    with library.connection() as conn:
        dropped = _drop_indexes(conn)
    with _took("images and texts"), library.connection() as conn:
        text_ids, image_ids = _write_rows(conn, data)
    for kind in data.kinds:
        ids = image_ids if kind == "image" else text_ids["negative" if kind == "negative" else "prompt"]
        write = db.write_image_vectors if kind == "image" else db.write_text_vectors
        with _took(f"{len(ids)} vectors of {kind}"):
            for number, vectors in enumerate(data.vectors(kind)):
                with library.connection() as conn:
                    write(conn, by_family[FAMILIES[kind]], ids[number * BATCH : number * BATCH + len(vectors)], vectors)
    for kind in ("clip_l", "clip_g") if all_texts else ():
        for number, vectors in enumerate(replace(data, seed=data.seed + 1).vectors(kind)):
            with library.connection() as conn:
                db.write_text_vectors(conn, by_family[kind], text_ids["negative"][number * BATCH : number * BATCH + len(vectors)], vectors)
    (folder / "synthetic.json").write_text(json.dumps(asdict(data)), encoding="utf-8")
    with _took("ANALYZE"), library.connection() as conn:
        conn.execute("ANALYZE")
    for statement in dropped if index else []:
        with _took(statement[:60]), library.connection() as conn:
            if memory:
                conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", [memory])
            conn.execute("SET LOCAL max_parallel_maintenance_workers = 2")
            conn.execute(statement)
    with library.connection() as conn:
        conn.autocommit = True
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
        conn.autocommit = False


def _drop_indexes(conn: Any) -> list[str]:
    """Drop the vectors' ANN indexes; returns the statements that make them again."""
    found = conn.execute("SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'").fetchall()
    for name, _ in found:
        conn.execute(f'DROP INDEX "{name}"')
    return [definition for _, definition in found]


def _write_rows(conn: Any, data: Data) -> tuple[dict[str, list[int]], list[int]]:
    """Texts by kind, images and their paths; their ids in the order in which they are drawn."""
    from diffusion_toolkit import db

    draw = random.Random(data.seed)
    pairs: dict[str, list[Any]] = {"negative": []}
    for kind in ("prompt", "negative")[: 2 if "negative" in data.kinds else 1]:
        words = [_word(draw) for _ in range(5000)]
        common = [1 / rank for rank in range(1, 5001)]  # words are as frequent as in a language
        texts = [f"{', '.join(draw.choices(words, common, k=12))}, {kind} {number}" for number in range(data.texts)]
        pairs[kind] = [db.TextPair(text, text) for text in texts]
    with conn.cursor().copy("COPY texts (hash, text_g, text_l) FROM STDIN") as copy:
        for pair in (*pairs["prompt"], *pairs["negative"]):
            copy.write_row((pair.hash, pair.text_g, pair.text_l))
    known = dict(conn.execute("SELECT hash, id FROM texts").fetchall())
    text_ids = {kind: [known[pair.hash] for pair in pairs[kind]] for kind in pairs}
    topics = data.clusters("image") if "image" in data.kinds else np.zeros(data.rows, int)
    start = datetime(2024, 1, 1, tzinfo=timezone.utc)
    checkpoints = [name for name, share in CHECKPOINTS.items() for _ in range(round(share * data.rows))]
    checkpoints += [next(iter(CHECKPOINTS))] * (data.rows - len(checkpoints))
    draw.shuffle(checkpoints)
    with conn.cursor().copy(
        "COPY images (hash, width, height, prompt_id, negative_id, prompt_joined, negative_joined, seed, steps, cfg, sampler,"
        " scheduler, checkpoint, loras, generator, created, reader, labels, namespace, rating) FROM STDIN"
    ) as copy:
        types = "bytea int4 int4 int8 int8 bool bool numeric int8 float8 text text text text text timestamptz int4 text text int2"
        copy.set_types(types.split(" "))
        for number in range(data.rows):
            text = number // data.images_per_text
            prompt = None if draw.random() < data.missing else text_ids["prompt"][text]
            negative = text_ids["negative"][text] if text_ids["negative"] and draw.random() >= data.missing else None
            labels = "{" + ",".join([f"topic-{topics[number]}", *(["favourite"] if draw.random() < 0.02 else [])]) + "}"
            copy.write_row((
                number.to_bytes(32, "big"), *draw.choice(SIZES), prompt, negative, False, False, draw.getrandbits(64), draw.randint(10, 60),
                draw.choice([3.5, 5.0, 7.0, 8.0]), draw.choice(SAMPLERS), "karras", checkpoints[number], "[]", "ComfyUI",
                start + timedelta(minutes=10 * number), 1000, labels, draw.choice(["", "", "", "work"]), draw.choice([None, None, None, 1, 3, 5]),
            ))  # fmt: skip
    image_ids = [row[0] for row in conn.execute("SELECT id FROM images ORDER BY hash")]
    root = db.ensure_root(conn, "output", "/synthetic")
    with conn.cursor().copy("COPY paths (root_id, path, image_id, file_size, mtime_ns) FROM STDIN") as copy:
        for number, image_id in enumerate(image_ids):
            copy.write_row((root, f"{number // 1000:04d}/image_{number:07d}.png", image_id, 1500000, number))
    return text_ids, image_ids


def _word(draw: random.Random) -> str:
    return "".join(draw.choice("bcdfghklmnprstvw") + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))


class _took:
    """Prints how long a step took."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        print(f"{time.perf_counter() - self.started:7.1f} s  {self.what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--images-per-text", type=int, default=1)
    parser.add_argument("--preset", choices=list(PRESETS), default="apart", help="sets the options down to --shared that are not given")
    parser.add_argument("--noise", type=float, default=Data.noise)
    parser.add_argument("--rows-per-cluster", type=int, default=Data.rows_per_cluster)
    parser.add_argument("--rank", type=int, default=Data.rank, help="0: unrelated clusters, among which HNSW finds no way")
    parser.add_argument("--flat", action="store_true", help="the noise in the space of the centres only")
    parser.add_argument("--shared", type=float, default=Data.shared, help="share of each kind whose cluster is the same in all kinds")
    parser.add_argument("--missing", type=float, default=0.0, help="share of the images without a prompt, and without a negative")
    parser.add_argument("--kinds", default=",".join(DIMS), help="comma-separated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-index", action="store_true", help="leave the HNSW indexes out")
    parser.add_argument("--all-texts", action="store_true", help="CLIP vectors of the negatives too, as Index Folder stores them")
    parser.add_argument("--memory", default="", help="maintenance_work_mem for the index builds, such as 5GB")
    parser.set_defaults(**PRESETS[parser.parse_known_args()[0].preset])
    options = parser.parse_args()
    if (options.folder / "synthetic.json").exists():
        raise SystemExit(f"{options.folder} is filled already. Remove it, or name another folder.")
    data = Data(
        options.rows, options.images_per_text, options.noise, options.rows_per_cluster, options.missing,
        tuple(options.kinds.split(",")), options.seed, options.rank, options.flat, options.shared,
    )  # fmt: skip
    fill(options.folder, data, not options.no_index, options.memory, options.all_texts)
    stop(options.folder)


if __name__ == "__main__":
    main()
