"""Which model file made a library's vectors: the files of ComfyUI's model folders that may have, and what is known of each."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("diffusion_toolkit")

_LARGEST_HEADER = 2**27  # of a safetensors file, in bytes
_KEPT = 1000
_SDXL = ("conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model.")


@dataclass(frozen=True)
class ModelFile:
    """One thing that can be loaded: a folder, a file, or the pair of SDXL's text encoders."""

    loader: str  # 'text', 'image', 'clip', 'clip pair' or 'description'
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """For a person."""
        return " and ".join(path.name for path in self.paths)

    @property
    def key(self) -> str:
        """Another one when a file is replaced."""
        return "|".join([self.loader, *(f"{path}|{_stamp(path)}" for path in self.paths)])


@dataclass(frozen=True)
class Script(ModelFile):
    """A person's functions that load models. What they gave is known while neither the script nor any file that ComfyUI's loaders of
    such models list has changed: which of these they read can't be told."""

    @property
    def key(self) -> str:
        import folder_paths

        folders = ("checkpoints", "clip_vision", "loras", "text_encoders")
        paths = [folder_paths.get_full_path(folder, name) for folder in folders for name in folder_paths.get_filename_list(folder)]
        stamps = "|".join(f"{path}|{_stamp(Path(path))}" for path in sorted(filter(None, paths)))
        return f"{super().key}|{hashlib.sha256(stamps.encode()).hexdigest()}"


def candidates(family: str) -> list[ModelFile]:
    """The files that may hold an encoder of this family, 'description' among them. Only names and headers are read."""
    return list({"text": _texts, "image": _images, "clip_l": _clips, "clip_g": _clips, "description": _descriptions}[family]())


def by_likeness(files: list[ModelFile], encoder: str) -> list[ModelFile]:
    """Those first that the encoder's name in the library names: it tells the files that made it where the host noted them."""
    return sorted(files, key=lambda file: not all(path.name in encoder or path.stem in encoder for path in file.paths))


def fingerprints_of(file: ModelFile, model: Any) -> dict[str, str]:
    """All that is to be known of a file's model, by family: searches and runs of the command go by what either learnt."""
    if file.loader == "description":
        return {"description": model.picture_tower}
    if file.loader in ("clip", "clip pair"):
        return {"clip_l": model.clip_l_fingerprint, "clip_g": model.clip_g_fingerprint, "token_states": model.fingerprint}
    return {file.loader: model.fingerprint}


def known_here() -> Known:
    """This computer's. Of CLIPs the file of the former name, models.json, lacks the token states."""
    from .host import toolkit_directory

    return Known(toolkit_directory() / "model_fingerprints.json")


class Known:
    """Fingerprints of files that were loaded once, kept in the user directory: hashing a model takes seconds, a folder minutes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def fingerprints(self, file: ModelFile) -> dict[str, str] | None:
        """By family; None where it was never loaded, or has changed since."""
        return self._read().get(file.key)

    def remember(self, key: str, fingerprints: dict[str, str]) -> None:
        """Of the file that had this key when it began to be loaded. An empty dictionary says that it can't be used at all."""
        kept = dict(list(self._read().items())[-_KEPT:])
        kept[key] = fingerprints
        beside = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            beside.replace(self._file)
        except OSError as error:
            log.warning("What was learnt of a model file can't be kept (%s): it will be learnt again", error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)  # on Windows whoever reads the file at this moment keeps it from being replaced

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}


def _texts() -> Iterator[ModelFile]:
    from .indexing.load_text_embedder import text_embedders

    return (ModelFile("text", (folder,)) for folder in text_embedders())


def _images() -> Iterator[ModelFile]:
    for path in _files("clip_vision"):
        shapes = _shapes(path)
        projection = shapes.get("visual_projection.weight", [])[:1] or shapes.get("visual.proj", [])[1:]
        if projection == [1024]:
            yield ModelFile("image", (path,))


def _descriptions() -> Iterator[ModelFile]:
    for path in _files("clip_vision"):
        shapes = _shapes(path)
        if any(name.endswith("token_embedding.weight") for name in shapes):
            yield ModelFile("description", (path,))


def _clips() -> Iterator[ModelFile]:
    for path in _files("checkpoints"):
        shapes = _shapes(path)
        if all(any(name.startswith(prefix) for name in shapes) for prefix in _SDXL):
            yield ModelFile("clip", (path,))
    towers: dict[int, list[Path]] = {768: [], 1280: []}
    for path in _files("text_encoders"):
        embedding = _shapes(path).get("text_model.embeddings.token_embedding.weight")
        for width, found in towers.items():
            found += [path] if embedding == [49408, width] else []
    yield from (ModelFile("clip pair", (small, large)) for small in towers[768] for large in towers[1280])


def _files(folder: str) -> list[Path]:
    """The safetensors files of a model folder: nothing that could run code is opened unasked."""
    import folder_paths

    found = (folder_paths.get_full_path(folder, name) for name in folder_paths.get_filename_list(folder))
    return [Path(path) for path in found if path and path.endswith(".safetensors")]


def _shapes(path: Path) -> dict[str, list[int]]:
    """The tensors of a safetensors file by name, from its header; none where it is no such file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= _LARGEST_HEADER else {}
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__" and isinstance(entry["shape"], list)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return {}


def _stamp(path: Path) -> str:
    """Size and time of a file; of a folder those of its weights."""
    files = sorted(path.rglob("*.safetensors")) + sorted(path.rglob("*.bin")) if path.is_dir() else [path]
    try:
        return ",".join(f"{status.st_size}.{status.st_mtime_ns}" for status in (file.stat() for file in files))
    except OSError:
        return "gone"
