"""Indexing a folder: Index Folder's pipeline against the plain loop that does one image at a time.

The plain loop is what one would write first: open, read the prompt, encode with the host's own nodes' calls, INSERT and
commit, image by image, with an HNSW index on each of the five vector columns. Both ways use the same models (small, with
seeded random weights; MiniLM as text embedder), read the same files, and keep five vectors and token states.

    .venv/bin/python benchmarks/index_folder.py [--images 413] [--folder DIR]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import REPOSITORY, machine, prepare, table, timed

DEMO_FOLDER = REPOSITORY / ".cache" / "demo" / "output" / "template-images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=413, help="how many of the folder's files, in the order of their names")
    parser.add_argument("--folder", type=Path, default=DEMO_FOLDER, help="default: the demo's images (run tests/demo.py first)")
    options = parser.parse_args()
    files = sorted(file for file in options.folder.glob("*.png"))[: options.images]
    if not files:
        raise SystemExit(f"There are no PNGs in {options.folder}. Run python3 tests/demo.py once, or give --folder.")
    prepare()
    import torch

    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bench-") as scratch, torch.inference_mode():
        folder = Path(scratch) / "images"
        folder.mkdir()
        for file in files:
            shutil.copyfile(file, folder / file.name)
        models = _Models(Path(scratch))
        models.warm_up(folder / files[0].name)
        with _library(Path(scratch) / "plain") as library:
            plain = timed("plain loop, one image at a time", lambda: plain_loop(folder, models, library))
        with _library(Path(scratch) / "ours") as library:
            ours = timed("Index Folder's pipeline", lambda: pipeline(folder, models, library))
    sizes = f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB of PNG"
    print(f"{machine()}\n{len(files)} images ({sizes}); small random-weight CLIPs, MiniLM\n\n{table('images', plain, ours)}")


class _Models:
    """The same small models for both ways."""

    def __init__(self, scratch: Path) -> None:
        from diffusion_toolkit.embedders.text_embedder import load_text_embedder
        from host import stand_in_models

        self.clip = stand_in_models.small_clip(0)
        self.clip_vision = stand_in_models.small_clip_vision(0)
        folder = stand_in_models.write_text_embedder_folder(scratch / "minilm")
        self.text = load_text_embedder(str(folder), allow_download=False)

    def warm_up(self, file: Path) -> None:
        """The first call loads code; neither way shall pay for it."""
        from diffusion_toolkit.embedders.decode import decode

        _image_vector(self.clip_vision, decode(file).pixels)
        self.clip.encode_from_tokens(self.clip.tokenize("warm"), return_pooled=True)
        self.text.encode_texts(["warm"])


@contextmanager
def _library(directory: Path) -> Iterator[Any]:
    """A fresh library with a server of its own, stopped afterwards."""
    from diffusion_toolkit.db import open_library
    from diffusion_toolkit.db.embedded import EmbeddedServer

    library = open_library("default", directory)
    yield library
    library.close()
    EmbeddedServer.start(directory).stop()


def _image_vector(clip_vision: Any, pixels: Any) -> Any:
    import torch

    image = torch.from_numpy(pixels).float().div(255).unsqueeze(0)  # [1, H, W, 3]
    return clip_vision.encode_image(image)["image_embeds"][0].float().numpy()


def plain_loop(folder: Path, models: _Models, library: Any) -> int:
    """One table, one row and one commit an image, five HNSW indexes in place; each text encoded where it is met."""
    from diffusion_toolkit.embedders.decode import read_image

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


def pipeline(folder: Path, models: _Models, library: Any) -> int:
    """What the node does."""
    from diffusion_toolkit.embedders.clip_text import SDXLTextEncoder
    from diffusion_toolkit.embedders.clip_vision import ImageEncoder
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
    from diffusion_toolkit.nodes.index_store import FolderStore

    encoders = Encoders(ImageEncoder(models.clip_vision), models.text, SDXLTextEncoder(models.clip))
    store = FolderStore(library, "bench", folder, "", encoders)
    report = index_folder(folder, "", store, encoders)
    assert not report.skipped, report.skipped
    return report.added + report.known_elsewhere


if __name__ == "__main__":
    main()
