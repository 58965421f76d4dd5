"""Killing the indexing command at random moments, and PostgreSQL under it, until the folder is indexed all the same.

One folder is indexed twice by `run.py index` with small stand-in models: once undisturbed, once killed with SIGKILL again and
again, each time started anew. In some rounds it is PostgreSQL that is killed, the whole server or one of its processes, and
the command must go on by itself; in some it is a whole ComfyUI that is killed inside its node Index Folder. At the end both libraries
must hold each file exactly once and the same vectors.

    .venv/bin/python benchmarks/crash.py [--kills 50] [--server-kills 6] [--comfyui-kills 3] [--images 800] [--texts 100] [--seed 1]
                                         [--text-embedder]

Moments are drawn so that all kills together take as long as the undisturbed run worked. It takes some six minutes, and ten on a
busy machine: nearly all of it are 50 starts of Python with torch. With --text-embedder, whose import takes seconds, twice as
long. Not for Windows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from harness import REPOSITORY, machine

SERVER = ("kills of PostgreSQL", "kills of one of its processes")
BEGINNINGS = ("Looking through the folder", "Reading images", "Prompt vectors", "CLIP vectors")  # of what it says once it works
START_SECONDS = 180  # until the command begins to work
HALF_STEP = 2.0**-11  # between two numbers of half precision, at most, in parts of the larger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of the command")
    parser.add_argument("--server-kills", type=int, default=6, help="of PostgreSQL, in as many of these rounds")
    parser.add_argument("--comfyui-kills", type=int, default=3, help="of a ComfyUI inside Index Folder, in further rounds")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--texts", type=int, default=100, help="distinct prompts")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--text-embedder", action="store_true", help="with MiniLM's vectors too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-crash-") as scratch:
        folder = Path(scratch) / "pictures"
        make_pictures(folder, options.images, options.texts)
        whole, crashed = (Ground(Path(scratch) / name, folder, options.text_embedder) for name in ("whole", "crashed"))
        began = time.perf_counter()
        whole.finish()
        worked = whole.worked
        print(f"{machine()}\n{options.images} images, {options.texts} texts")
        print(f"undisturbed: {time.perf_counter() - began:.0f} s, {worked:.0f} s of it work")
        began = time.perf_counter()
        told = disturb(crashed, worked, options)
        last = crashed.finish()
        print(f"{time.perf_counter() - began:.0f} s with {told}; the last run: {last}")
        compare(whole, crashed, options.images)
        for ground in (whole, crashed):
            ground.close()
        print("\nEvery page of both libraries has the checksum that it should have.")


def make_pictures(folder: Path, images: int, texts: int) -> None:
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    prompts = [" ".join(rng.choice(words, 10)) for _ in range(texts)]
    for number in range(images):
        path = folder / f"{number % 7}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        info.add_text("parameters", f"{prompts[number % texts]}\nNegative prompt: bad {number % 3}\nSteps: 20, Seed: {number}, Size: 64x64")
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path, pnginfo=info)


@dataclass
class Ground:
    """A ComfyUI's folders with a library of their own in which the command is run."""

    base: Path
    folder: Path
    text_embedder: bool
    worked: float = 0.0  # seconds that the last run to its end took after its start
    said: list[str] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        """The command, once it has begun to index; or at its end, where there was nothing left to do."""
        from host import bootstrap, stand_in

        self.base.mkdir(exist_ok=True)
        definitions = self.base / "object_info.json"
        definitions.write_text("{}", encoding="utf-8")
        embedder = "none"
        if self.text_embedder:
            embedder = str(next(stand_in.text_embedder_folder(bootstrap.CACHE).glob("*/modules.json")).parent)
        command = [sys.executable, str(REPOSITORY / "run.py"), "index", str(self.folder), "--comfyui", str(bootstrap.find_comfyui())]
        command += ["--models-from", str(REPOSITORY / "tests" / "host" / "stand_in_loaders.py"), "--text-embedder", embedder]
        command += ["--object-info", str(definitions), "--", "--base-directory", str(self.base), "--cpu"]
        environment = {**os.environ, "DIFFUSION_TOOLKIT_ROOTS": f"pictures={self.folder}"}
        environment.pop("DIFFUSION_TOOLKIT_DSN", None)
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        begun, self.said = threading.Event(), []
        threading.Thread(target=self._listen, args=(process, begun), daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while not begun.wait(0.05) and process.poll() is None:
            assert time.monotonic() < deadline, self.said[-20:]
        return process

    def _listen(self, process: subprocess.Popen[str], begun: threading.Event) -> None:
        for line in process.stderr or ():
            self.said.append(line.rstrip())
            if line.startswith(BEGINNINGS):
                begun.set()

    def start_comfyui(self) -> Any:
        """A ComfyUI on the same folders whose Index Folder has begun to index, or is done; `process` is what to kill."""
        from host.client import ComfyError
        from host.node_graphs import index
        from host.server import ComfyServer

        server = ComfyServer(base=self.base, env={"DIFFUSION_TOOLKIT_ROOTS": f"pictures={self.folder}"}).start()
        begun = threading.Event()

        def hear(kind: str, data: dict[str, Any]) -> None:
            if kind == "progress_text" and data["text"].startswith(BEGINNINGS):
                self.said = [data["text"]]
                begun.set()

        def queue() -> None:
            try:
                server.queue(index(root="pictures", **({} if self.text_embedder else {"text_embedder": None})), on_event=hear)
            except ComfyError:  # it was killed
                pass
            begun.set()

        threading.Thread(target=queue, daemon=True).start()
        assert begun.wait(START_SECONDS), server.log_text()[-2000:]
        return server

    def finish(self) -> str:
        """Let the command run to its end; how long it took."""
        process = self.start()
        began = time.perf_counter()
        assert process.wait(1200) == 0, "\n".join(self.said[-30:])
        self.worked = time.perf_counter() - began
        return f"{self.worked:.0f} s"

    @property
    def server(self) -> Path:
        return self.base / "user" / "diffusion_toolkit" / "library"

    def library(self) -> Any:
        from diffusion_toolkit import db

        os.environ.pop("DIFFUSION_TOOLKIT_DSN", None)
        return db.open_library("default", self.server)

    def close(self) -> None:
        from diffusion_toolkit.db.server.embedded import EmbeddedServer

        EmbeddedServer.start(self.server).stop()
        check = [EmbeddedServer.binary("pg_checksums"), "--check", "-D", self.server / "postgresql"]
        subprocess.run(check, stdout=subprocess.DEVNULL, check=True)


def disturb(ground: Ground, worked: float, options: argparse.Namespace) -> str:
    """Start and kill; what was killed, in words. Fails where the command does not outlive its server."""
    dice, counted, stages = random.Random(options.seed), Counter(), Counter()
    rounds = ["server"] * options.server_kills + [""] * (options.kills - options.server_kills) + ["comfyui"] * options.comfyui_kills
    dice.shuffle(rounds)
    for kind in rounds:
        comfyui = ground.start_comfyui() if kind == "comfyui" else None
        process = comfyui.process if comfyui else ground.start()
        children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
        time.sleep(dice.uniform(0, 2 * worked / options.kills))
        if kind == "server" and process.poll() is None:
            counted[kill_server(ground, whole=sum(counted[what] for what in SERVER) % 2 == 0)] += 1
            time.sleep(dice.uniform(1, 4))
            assert process.poll() in (None, 0), f"the command ended with {process.returncode}:\n" + "\n".join(ground.said[-20:])
        if process.poll() is not None:
            assert process.returncode == 0, "\n".join(ground.said[-20:])
            counted["runs that were done before their kill"] += 1
            continue
        stages[(ground.said[-1] if ground.said else "").split(":")[0].split(";")[0][:40]] += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        counted["kills of ComfyUI" if comfyui else "kills of the command"] += 1
        left_behind(children)
        if comfyui:
            comfyui.stop()
    where = ", ".join(f"{count} in {stage!r}" for stage, count in stages.most_common())
    return ", ".join(f"{count} {what}" for what, count in counted.items()) + f" (by what it had said last: {where})"


def kill_server(ground: Ground, whole: bool) -> str:
    postmaster = psutil.Process(int((ground.server / "postgresql" / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]))
    victims = [postmaster] if whole else [child for child in postmaster.children() if "[local]" in " ".join(child.cmdline())]  # sessions
    (victims or [postmaster])[0].kill()
    return SERVER[0] if whole or not victims else SERVER[1]


def left_behind(children: list[int]) -> None:
    """The command's own helpers must end with it; its PostgreSQL lives on for others, in a session of its own."""
    deadline = time.monotonic() + 30
    while left := [said for pid in children if (said := " ".join(_command(pid))) and "_keeper" not in said and "postgres" not in said]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.1)


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


PATHS = "SELECT r.name || '/' || p.path, encode(i.hash, 'hex') FROM paths p JOIN images i ON i.id = p.image_id JOIN roots r ON r.id = p.root_id"
VECTORS = {
    "image": "SELECT encode(i.hash, 'hex'), v.embedding FROM image_vectors v JOIN images i ON i.id = v.image_id"
    " JOIN encoders e ON e.id = v.encoder_id WHERE e.family = %s",
    "text": "SELECT encode(t.hash, 'hex'), v.embedding FROM text_vectors v JOIN texts t ON t.id = v.text_id"
    " JOIN encoders e ON e.id = v.encoder_id WHERE e.family = %s",
}


def compare(whole: Ground, crashed: Ground, images: int) -> None:
    """Each file once, each vector that of the undisturbed run, and every byte readable."""
    import numpy as np
    from diffusion_toolkit.db.server.embedded import EmbeddedServer

    found = []
    for ground in (whole, crashed):
        with ground.library().connection() as conn:
            tables = {"paths": dict(conn.execute(PATHS).fetchall())}
            tables["images"] = conn.execute("SELECT count(*) FROM images").fetchone()[0]
            for family in ("image", "text", "clip_l", "clip_g"):
                rows = conn.execute(VECTORS["image" if family == "image" else "text"], [family], binary=True).fetchall()
                tables[family] = {key: vector.to_numpy().astype(np.float64) for key, vector in rows}
                assert len(tables[family]) == len(rows), f"{family}: a vector is there twice"
            tables["states"] = conn.execute("SELECT count(*) FROM token_states").fetchone()[0]
            found.append(tables)
        dump = [EmbeddedServer.binary("pg_dump"), EmbeddedServer.start(ground.server).dsn("diffusion_toolkit")]
        subprocess.run(dump, stdout=subprocess.DEVNULL, check=True)  # reads all rows, whose pages have checksums
    first, second = found
    assert len(first["paths"]) == images and first["paths"] == second["paths"], "not every file is in once"
    for counted in ("images", "states"):
        assert first[counted] == second[counted], f"{counted}: {first[counted]} and {second[counted]}"
    print(f"{images} files and {second['images']} images in both, token states of {second['states']} texts")
    print("\n| vectors | in both | equal in every bit | largest difference, of the largest value | within 1e-4 or a step of float16 |")
    print("|---|---|---|---|---|")
    for family in ("image", "text", "clip_l", "clip_g"):
        a, b = first[family], second[family]
        assert a.keys() == b.keys(), f"{family}: {len(a.keys() ^ b.keys())} vectors are in one library only"
        if not a:
            continue
        equal = sum(np.array_equal(a[key], b[key]) for key in a)
        worst = max(np.abs(a[key] - b[key]).max() / np.abs(a[key]).max() for key in a)
        steps = [np.maximum(np.abs(a[key]), np.abs(b[key])) * 2 * HALF_STEP for key in a]  # what is stored has been rounded
        good = all((np.abs(a[key] - b[key]) <= 1e-4 * np.abs(a[key]).max() + step).all() for key, step in zip(a, steps))
        print(f"| {family} | {len(a)} | {equal} | {worst:.1e} | {'yes' if good else 'NO'} |")
        assert good, family


if __name__ == "__main__":
    from host.package import load_package

    load_package()
    main()
