"""Indexing over several Ray nodes on one machine, with a worker killed on the way, held against the command alone.

One folder is indexed twice by `run.py index` with small stand-in models: once by itself, once over a Ray cluster of several nodes, of whose workers
some are killed with SIGKILL. At the end both libraries must hold each file exactly once and the same vectors. On one machine this shows that
nothing is lost or doubled, not that several are faster: the nodes share its cores.

    .venv/bin/python benchmarks/ray_nodes.py [--nodes 3] [--kills 1] [--images 1200] [--texts 240] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from crash import Ground, compare, make_pictures
from harness import REPOSITORY, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--kills", type=int, default=1, help="of workers; fewer than there are nodes")
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--texts", type=int, default=240, help="distinct prompts")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-ray-") as scratch:
        folder = Path(scratch) / "pictures"
        make_pictures(folder, options.images, options.texts)
        whole, shared = (Ground(Path(scratch) / name, folder, text_embedder=False) for name in ("whole", "shared"))
        whole.finish()
        print(f"{machine()}\n{options.images} images, {options.texts} texts; the command alone: {whole.worked:.0f} s of work")
        print(over_ray(shared, options, whole.worked))
        compare(whole, shared, options.images)
        for ground in (whole, shared):
            ground.close()


def over_ray(ground: Ground, options: argparse.Namespace, worked: float) -> str:
    """Index it on a cluster that is made for it; what the report says."""
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short, since sockets lie in it
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_TMPDIR=temporary)
    from host import bootstrap
    from ray.cluster_utils import Cluster

    ground.base.mkdir()
    (ground.base / "object_info.json").write_text("{}", encoding="utf-8")
    cluster = Cluster()
    try:
        for _ in range(options.nodes):
            cluster.add_node(num_cpus=1, include_dashboard=False)
        command = [sys.executable, str(REPOSITORY / "run.py"), "index", str(ground.folder), "--comfyui", str(bootstrap.find_comfyui())]
        command += ["--models-from", str(REPOSITORY / "tests" / "host" / "stand_in_loaders.py"), "--text-embedder", "none"]
        command += ["--object-info", str(ground.base / "object_info.json"), "--ray", cluster.address]
        command += ["--", "--base-directory", str(ground.base), "--cpu"]
        environment = {**os.environ, "DIFFUSION_TOOLKIT_ROOTS": f"pictures={ground.folder}"}
        environment.pop("DIFFUSION_TOOLKIT_DSN", None)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for line in process.stderr:
            if line.startswith("Reading images"):
                break
        killed, moments = [], random.Random(options.seed)
        for _ in range(options.kills):
            time.sleep(moments.uniform(0.2, worked / (options.kills + 1)))
            killed += kill_one(moments)
        said, told = process.communicate(timeout=1200)
        assert process.returncode == 0, told
        return f"over {options.nodes} Ray nodes, workers killed while at: {', '.join(killed) or 'none'}\n    " + said.replace("\n", "\n    ")
    finally:
        cluster.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)


def kill_one(moments: random.Random) -> list[str]:
    """Kill a worker of ours; what it was doing."""
    workers = [one for one in psutil.Process().children(recursive=True) if (one.cmdline() or [""])[0].startswith("ray::Worker.")]
    if not workers:
        return []
    worker = moments.choice(workers)
    doing = worker.cmdline()[0].removeprefix("ray::Worker.")
    worker.kill()
    return [doing]


if __name__ == "__main__":
    from host.package import load_package

    load_package()
    main()
