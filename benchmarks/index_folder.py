"""Indexing a folder: Index Folder's pipeline against the plain loop that does one image at a time.

The plain loop is what one would write first: open, read the prompt, encode with the host's own nodes' calls, INSERT and
commit, image by image, with an HNSW index on each of the five vector columns. Both ways use the same models (small, with
seeded random weights; MiniLM as text embedder), read the same files, and keep five vectors; with `--states` token states too.
A third line says what the models alone take in batches, on pictures and texts that are in memory: on a CPU that is most of it.

The files are PNGs of one size with a prompt and a negative prompt of their own each, made from ComfyUI's template pictures;
then the same with several pictures of one pair of texts. `--folder` takes files as they are instead.

    .venv/bin/python benchmarks/index_folder.py [--images 200] [--size 1024] [--images-per-text 1,5] [--layers 3] [--states] [--folder DIR]
"""

from __future__ import annotations

import argparse
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import REPOSITORY, machine, prepare, table, timed
from prompts import prompts

DEMO_FOLDER = REPOSITORY / ".cache" / "demo" / "output" / "template-images"
BATCH = 64
PICTURES = 24  # different ones; the files differ in their texts, so each is an image of its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=1024, help="width and height of the files that are made")
    parser.add_argument("--images-per-text", default="1,5", help="how many files share a prompt and a negative, one run for each")
    parser.add_argument("--folder", type=Path, help="PNGs to index as they are, in the order of their names")
    parser.add_argument("--layers", type=int, default=3, help="of each CLIP; the host wants three")
    parser.add_argument("--states", action="store_true", help="keep token states, in both ways")
    options = parser.parse_args()
    prepare()
    import torch

    lines = []
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bench-") as scratch, torch.inference_mode():
        models = _Models(Path(scratch), options.layers)
        for each in ["as they are"] if options.folder else map(int, options.images_per_text.split(",")):
            folder = Path(scratch) / f"images-{each}"
            folder.mkdir()
            if options.folder:
                for file in sorted(options.folder.glob("*.png"))[: options.images]:
                    shutil.copyfile(file, folder / file.name)
            else:
                make_files(folder, options.images, options.size, each)
            files = sorted(folder.iterdir())
            if not files:
                raise SystemExit(f"There are no PNGs in {options.folder}.")
            models.warm_up(files[0])
            budget = 5 * 2**30 if options.states else 0
            with _library(Path(scratch) / f"plain-{each}") as library:
                plain = timed("plain loop, one image at a time", lambda: plain_loop(folder, models, library, budget > 0))
            with _library(Path(scratch) / f"ours-{each}") as library:
                ours = timed("Index Folder's pipeline", lambda: pipeline(folder, models, library, budget))
            alone = models_alone(folder, models, options.states)
            size = f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB of PNG"
            texts = each if options.folder else f"{each} image{'s' if each > 1 else ''} a text"
            floor = f"The models alone, in batches: {alone:.1f} s; the pipeline {ours.seconds / alone:.2f} times that."
            lines.append(f"{len(files)} images ({size}), {texts}:\n\n{table('images', plain, ours)} {floor}\n")
            shutil.rmtree(folder)
    states = "with" if options.states else "without"
    print(f"{machine()}\nrandom-weight CLIPs of {options.layers} layers, MiniLM; {states} token states\n\n" + "\n".join(lines))


def make_files(folder: Path, count: int, size: int, images_per_text: int) -> None:
    """PNGs as A1111 writes them, from a few pictures at this size; the texts are distinct, of prompts and negatives alike."""
    from PIL import Image

    sources = sorted(DEMO_FOLDER.glob("*.png"))[:PICTURES]
    if not sources:
        raise SystemExit(f"There are no PNGs in {DEMO_FOLDER}. Run python3 tests/demo.py once, or give --folder.")
    texts = prompts(2 * -(-count // images_per_text))
    encoded: list[bytes] = []
    for number in range(count):
        if number < len(sources):
            with Image.open(sources[number]) as image:
                image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC).save(folder / "one.png", compress_level=4)
            encoded.append((folder / "one.png").read_bytes())
        pair = 2 * (number // images_per_text)
        parameters = f"{texts[pair]}\nNegative prompt: {texts[pair + 1]}\nSteps: 20, Sampler: Euler, Seed: {number}, Size: {size}x{size}"
        (folder / f"{number:06}.png").write_bytes(with_text(encoded[number % len(encoded)], parameters))
    (folder / "one.png").unlink()


def with_text(png: bytes, parameters: str) -> bytes:
    """A PNG with one more piece of text after its header."""
    body = b"iTXt" + b"parameters\0\0\0\0\0" + parameters.encode("utf-8")
    return png[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


class _Models:
    """The same small models for both ways."""

    def __init__(self, scratch: Path, layers: int) -> None:
        from diffusion_toolkit.embedders.models.text_embedder import load_text_embedder
        from host import stand_in_models

        self.clip = stand_in_models.small_clip(0, layers, layers)
        self.clip_vision = stand_in_models.small_clip_vision(0, num_hidden_layers=layers)
        folder = stand_in_models.write_text_embedder_folder(scratch / "minilm")
        self.text = load_text_embedder(str(folder), allow_download=False)

    def warm_up(self, file: Path) -> None:
        """The first call loads code; neither way shall pay for it."""
        from diffusion_toolkit.embedders.pictures.decode import decode

        _image_vector(self.clip_vision, decode(file).pixels)
        self.clip.encode_from_tokens(self.clip.tokenize("warm"), return_pooled=True)
        self.text.encode_texts(["warm"])


@contextmanager
def _library(directory: Path) -> Iterator[Any]:
    """A fresh library with a server of its own, stopped afterwards."""
    from diffusion_toolkit.db import open_library
    from diffusion_toolkit.db.server.embedded import EmbeddedServer

    library = open_library("default", directory)
    yield library
    library.close()
    EmbeddedServer.start(directory).stop()


def _image_vector(clip_vision: Any, pixels: Any) -> Any:
    import torch

    image = torch.from_numpy(pixels).float().div(255).unsqueeze(0)  # [1, H, W, 3]
    return clip_vision.encode_image(image)["image_embeds"][0].float().numpy()


def plain_loop(folder: Path, models: _Models, library: Any, keep_states: bool) -> int:
    """One table, one row and one commit an image, five HNSW indexes in place; each text encoded where it is met."""
    from diffusion_toolkit.embedders.pictures.decode import read_image

    with library.connection() as connection:
        connection.execute(
            "CREATE TABLE plain (path text, prompt text, negative text, prompt_embedding vector(1024), "
            "negative_embedding vector(1024), image_embedding vector(1024), clip_l vector(768), clip_g vector(1280), states bytea, negative_states bytea)"
        )
        for column in ("prompt_embedding", "negative_embedding", "image_embedding", "clip_l", "clip_g"):
            connection.execute(f"CREATE INDEX ON plain USING hnsw ({column} vector_cosine_ops)")
    done = 0
    for file in sorted(folder.iterdir()):
        image = read_image(file)
        prompt, negative = (text[0] if text else None for text in (image.metadata.prompt, image.metadata.negative))
        row = [file.name, prompt, negative, *(_text_vector(models, text) for text in (prompt, negative))]
        row += [_image_vector(models.clip_vision, image.pixels), *_clip(models, prompt), _clip(models, negative)[2]]
        if not keep_states:
            row[-2:] = [None, None]
        with library.connection() as connection:
            connection.execute("INSERT INTO plain VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", row)
        done += 1
    return done


def _text_vector(models: _Models, text: str | None) -> Any:
    return models.text.encode_texts([text])[0] if text is not None else None


def _clip(models: _Models, text: str | None) -> tuple[Any, Any, Any]:
    """CLIP-L and CLIP-G vectors and the token states of one text, by the host's own call."""
    if text is None:
        return None, None, None
    states, pooled = models.clip.encode_from_tokens(models.clip.tokenize(text), return_pooled=True)
    clip_l = states[0, 0, :768].float().numpy()  # the pooled CLIP-L vector costs the same; the host does not return it
    return clip_l, pooled[0].float().numpy(), states.half().numpy().tobytes()


def models_alone(folder: Path, models: _Models, states: bool) -> float:
    """Seconds of the models, in batches, over what they have to be given in a run; less than which no pipeline takes."""
    from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
    from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
    from diffusion_toolkit.embedders.pictures.decode import read_image

    image, clip, seconds = ImageEncoder(models.clip_vision), SDXLTextEncoder(models.clip), 0.0
    files, texts = sorted(folder.iterdir()), dict.fromkeys([""])
    for start in range(0, len(files), BATCH):
        read = [read_image(file) for file in files[start : start + BATCH]]
        texts.update(dict.fromkeys(text[0] for one in read for text in (one.metadata.prompt, one.metadata.negative) if text))
        began = time.perf_counter()
        image.encode([one.pixels for one in read])
        seconds += time.perf_counter() - began
    texts = sorted(texts, key=len)
    for start in range(0, len(texts), BATCH):
        batch, began = texts[start : start + BATCH], time.perf_counter()
        models.text.encode_texts(batch)
        clip.encode([(text, text) for text in batch], states=states)
        seconds += time.perf_counter() - began
    return seconds


def pipeline(folder: Path, models: _Models, library: Any, budget: int) -> int:
    """What the node does, to the point where searches are as fast as they will be."""
    from diffusion_toolkit.db import refresh_search
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
    from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    encoders = Encoders(ImageEncoder(models.clip_vision), models.text, SDXLTextEncoder(models.clip))
    with FolderStore(library, "bench", folder, "", encoders) as store:
        report = index_folder(folder, Scan(folder), store, encoders, token_state_budget=budget)
        store.activate()
    refresh_search(library, lambda stage, done, total: None)
    assert not report.skipped, report.skipped
    print(f"waited: {report.waited}, vectors: {report.vectors}, states kept: {report.states_kept}, {report.seconds:.1f} s")
    return report.added + report.known_elsewhere


if __name__ == "__main__":
    main()
