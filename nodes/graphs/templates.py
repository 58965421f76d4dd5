"""Templates: which there are, what stands in them, and what of a graph this ComfyUI lacks."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..host import toolkit_directory

if TYPE_CHECKING:
    from ...embedders.template import Lacking
    from .stored_graphs import Graph

OWN, BUILT_IN = "the image's own graph", "text to image"
STOP, NEAREST, AS_THEY_ARE, LEAVE_OUT = "stop and list them", "use the nearest here", "leave the names", "leave out such images"  # of what is not here
NO_CHECKPOINT = "any checkpoint.safetensors"  # where none is here: the image's own takes its place if it is known
MAX_BYTES = 32 * 2**20
TOLD = 20  # images that a report tells of
NO_MODELS = ("configs", "custom_nodes", "datasets", "diffusers")  # ComfyUI's own kinds of other files; the last of folders, listed by none
_BUILT_IN: dict[str, Any] = {  # ComfyUI's own nodes only
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": ""}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a picture", "clip": ["4", 1]}, "_meta": {"title": "Prompt"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}, "_meta": {"title": "Negative prompt"}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 0, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "like_%image_id%"}},
}  # fmt: skip


def templates_directory() -> Path:
    """Where a person puts templates: JSON files, as the page's Export (API) or Save gives them."""
    return toolkit_directory() / "templates"


def template_names() -> list[str]:
    """For a combo: the image's own graph, the built-in one, and the files of the folder."""
    folder = templates_directory()
    try:
        files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.json") if file.is_file())
    except OSError:
        files = []
    return [OWN, BUILT_IN, *(name for name in files if name not in (OWN, BUILT_IN))]


def template_file(name: str, path: str = "") -> Path | None:
    """The file of a template that is one: of the folder, or a path under the roots, which goes before.

    FileRefused when the path is under none, ValueError when the folder has no such template.
    """
    if path.strip():
        from ..files import find_file

        return find_file(path)
    if name in (OWN, BUILT_IN):
        return None
    if name not in template_names():
        raise ValueError(f"There is no template {name} in {templates_directory()}. There are: {', '.join(template_names())}.")
    return templates_directory() / name


def read_template(file: Path | None, definitions: Any) -> Graph:
    """A template as an API graph; the built-in one for None. NoGraph where a file holds neither graph nor workflow."""
    from ...embedders.workflow import WorkflowError, to_api
    from .stored_graphs import NoGraph, queueable

    if file is None:
        return _built_in()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise NoGraph(f"{file} is larger than {MAX_BYTES // 2**20} MB, which is no template. Choose a workflow's JSON file.")
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NoGraph(f"The template {file} is no JSON. A picture is no template: Recall Workflow gives its graph as JSON.") from error
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, NoGraph):
            raise
        raise NoGraph(f"The template {file} can't be read: {error}. Export it again from ComfyUI.") from error
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        try:
            return to_api(content, definitions)
        except WorkflowError as error:
            raise NoGraph(f"The template {file} can't be queued here: {error}") from error
    graph = queueable(content if isinstance(content, dict) else {})
    if not graph:
        raise NoGraph(f"The template {file} holds no graph. Save it in ComfyUI with Export (API), or as a workflow.")
    return graph


def _built_in() -> Graph:
    """A new copy, with the first checkpoint of this ComfyUI for images whose own is not known."""
    import folder_paths

    graph = json.loads(json.dumps(_BUILT_IN))
    graph["4"]["inputs"]["ckpt_name"] = next(iter(folder_paths.get_filename_list("checkpoints")), NO_CHECKPOINT)
    return graph


def models_here() -> str:
    """Changes with the model files that this ComfyUI lists, by which it is told what a graph lacks here, and what is nearest."""
    import folder_paths

    models = sorted(kind for kind, entry in folder_paths.folder_names_and_paths.items() if _lists_models(kind, entry))
    listed = [[kind, folder_paths.get_filename_list(kind)] for kind in models]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _lists_models(kind: Any, entry: Any) -> bool:
    """Whether ComfyUI can list this kind, which a pack may have put there in any form, and whether that may be models.

    Of a pack's own kinds, by their endings, no folder is walked that ComfyUI's own lie in: it may be all of the disk.
    """
    import folder_paths as comfy

    if not isinstance(kind, str) or kind in NO_MODELS or not isinstance(entry, (list, tuple)) or len(entry) < 2:
        return False
    folders, endings = entry[:2]
    if not isinstance(folders, (list, tuple, set)) or not all(isinstance(folder, (str, Path)) for folder in folders):
        return False
    if not isinstance(endings, Collection) or isinstance(endings, bytes):
        return False
    if any(ending in endings for ending in comfy.supported_pt_extensions):
        return True
    places = (comfy.base_path, comfy.get_output_directory(), comfy.get_input_directory(), comfy.get_temp_directory(), comfy.get_user_directory())
    return not any(Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)) for folder in folders for place in places)


def missing_here(graph: Graph, definitions: Any) -> tuple[list[str], list[Lacking]]:
    """The node classes, and the names in combos, that this ComfyUI does not have."""
    from ...embedders.template import lacking, unknown_classes

    return unknown_classes(graph, definitions), lacking(graph, definitions, takes_unlisted(definitions))


def takes_unlisted(definitions: Any) -> Callable[[str, str, str], bool]:
    """Tells of a class, an input and a value whether the class, which looks at it itself, takes it though it is not in its list.

    Of files that are uploaded those that are there; what else a class takes only that class can tell.
    """
    import folder_paths
    import nodes
    from comfy_api.internal import _ComfyNodeInternal, first_real_override

    from ...embedders.template.present import uploads

    def takes(kind: str, name: str, value: str) -> bool:
        if not own(kind, name):
            return False
        try:
            return not uploads(definitions.get(kind), name) or folder_paths.exists_annotated_filepath(value)
        except (OSError, ValueError):  # no file has such a name
            return False

    def own(kind: str, name: str) -> bool:
        made = nodes.NODE_CLASS_MAPPINGS.get(kind)
        newer = isinstance(made, type) and issubclass(made, _ComfyNodeInternal)
        check = first_real_override(made, "validate_inputs") if newer else getattr(made, "VALIDATE_INPUTS", None)
        if check is None:
            return False
        try:
            parameters = inspect.signature(check).parameters.values()
        except (TypeError, ValueError):
            return True
        return any(one.name == name or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)

    return takes
