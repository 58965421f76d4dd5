"""Models for those who ask without a graph (the HTTP routes): copies of their own, on the CPU, that nobody has to connect.

ComfyUI decides from one thread which models lie on the GPU; a second thread that asked it to load one would race with the
graph that runs. So these are loaded by the functions that the nodes use, stay on the CPU, and the host is not told of them.
They go away when nobody has asked for some minutes.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model_files import Known, ModelFile, by_likeness, candidates, fingerprints_of
from ..wording import some

if TYPE_CHECKING:
    from ...db import StoredEncoder

IDLE_MINUTES = 10.0
SEARCH_SECONDS = 120.0  # for which one request looks for the file; the next goes on from there
_FAILURES_TOLD = 3
_WHERE = {
    "text": "models/sentence_transformers",
    "image": "models/clip_vision",
    "clip_l": "models/checkpoints or models/text_encoders",
    "clip_g": "models/checkpoints or models/text_encoders",
    "description": "models/clip_vision",
}
log = logging.getLogger("diffusion_toolkit")


class ModelNotFound(RuntimeError):
    """No file here is the model that is wanted. The message says what to do."""


class StillLooking(RuntimeError):
    """There are more files than could be compared in one request."""


class QueryModels:
    """One model of each family at a time. To be used by one thread only at a time: hold `lock` from `get` to the last use."""

    def __init__(self, known: Known, idle_minutes: float = IDLE_MINUTES) -> None:
        self.lock = threading.RLock()
        self._known = known
        self._idle_s = idle_minutes * 60
        self._loaded: dict[ModelFile, Any] = {}
        self._found: dict[tuple[str, str], tuple[ModelFile, str]] = {}  # by family and fingerprint: the file, and its key then
        self._failed: dict[str, str] = {}  # by a file's key: why it could not be loaded
        self._timer: threading.Timer | None = None

    def get(self, family: str, encoder: StoredEncoder) -> Any:
        """The model whose vectors compare with those of `encoder`: a TextEmbedder, ImageEncoder, SDXLTextEncoder or
        DescriptionEncoder (of the `family` 'description', by the image encoder whose other half it is).

        Raises:
            ModelNotFound: no file here is it.
            StillLooking: time ran out.
        """
        with self.lock:
            try:
                return self._get(family, encoder)
            finally:  # also where no model was found: to look for it loads others
                self._restart_timer()

    def free(self) -> None:
        """Drop all models."""
        with self.lock:
            self._loaded.clear()
        gc.collect()

    @property
    def loaded(self) -> list[str]:
        """The names of the files whose models are in memory."""
        return [file.name for file in list(self._loaded)]

    def _get(self, family: str, encoder: StoredEncoder) -> Any:
        wanted = encoder.details.get("picture_tower") if family == "description" else encoder.fingerprint
        if wanted is None:
            raise ModelNotFound(
                f"The library does not know yet which text model belongs to {encoder.name}. Index a folder once more with "
                "that CLIP vision connected."
            )
        file, key = self._found.get((family, wanted), (None, ""))
        if file is None or file.key != key:
            file = self._find(family, wanted, encoder.name)
            self._found[family, wanted] = (file, file.key)
        if file not in self._loaded:
            self._loaded[file] = _load(file)
        return self._loaded[file]

    def _find(self, family: str, wanted: str, name: str) -> ModelFile:
        unknown, failed = [], []
        for file in by_likeness(candidates(family), name):
            if file.key in self._failed:
                failed.append(file)
                continue
            found = self._known.fingerprints(file)
            if found is None:
                unknown.append(file)
            elif found.get(family) == wanted:
                return file
        deadline = time.monotonic() + SEARCH_SECONDS
        for done, file in enumerate(unknown):
            if time.monotonic() > deadline:
                raise StillLooking(f"Looking for {name}: {done} of {some(len(unknown), 'file')} compared. Ask again to go on.")
            if self._learn(file).get(family) == wanted:
                return file
            failed += [file] * (file.key in self._failed)
        told = "".join(f" {file.name} could not be loaded: {self._failed[file.key]}." for file in failed[:_FAILURES_TOLD])
        raise ModelNotFound(_not_found(family, wanted, name) + told + " Restart ComfyUI to have it tried again." * bool(failed))

    def _learn(self, file: ModelFile) -> dict[str, str]:
        """Load a file to see which model it is. It replaces what was loaded of its kind.

        A file of another model is remembered for good. Whatever else went wrong may be the machine's trouble (memory, a drive
        of the network, a package that is missing), and is forgotten with the process.
        """
        from ...embedders.errors import EmbedderError

        for other in [other for other in self._loaded if other.loader == file.loader]:
            del self._loaded[other]
        key = file.key  # it may be replaced while it is loaded
        try:
            model = _load(file)
            fingerprints = fingerprints_of(file, model)
        except Exception as error:  # whatever a broken or foreign file makes ComfyUI raise
            if isinstance(error, EmbedderError) and error.__cause__ is None:  # it could be read, and is another model
                log.info("%s is no model for searches: %s", file.name, error)
                self._known.remember(key, {})
            else:
                log.warning("%s could not be loaded for searches: %s: %s", file.name, type(error).__name__, error)
                self._failed[key] = f"{type(error).__name__}: {error}".rstrip(".")
            return {}
        self._loaded[file] = model
        self._known.remember(key, fingerprints)
        return fingerprints

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._idle_s, self.free)
        self._timer.daemon = True
        self._timer.start()


def _load(file: ModelFile) -> Any:
    loaders: dict[str, Callable[..., Any]] = {
        "text": _load_text, "image": _load_image, "clip": _load_checkpoint, "clip pair": _load_pair, "description": _load_description,
    }  # fmt: skip
    started = time.monotonic()
    model = loaders[file.loader](*file.paths)
    log.info("Loaded %s on the CPU for searches over HTTP in %.1f s", file.name, time.monotonic() - started)
    return model


def _load_text(folder: Path) -> Any:
    from ...embedders.models.text_embedder import load_text_embedder

    return load_text_embedder(str(folder), allow_download=False, managed=False)


def _load_image(path: Path) -> Any:
    import comfy.clip_vision

    from ...embedders.models.clip_vision import ImageEncoder

    return ImageEncoder(comfy.clip_vision.load(str(path)), managed=False)


def _load_checkpoint(path: Path) -> Any:
    import comfy.sd

    from ...embedders.models.clip_text import SDXLTextEncoder

    loaded = comfy.sd.load_checkpoint_guess_config(
        str(path), output_vae=False, output_model=False, embedding_directory=_embeddings(), te_model_options=_on_the_cpu()
    )
    return SDXLTextEncoder(loaded[1], managed=False)


def _load_pair(*paths: Path) -> Any:
    import comfy.sd

    from ...embedders.models.clip_text import SDXLTextEncoder

    clip = comfy.sd.load_clip(
        [str(path) for path in paths], embedding_directory=_embeddings(), clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION,
        model_options=_on_the_cpu(),
    )  # fmt: skip
    return SDXLTextEncoder(clip, managed=False)


def _load_description(path: Path) -> Any:
    from ...embedders.models.description import DescriptionEncoder, read_picture_tower, read_text_tower

    return DescriptionEncoder(read_text_tower(path), path.name, lambda: read_picture_tower(path), managed=False)


def _embeddings() -> list[str]:
    import folder_paths

    return folder_paths.get_folder_paths("embeddings")


def _on_the_cpu() -> dict[str, Any]:
    """CLIP loads itself where it starts if that is where it runs; "cpu:0" is the CPU, and not equal to "cpu"."""
    import torch

    cpu = torch.device("cpu")
    return {"load_device": cpu, "offload_device": cpu, "initial_device": torch.device("cpu", 0)}


def _not_found(family: str, wanted: str, name: str) -> str:
    from ...db import told_encoder

    if family == "description":
        return (
            f"No file here has the text half of {name}, which made the library's image vectors. Put the model file with both "
            f"halves into {_WHERE[family]} (see the help page of Load Description Encoder), or search by an image or a prompt."
        )
    return (
        f"No file in {_WHERE[family]} is the model that made the library's vectors: {told_encoder(name, wanted)}. Put it there, or "
        "send a vector of it, or the id of a stored image, which needs no model. One with a LoRA can only be had in a graph."
    )
