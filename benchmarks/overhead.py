"""What indexing costs beside reading and decoding: PNGs from disk to rows, with an encoder that does nothing.

Bare: as many processes as cores, each reading its share of the files and decoding it to an array, with each decoder that is
installed. Ours: Index Folder's pipeline into a fresh library of an embedded server, which shares the cores: reading, hashes, perceptual
hashes, the prompts out of a real graph, every text another one, rows and (constant) image vectors; with its own decoder, and with Pillow
alone. Each way does all files; the bare ones that are not compared with do fewer. Then all files are given other names, and it is run
again: nothing is decoded, each content gets a path.

    .venv/bin/python benchmarks/overhead.py [--images 2000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import REPOSITORY, Timed, machine, prepare

DEMO_FOLDER = REPOSITORY / ".cache" / "demo" / "output" / "template-images"
SIDE = 1024
COMPARED = ("kornia-rs", "Pillow")
FEWER = 400  # files that the other decoders are given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=DEMO_FOLDER, help="pictures to make them from; default: the demo's (tests/demo.py)")
    parser.add_argument("--rounds", type=int, default=2, help="of each way that is compared; the fastest counts")
    parser.add_argument("--bare", nargs=3, help=argparse.SUPPRESS)  # decoder, part, parts: a process of the bare way
    options = parser.parse_args()
    if options.bare:
        bare_process(options.folder, *options.bare)
        return
    prepare()
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bench-") as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        size = make_images(options.folder, folder, options.images)
        sizes = f"{options.images} PNGs of {SIDE} x {SIDE}, {size / options.images / 1e6:.2f} MB each"
        print(f"{machine()}\n{sizes}, file cache warm\n", flush=True)
        print("| way | images | s | images/s | processor ms/image |\n|---|---|---|---|---|", flush=True)
        bare: dict[str, Way] = {}
        for name in decoders():
            for _ in range(options.rounds if name in COMPARED else 1):
                keep_fastest(bare, name, run_bare(folder, name, options.images if name in COMPARED else min(FEWER, options.images)))
            if name in bare:
                say(f"bare: {name}, a process a core", bare[name])
        ours: dict[str, Way] = {}
        moved: dict[str, Way] = {}
        for name in COMPARED:
            for number in range(options.rounds):
                first, again = run_ours(folder, Path(scratch) / f"library-{name}-{number}", name)
                keep_fastest(ours, name, first)
                keep_fastest(moved, "moved", again)
            say(f"ours, from disk to rows: {name}", ours[name])
        say("ours, the same files by other names", moved["moved"])
        fastest = max(bare, key=lambda name: bare[name].rate)
        best = max(ours.values(), key=lambda timed: timed.rate)
        for text, way, against, bar in (
            (f"ours / bare {fastest}", best, bare[fastest], 0.7),
            ("ours with Pillow / bare Pillow", ours["Pillow"], bare["Pillow"], 0.85),
        ):
            speed, processor = way.rate / against.rate, against.cpu_ms / way.cpu_ms
            print(f"\n{text}: {speed:.2f} of its speed (bar {bar}); by the processor's time {processor:.2f}")


@dataclass(frozen=True)
class Way(Timed):
    """Also what it cost of the processor, its own processes' and the database's: that hardly depends on what else the machine does."""

    cpu: float = 0.0  # seconds

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / self.items


def say(name: str, way: Way) -> None:
    print(f"| {name} | {way.items} | {way.seconds:.1f} | {way.rate:.1f} | {way.cpu_ms:.2f} |", flush=True)


def processor_seconds(*others: Any) -> float:
    """Of this process, of its children that have ended, and of these other processes with theirs (psutil's)."""
    mine = os.times()
    total = mine.user + mine.system + mine.children_user + mine.children_system
    for one in others:
        times = one.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in one.children(recursive=True):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def keep_fastest(kept: dict[str, Way], name: str, timed: Way | None) -> None:
    if timed is not None and (name not in kept or timed.rate > kept[name].rate):
        kept[name] = timed


def make_images(sources: Path, folder: Path, count: int) -> int:
    """Real pictures of at least 1024 x 1024, cropped and packed as SaveImage does; each file with a graph of its own in it. All bytes."""
    from PIL import Image

    packed = []
    for file in sorted(sources.glob("*.png")):
        with Image.open(file) as image:
            if min(image.size) >= SIDE and image.mode in ("RGB", "RGBA"):
                data = io.BytesIO()
                image.convert("RGB").crop((0, 0, SIDE, SIDE)).save(data, "PNG", compress_level=4)
                packed.append(data.getvalue())
    if not packed:
        raise SystemExit(f"There are no PNGs of {SIDE} x {SIDE} in {sources}. Run python3 tests/demo.py once, or give --folder.")
    total = 0
    for number in range(count):
        picture = packed[number % len(packed)]
        data = picture[:33] + texts(number) + picture[33:]  # behind IHDR
        (folder / f"{number:06}.png").write_bytes(data)
        total += len(data)
    return total


def texts(number: int) -> bytes:
    """The chunks `prompt` and `workflow` as SaveImage writes them, with another prompt for each picture."""
    import zlib

    from host.sampled_graphs import basic, node

    prompt = f"picture {number} of a shark under water, highly detailed, dramatic light, the sea is {number * 7919 % 1000} metres deep"
    graph = json.dumps(basic(pos=node("CLIPTextEncode", text=prompt, clip=["ckpt", 1])))
    nodes = [{"id": n, "type": "Reroute", "pos": [n, n], "size": [75, 26], "inputs": []} for n in range(60)]
    workflow = json.dumps({"nodes": nodes, "n": number})
    chunks = b""
    for key, text in (("prompt", graph), ("workflow", workflow)):
        body = b"tEXt" + key.encode() + b"\0" + text.encode()
        chunks += (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return chunks


def definitions() -> dict[str, Any]:
    """What Index Folder knows of the graph's classes: those of the ComfyUI in which it runs. Without them the workflow is parsed too."""
    classes = {
        "CheckpointLoaderSimple": ([], ["MODEL", "CLIP", "VAE"]),
        "CLIPTextEncode": ([("text", "STRING"), ("clip", "CLIP")], ["CONDITIONING"]),
        "EmptyLatentImage": ([("width", "INT"), ("height", "INT"), ("batch_size", "INT")], ["LATENT"]),
        "KSampler": (
            [("model", "MODEL"), ("seed", "INT"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent_image", "LATENT")],
            ["LATENT"],
        ),
        "VAEDecode": ([("samples", "LATENT"), ("vae", "VAE")], ["IMAGE"]),
        "SaveImage": ([("images", "IMAGE"), ("filename_prefix", "STRING")], []),
    }
    return {
        name: {
            "input": {"required": {key: [kind, {}] for key, kind in inputs}}, "input_order": {"required": [key for key, _ in inputs]},
            "output": outputs, "output_is_list": [False] * len(outputs), "output_name": outputs, "name": name, "display_name": name,
            "output_node": name == "SaveImage",
        }
        for name, (inputs, outputs) in classes.items()
    }  # fmt: skip


# The bare way


def decoders() -> dict[str, Callable[[], Callable[[bytes], Any]]]:
    return {
        "kornia-rs": _kornia, "Pillow": _pillow, "PyAV": _av, "torchvision": _torchvision, "OpenCV": _opencv,
        "imagecodecs": _imagecodecs, "pyspng": _pyspng,
    }  # fmt: skip


def _kornia() -> Callable[[bytes], Any]:
    from kornia_rs.io import decode_image_png_u8

    return lambda data: decode_image_png_u8(data, (SIDE, SIDE), "rgb")


def _pillow() -> Callable[[bytes], Any]:
    import numpy as np
    from PIL import Image

    return lambda data: np.asarray(Image.open(io.BytesIO(data)))


def _av() -> Callable[[bytes], Any]:
    import av

    def decode(data: bytes) -> Any:
        codec = av.CodecContext.create("png", "r")
        codec.thread_count = 1
        return [*codec.decode(av.Packet(data)), *codec.decode(None)][0].to_ndarray(format="rgb24")

    return decode


def _torchvision() -> Callable[[bytes], Any]:
    import torch
    from torchvision.io import decode_png

    torch.set_num_threads(1)
    return lambda data: decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8))


def _opencv() -> Callable[[bytes], Any]:
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    return lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def _imagecodecs() -> Callable[[bytes], Any]:
    from imagecodecs import spng_decode

    return spng_decode


def _pyspng() -> Callable[[bytes], Any]:
    from pyspng import load

    return load


def bare_process(folder: Path, name: str, part: str, parts: str) -> None:
    """Says that it is ready, waits for a line, decodes its share."""
    try:
        decode = decoders()[name]()
    except ImportError:
        print("missing", flush=True)
        return
    files = sorted(folder.iterdir())[: int(input())][int(part) :: int(parts)]
    decode(files[0].read_bytes())
    print("ready", flush=True)
    input()
    before = time.process_time()
    for file in files:
        decode(file.read_bytes())
    print(time.process_time() - before, flush=True)


def run_bare(folder: Path, name: str, count: int) -> Way | None:
    parts = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    command = [sys.executable, __file__, "--folder", str(folder), "--bare", name]
    started = [
        subprocess.Popen([*command, str(part), str(parts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for part in range(parts)
    ]

    def tell(line: str) -> None:
        for process in started:
            process.stdin.write(line + "\n")
            process.stdin.flush()

    try:
        tell(str(count))
        if {process.stdout.readline().strip() for process in started} != {"ready"}:
            return None
        begun = time.perf_counter()
        tell("go")
        cpu = sum(float(process.stdout.readline()) for process in started)
        return Way(name, count, time.perf_counter() - begun, cpu)
    except BrokenPipeError:
        return None
    finally:
        for process in started:
            process.kill()
            process.communicate()


# Ours


class Nothing:
    """An encoder that costs nothing: the same vector for every picture."""

    name, dims, fingerprint, weights = "nothing", 1024, "00" * 32, "00" * 32

    def encode(self, images: list[Any]) -> Any:
        import numpy as np

        return np.full((len(images), self.dims), 1 / 32, np.float32)


def run_ours(folder: Path, directory: Path, name: str) -> tuple[Way, Way]:
    """All files, and all of them again by other names."""
    from diffusion_toolkit.db import open_library
    from diffusion_toolkit.db.server.embedded import EmbeddedServer
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pictures import png_workers
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    png_workers_worth = png_workers.WORTH
    library = open_library("default", directory)
    encoders = Encoders(image=Nothing())
    gc.collect()
    try:
        if name == "Pillow":
            png_workers.PngWorkers.__init__.__defaults__ = (10**9, *png_workers.PngWorkers.__init__.__defaults__[1:])

        def index() -> tuple[Any, Way]:
            with FolderStore(library, "bench", folder, "", encoders) as store:
                server = server_of(library)
                begun, before = time.perf_counter(), processor_seconds(server)
                report = index_folder(folder, Scan(folder), store, encoders, definitions=definitions())
                assert not report.skipped, report.skipped
                return report, Way(name, report.found, time.perf_counter() - begun, processor_seconds(server) - before)

        report, first = index()
        assert report.prompts == {"exact": report.found} and report.added == report.found, report.prompts
        for file in list(folder.iterdir()):
            file.rename(file.with_name(f"moved-{file.name}"))
        report, again = index()
        assert report.known_elsewhere == report.found, report
        return first, again
    finally:
        png_workers.PngWorkers.__init__.__defaults__ = (png_workers_worth, *png_workers.PngWorkers.__init__.__defaults__[1:])
        library.close()
        EmbeddedServer.start(directory).stop()


def server_of(library: Any) -> Any:
    import psutil

    with library.connection() as connection:
        return psutil.Process(connection.info.backend_pid).parent()


if __name__ == "__main__":
    main()
