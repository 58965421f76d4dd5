"""ComfyUI without its server: found around this package, with the folders, models and devices that its own start would give it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError

VARIABLE = "COMFYUI_PATH"
_FAR_NODES = "disable_api_nodes"
_ALL = "all"  # what newer ComfyUIs take as `--cuda-device`: every device that is visible, so nothing is chosen


def find_comfyui(given: str | None, package: Path) -> Path:
    """The folder given, or of COMFYUI_PATH, or the one whose custom_nodes this package lies or is linked in, or the current one.

    Raises:
        UsageError: there is no ComfyUI.
    """
    for named, source in ((given, "--comfyui"), (os.environ.get(VARIABLE), VARIABLE)):
        if named:
            folder = Path(named).expanduser().absolute()
            if not _is_comfyui(folder):
                raise UsageError(f"{folder} ({source}) is no ComfyUI: it has no main.py beside a folder comfy.")
            return folder
    for folder in (package.parent.parent, package.resolve().parent.parent, Path.cwd()):
        if _is_comfyui(folder):
            return folder
    raise UsageError(
        f"There is no ComfyUI around {package}. Say where it is: --comfyui /path/to/ComfyUI, or set {VARIABLE}."
    )


def start(folder: Path, arguments: Sequence[str]) -> None:
    """Make ComfyUI's modules ready to import, with its own `arguments`, as its main.py would before it starts its server.

    No custom node is loaded, nothing listens; torch, which takes seconds to import, is not there yet: `find_accelerator`.

    Raises:
        UsageError: the folder that the arguments put in the place of ComfyUI's is not there.
    """
    sys.path.insert(0, str(folder))
    sys.argv = [str(folder / "main.py"), *arguments]
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.cli_args import args

    if args.base_directory and not Path(args.base_directory).is_dir():  # ComfyUI would make it
        raise UsageError(f"There is no folder {Path(args.base_directory).absolute()} (--base-directory). Check its spelling.")
    _choose_devices(args)
    _apply_folders(folder, args)


def find_accelerator() -> None:
    """To be called before torch or a model is needed: torch as ComfyUI imports it, and ComfyUI told where it has only a CPU."""
    from comfy.cli_args import args

    if args.cpu or args.directml is not None:
        return
    import cuda_malloc  # noqa: F401  (chooses torch's allocator, as in ComfyUI)
    import torch

    found = torch.cuda.is_available() or torch.backends.mps.is_available()
    accelerator = getattr(torch, "accelerator", None)
    if not found and not (accelerator is not None and accelerator.is_available()):
        args.cpu = True


def refuse_chosen_devices() -> None:
    """UsageError where ComfyUI's arguments choose a GPU: each worker of Ray would take that one, in place of its own."""
    from comfy.cli_args import args

    for option in ("cuda_device", "default_device"):
        if getattr(args, option) not in (None, _ALL):
            name = "--" + option.replace("_", "-")
            raise UsageError(f"{name} and --ray don't go together, since Ray gives each worker a GPU. Leave {name} out; which GPUs "
                             "a machine lends is told by CUDA_VISIBLE_DEVICES where its Ray starts.")  # fmt: skip


def read_definitions(file: str) -> Mapping[str, Mapping[str, Any]]:
    """The classes that a saved workflow may name: those of a saved /object_info.

    Raises:
        UsageError: the file can't be read.
    """
    try:
        read = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read ({error}). It should hold what ComfyUI answers at /object_info.") from error
    if not isinstance(read, dict) or not all(isinstance(value, dict) for value in read.values()):
        raise UsageError(f"{file} is not what ComfyUI answers at /object_info: an object of node classes by name.")
    return read


def own_definitions() -> Mapping[str, Mapping[str, Any]]:
    """ComfyUI's own classes, without custom nodes. They take it many seconds to import."""
    find_accelerator()
    import nodes
    from comfy.cli_args import args

    from ..definitions import node_definitions

    root, ours = logging.getLogger(), logging.getLogger("diffusion_toolkit")
    before = root.level
    ours.setLevel(before)
    root.setLevel(logging.CRITICAL)  # one of its packs needs the server, and is not missed
    try:
        asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=not getattr(args, _FAR_NODES, False)))
    finally:
        root.setLevel(before)
        ours.setLevel(logging.NOTSET)
    return node_definitions()


def _is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy" / "cli_args.py").is_file()


def _choose_devices(args: Any) -> None:
    """Before torch is imported, which reads these variables once."""
    if args.default_device is not None and args.cuda_device != _ALL:
        first = args.default_device
        _set_visible(",".join(map(str, [first, *(number for number in range(32) if number != first)])))
    if args.cuda_device not in (None, _ALL):
        _set_visible(str(args.cuda_device))
    if args.oneapi_device_selector is not None:
        os.environ["ONEAPI_DEVICE_SELECTOR"] = args.oneapi_device_selector


def _set_visible(devices: str) -> None:
    for variable in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"):
        os.environ[variable] = devices


def _apply_folders(folder: Path, args: Any) -> None:
    """Extra model paths, and the folders that ComfyUI's arguments name."""
    import folder_paths
    import utils.extra_config

    own = folder / "extra_model_paths.yaml"
    for file in [*([str(own)] if own.is_file() else []), *itertools.chain(*(args.extra_model_paths_config or []))]:
        utils.extra_config.load_extra_path_config(file)
    for given, use in (
        (args.output_directory, folder_paths.set_output_directory),
        (args.input_directory, folder_paths.set_input_directory),
        (args.user_directory, folder_paths.set_user_directory),
    ):
        if given:
            use(os.path.abspath(given))
    for kind in ("checkpoints", "clip", "vae", "diffusion_models", "loras"):  # where ComfyUI's own nodes save models
        folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.get_output_directory(), kind))
