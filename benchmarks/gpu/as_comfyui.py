"""ComfyUI as a library on a GPU, set up as its main.py sets it up; and rehearsals, whose output nobody takes for figures."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "benchmarks")]


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with what every script of this folder takes. The output is written as it comes: a time limit may end the run."""
    parser.add_argument("--comfyui", type=Path, default=REPOSITORY / ".cache" / "ComfyUI")
    parser.add_argument("--disable-dynamic-vram", action="store_true", help="as ComfyUI's own option: weights are loaded whole")
    parser.add_argument("--rehearse", action="store_true", help="small models and little to do, on a CPU too: whether the script runs")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    return options


@contextlib.contextmanager
def rehearsal(wanted: bool):  # noqa: ANN201
    """Every line that is printed within is marked as one of a rehearsal."""
    with contextlib.redirect_stdout(_Marked()) if wanted else contextlib.nullcontext():
        yield


class _Marked(io.TextIOBase):
    def write(self, text: str) -> int:
        sys.__stdout__.write("".join(f"rehearsal, no figure: {line}\n" for line in text.splitlines() if line))
        return len(text)


def start(options: argparse.Namespace) -> str:
    """Makes `import comfy` work, on the GPU, and this package `diffusion_toolkit`; before torch is imported. Returns what to say of it.

    ComfyUI's main.py brings weights to an NVIDIA GPU as layers ask for them (DynamicVRAM), and takes memory by cudaMallocAsync. A person's
    ComfyUI does so unless told otherwise, so figures without it are another host's.
    """
    sys.path.insert(0, str(options.comfyui))
    import comfy_aimdo.control
    import cuda_malloc  # noqa: F401  (sets what torch reads when it is imported)

    dynamic = not options.disable_dynamic_vram and comfy_aimdo.control.init(nvml_pressure=True)
    import torch
    from comfy.cli_args import args
    from host.package import load_package

    gpu = torch.cuda.is_available()
    if not gpu and not options.rehearse:
        raise SystemExit("torch sees no GPU here. --rehearse tries this script on the CPU, with small models.")
    args.cpu, args.disable_dynamic_vram = not gpu, options.disable_dynamic_vram
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    devices = [(device.index, 0) for device in comfy.model_management.get_all_torch_devices()] if gpu else []
    dynamic = dynamic and comfy_aimdo.control.init_devices(devices)
    if dynamic:
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True
    load_package()
    device = torch.cuda.get_device_name() if gpu else "NO GPU: the CPU"
    return f"{device}, torch {torch.__version__}, seeded random weights; DynamicVRAM {'on, as ComfyUI has it' if dynamic else 'OFF'}"


def gpu_bytes() -> int:
    """The most that torch's allocator held since it was reset, and what streamed weights take."""
    import comfy_aimdo.control
    import torch

    return torch.cuda.max_memory_allocated() + comfy_aimdo.control.get_total_vram_usage() if torch.cuda.is_available() else 0


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
