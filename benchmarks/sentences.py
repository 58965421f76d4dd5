"""Questions of real sentences: what the index of one kind finds as a plain search asks it, and what a search gives.

Synthetic vectors lie in clusters, and a question in one of them. Here prompts are sentences of the documentation that the packages of `.venv`
bring, by MiniLM (its 384 numbers in a row of 1024), each of one image, whose own vector stands for a picture: another sentence's with noise of .4.
Questions are a few words of a sentence, as one types them, which lie between what is stored, farther from all; vectors at a cosine
of .8 with stored ones; and noise. The folder is filled first, where it is not: some 12 minutes for 30,000 sentences on two cores.

    .venv/bin/python benchmarks/sentences.py FOLDER [--texts 30000] [--k 50] [--queries 100]
"""

from __future__ import annotations

import argparse
import random
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import machine, prepare
from measured import Truth, folder_argument, in_turn, plain_connection
from phrases import Encoder
from search import bare
from shapes import open_tried, ours
from synthetic import BATCH, Data, fill, stop

DIMS, NUMBERS = 1024, 384
LONGEST, OF_A_FILE = 200_000, 60  # characters of a file, and sentences
NOISE, APART = 0.4, 0.75  # lengths, against 1: of pictures, and of questions at a cosine of .8


@dataclass(frozen=True)
class Sentences(Data):
    """An image of each sentence whose vector is in the file `encoded`, float32 [texts, 384]."""

    encoded: str = ""

    def clusters(self, kind: str) -> np.ndarray:
        return np.zeros(self.items(kind), int)

    def vectors(self, kind: str, batch: int = BATCH) -> Iterator[np.ndarray]:
        units = np.load(self.encoded)
        for number, start in enumerate(range(0, self.rows, BATCH)):
            yield wide(units[start : start + BATCH] if kind == "prompt" else apart(np.roll(units, 1, axis=0)[start : start + BATCH], NOISE, number))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder_argument(parser)
    parser.add_argument("--texts", type=int, default=30_000)
    parser.add_argument("--k", type=int, default=50)
    options = parser.parse_args()
    prepare()
    if not (options.folder / "synthetic.json").exists():
        make(options.folder, options.texts)
    data, library = Sentences.of(options.folder), open_tried(options.folder)
    plain = plain_connection(library)
    truth = Truth(plain, data)
    draw = np.random.default_rng(7)
    stored = np.load(data.encoded)[draw.integers(data.texts, size=options.queries)]
    words = np.load(options.folder / "words.npy")[: options.queries]
    noise = draw.standard_normal((options.queries, NUMBERS), np.float32)
    print(f"{machine()}\n{data.rows} sentences, k {options.k}, {len(words)} queries, {options.rounds} rounds\n")
    print("| question | bare HNSW, ef 100, p50 ms | recall@10 | @50 | ours p50 ms | recall@10 | @50 |\n" + "|---" * 7 + "|")
    for told, kind, shape, asked in (
        ("prompts by a few words", "prompt", "near", words),
        ("prompts near a stored one", "prompt", "near", apart(stored, APART, 8)),
        ("prompts near nothing", "prompt", "near", noise),
        ("pictures by a few words", "image", "far", words),
        ("pictures near a stored one", "image", "near", apart(stored, APART, 9)),
    ):
        asked, options.kind = wide(asked), kind
        scores = truth.cosines(kind, asked)
        ways = [bare(plain, kind, asked, options.k, 100), ours(library, options, asked[None], (1.0,), shape, {})]
        rows = in_turn(ways, len(asked), options.rounds)
        cells = [f"{row.p50:.1f} | {row.recall(truth, scores, 10):.3f} | {row.recall(truth, scores, 50):.3f}" for row in rows]
        print(f"| {told} | {' | '.join(cells)} |", flush=True)
    plain.close()
    stop(options.folder)


def make(folder: Path, count: int) -> None:
    """Fill `folder`, and leave the sentences' vectors there, and those of a few words of some."""
    sentences, encode = drawn(count), Encoder(None)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "sentences.npy", encode(sentences))
    np.save(folder / "words.npy", encode([few_words(text, random.Random(text)) for text in sentences[:: max(1, count // 500)]]))
    data = Sentences(len(sentences), kinds=("prompt", "image"), encoded=str((folder / "sentences.npy").resolve()))
    fill(folder, data, memory="2GB")


def drawn(count: int) -> list[str]:
    """So many sentences, all different, of files in an order drawn by chance."""
    packages = Path(sysconfig.get_path("purelib"))
    files = sorted(path for end in ("py", "md", "rst", "txt") for path in packages.rglob(f"*.{end}"))
    random.Random(1).shuffle(files)
    found: dict[str, None] = {}
    for file in files:
        text = file.read_text(encoding="utf-8", errors="ignore")[:LONGEST]
        if file.suffix == ".py":
            text = "\n\n".join(re.findall(r'"""(.*?)"""', text, re.DOTALL))
        sentences = [" ".join(part.split()) for part in re.split(r"(?<=[.!?])\s+|\n\s*\n", text)]
        whole = [part for part in sentences if 25 <= len(part) <= 220 and len(re.findall("[a-z]{3,}", part)) >= 5]
        found |= dict.fromkeys(whole[:OF_A_FILE])
        if len(found) >= count:
            break
    return list(found)[:count]


def few_words(text: str, draw: random.Random) -> str:
    words, count = text.split(), draw.choice([1, 2, 3, 5])
    start = draw.randrange(max(1, len(words) - count))
    return " ".join(words[start : start + count])


def apart(units: np.ndarray, length: float, seed: int) -> np.ndarray:
    """The vectors with noise of this length in all their numbers."""
    noise = np.random.default_rng(seed).standard_normal(units.shape, np.float32)
    return units + noise * np.float32(length) / np.linalg.norm(noise, axis=1, keepdims=True)


def wide(vectors: np.ndarray) -> np.ndarray:
    return np.pad(vectors, ((0, 0), (0, DIMS - NUMBERS)))


if __name__ == "__main__":
    main()
