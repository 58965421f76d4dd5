"""Real images to try things on: the stills of ComfyUI's own template packages, written as ComfyUI's SaveImage writes images."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .bootstrap import REPOSITORY
from .package import load_package

_STAMP = ".made-from.json"
_PICTURES = (".webp", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class TemplateImages:
    """What `write_template_images` left in a folder: all images, and those with a prompt in their metadata."""

    images: int
    with_prompt: int


@dataclass(frozen=True, slots=True)
class _Still:
    source: Path
    name: str
    metadata: dict[str, str]  # text chunks of the PNG: `prompt` (API format) and `workflow`


def write_template_images(folder: Path, object_info: dict[str, Any]) -> TemplateImages:
    """Make `folder` hold every still of the installed template packages as a PNG, about 400; a second call costs nothing.

    An image carries the graph of the template that it belongs to where that graph holds a literal prompt, else no metadata.
    Files whose content would be the same are left as they are, so that an index of them stays true. Everything else in
    `folder` is removed. `object_info` is the running ComfyUI's: the API format of a graph needs it.
    """
    stamp = folder / _STAMP
    made_from = _made_from()
    if stamp.is_file():
        known = json.loads(stamp.read_text(encoding="utf-8"))
        if known.pop("made_from") == made_from:
            return TemplateImages(**known)
        stamp.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    stills = list(_stills(object_info))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:  # Pillow and zlib work without the GIL
        list(pool.map(lambda still: _write(still, folder), stills))
    wanted = {still.name for still in stills}
    for file in folder.iterdir():
        if file.name not in wanted:
            file.unlink()
    result = TemplateImages(len(stills), sum(1 for still in stills if still.metadata))
    stamp.write_text(json.dumps({"made_from": made_from, **asdict(result)}), encoding="utf-8")
    return result


def literal_prompts(api_prompt: dict[str, Any], object_info: dict[str, Any]) -> list[str]:
    """The texts written into nodes that give CONDITIONING; texts that reach such a node over a link are not literal."""
    texts = []
    for node in api_prompt.values():
        described = object_info[node["class_type"]]
        if "CONDITIONING" not in described["output"]:
            continue
        inputs = {**described["input"].get("required", {}), **described["input"].get("optional", {})}
        for name, value in node["inputs"].items():
            kind = inputs.get(name, [None])
            multiline = kind[0] == "STRING" and len(kind) > 1 and kind[1].get("multiline")
            if multiline and isinstance(value, str) and value.strip():
                texts.append(value)
    return texts


def _stills(object_info: dict[str, Any]) -> Iterator[_Still]:
    from comfyui_workflow_templates_core import get_asset_path, iter_templates
    from PIL import Image

    seen = set()
    for template in iter_templates():
        files = [Path(get_asset_path(template.template_id, asset.filename)) for asset in template.assets]
        metadata = next((_metadata(file, object_info) for file in files if file.suffix == ".json"), {})
        for file in files:
            if file.suffix.lower() not in _PICTURES or file.stem in seen:
                continue
            with Image.open(file) as image:
                if getattr(image, "is_animated", False):
                    continue
            seen.add(file.stem)
            yield _Still(file, f"{file.stem}.png", metadata)


def _metadata(workflow_file: Path, object_info: dict[str, Any]) -> dict[str, str]:
    """The text chunks for a template's images; empty when its graph can't be converted or holds no literal prompt."""
    load_package()
    from diffusion_toolkit.embedders.workflow import WorkflowError, to_api

    workflow = json.loads(workflow_file.read_text(encoding="utf-8"))
    try:
        # The first of `{a|b}` always: the same files from every run.
        api_prompt = to_api(workflow, object_info, choose=lambda options: options[0])
    except WorkflowError:
        return {}
    if not literal_prompts(api_prompt, object_info):
        return {}
    return {"prompt": json.dumps(api_prompt), "workflow": json.dumps(workflow)}


def _write(still: _Still, folder: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for key, text in still.metadata.items():
        chunks.add_text(key, text)
    packed = io.BytesIO()
    with Image.open(still.source) as image:
        plain = image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if "transparency" in image.info else "RGB")
        plain.info.clear()  # an EXIF or colour profile of the preview is not part of what SaveImage writes
        plain.save(packed, "PNG", pnginfo=chunks, compress_level=1)
    target = folder / still.name
    if not target.is_file() or target.read_bytes() != packed.getvalue():
        target.write_bytes(packed.getvalue())


def _made_from() -> str:
    """Changes when another run would write other files."""
    digest = hashlib.sha256()
    for name in sorted({dist.name for dist in importlib.metadata.distributions() if dist.name}):
        if name.lower().replace("_", "-").startswith("comfyui-workflow-templates"):
            digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    for file in [Path(__file__), *sorted((REPOSITORY / "embedders").glob("workflow*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
