"""The models of a run by their files, as ComfyUI's own loader nodes load them, or those that made the library's vectors."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..wording import first_of
from .arguments import AUTO, NONE, meant
from .errors import UsageError
from .later import Later, about

if TYPE_CHECKING:
    from ...db import StoredEncoder
    from ...embedders.pipeline import Encoders
    from ..model_files import Known, ModelFile

NAMED = 10  # of a folder's files, where one is asked for that is not there
log = logging.getLogger("diffusion_toolkit")


@dataclass(frozen=True)
class Recipe:
    """What makes the models of a run; the same on each machine that has the files."""

    clip_vision: str = AUTO
    checkpoint: str = AUTO
    text_embedder: str = AUTO
    script: str | None = None


@dataclass(frozen=True)
class _Kind:
    """One of the three models: where its files lie, the one that the README names, and how it is loaded."""

    option: str
    function: str  # in a person's script; "" where a file is all there is
    loader: str  # as `model_files` calls it
    families: tuple[str, ...]  # of what it makes; the last one's encoder names the file
    folder: str
    default: str
    load: Callable[[str], Any]
    wrap: Callable[[Any], Any]
    makes: str
    script: str = ""  # the person's, whose function `load` is


def load_models(
    recipe: Recipe, active: Mapping[str, StoredEncoder], tell: Callable[[str], None], inference: Callable[[], None]
) -> tuple[Encoders, list[str]]:
    """The models of a run, and a line for each kind that is left out unasked. `active` are the library's encoders by family.

    A file or function that is known to give the library's model is loaded when there is work for it (`Later`), another at once.
    `inference` is called before any is.

    Raises:
        UsageError: a file that was named is not there, or is no such model.
    """
    from ...embedders.pipeline import Encoders
    from ..model_files import ModelFile, Script, known_here

    shelf = _Shelf(active, known_here(), tell, inference)
    wanted = {kind: getattr(recipe, kind.option) for kind in _KINDS}
    named = {kind: _path(kind, name) for kind, name in wanted.items() if name not in (AUTO, NONE)}  # all, before any is loaded
    script = _script(recipe.script) if recipe.script else None
    made, notes = {}, []
    for kind in _KINDS:
        function = getattr(script, kind.function, None) if kind.function else None
        if function is not None and wanted[kind] == AUTO:
            of_script = replace(kind, script=recipe.script, load=lambda path, make=function: make())
            file = Script(kind.loader, (Path(recipe.script).expanduser().absolute(),))
            made[kind.option] = shelf.get(of_script, file, f"Loading: {kind.function}() of")
        elif wanted[kind] == AUTO:
            made[kind.option], note = _by_the_library(kind, shelf)
            notes += [note] if note else []
        elif kind in named:
            made[kind.option] = shelf.get(kind, ModelFile(kind.loader, (Path(named[kind]),)))
    return Encoders(image=made.get("clip_vision"), text=made.get("text_embedder"), clip=made.get("checkpoint")), notes


@dataclass(frozen=True)
class _Shelf:
    """Model files, and what is known of them."""

    active: Mapping[str, StoredEncoder]
    known: Known
    tell: Callable[[str], None]
    inference: Callable[[], None]

    def wanted(self, kind: _Kind) -> dict[str, str]:
        """The fingerprints of the library's model, by family."""
        return {family: self.active[family].fingerprint for family in kind.families if family in self.active}

    def get(self, kind: _Kind, file: ModelFile, why: str = "Loading") -> Any:
        """The file's model, at once or `Later`."""
        told = about(kind.families, self.active)
        if told is not None and self.known.fingerprints(file) == self.wanted(kind):
            return Later(told, lambda: self._as_learnt(kind, file))
        return self.load(kind, file, why)

    def load(self, kind: _Kind, file: ModelFile, why: str = "Loading") -> Any:
        from ..model_files import fingerprints_of

        self.tell(f"{why} {file.name}")
        self.inference()
        key = file.key  # it may be replaced while it is loaded
        model = _load(kind, file.paths[0])
        self.known.remember(key, fingerprints_of(file, model))
        return model

    def _as_learnt(self, kind: _Kind, file: ModelFile) -> Any:
        from ..model_files import fingerprints_of

        before = self.wanted(kind)
        model = self.load(kind, file)
        if fingerprints_of(file, model) != before:
            raise UsageError(f"{file.name} is another model than it was. Run the same again, or name another with {_flag(kind)}.")
        return model


def _by_the_library(kind: _Kind, shelf: _Shelf) -> tuple[Any, str]:
    """The model that made this library's vectors, so that a run without options never changes which that is; None and why.

    Of an SDXL both towers must be the library's: many a merge has the CLIP-G of another and a CLIP-L of its own. So must be the layer
    that its token states are taken from, which a CLIP may have been given in a graph.
    """
    from ..model_files import ModelFile, by_likeness, candidates, fingerprints_of

    wanted = shelf.wanted(kind)
    if not wanted:
        path = _find(kind, kind.default)
        if path is None:
            return None, f"no {kind.makes}: {kind.default} is not in {_folder(kind)} (name another with {_flag(kind)})"
        return shelf.get(kind, ModelFile(kind.loader, (Path(path),))), ""
    encoder = shelf.active[list(wanted)[-1]]
    # A pair of files is no checkpoint; it is for a script.
    files = [file for file in by_likeness(candidates(kind.families[-1]), encoder.name) if len(file.paths) == 1]
    learnt = {file: shelf.known.fingerprints(file) for file in files}
    sure = [file for file in files if wanted.items() <= (learnt[file] or {}).items()]
    perhaps = sure or [file for file in files if learnt[file] is None]
    for number, file in enumerate(perhaps, 1):
        of = f" ({number} of {len(perhaps)} files)" if len(perhaps) > 1 else ""
        key = file.key
        try:
            model = shelf.get(kind, file, f"Looking for the model {encoder.name}{of}: loading")
        except Exception as error:  # whatever a foreign file makes ComfyUI raise
            log.info("%s is not the model of the library's vectors: %s", file.name, error)
            if isinstance(error, UsageError) and error.__cause__ is None:
                shelf.known.remember(key, {})  # it could be read, and is another model; all else may be the machine's trouble
            continue
        if isinstance(model, Later) or wanted.items() <= fingerprints_of(file, model).items():
            return model, ""
    same = next((file.name for file in files if _differs_by_layer(wanted, shelf.known.fingerprints(file) or {})), None)
    how = f"to change to another, name it with {_flag(kind)}"
    if same is not None:
        how = f"{same} is but for its last layer: give the CLIP as it was set in the graph with --models-from"
    return None, (
        f"no {kind.makes}: no file in {_folder(kind)} is the model that made those of the library, {encoder.told}; {how}"
    )


def _differs_by_layer(wanted: Mapping[str, str], learnt: Mapping[str, str]) -> bool:
    """The token states' layer is all that can differ where both towers are the library's."""
    if not {"token_states", "clip_l", "clip_g"} <= wanted.keys() & learnt.keys():
        return False
    return [family for family in wanted if learnt[family] != wanted[family]] == ["token_states"]


def _path(kind: _Kind, name: str) -> str:
    path = _find(kind, name)
    if path is None:
        there = sorted(_names(kind))
        has = f"That folder has {first_of(there, NAMED) or 'none'}."
        raise UsageError(f"{_flag(kind)}: there is no {name!r} in {_folder(kind)}, and no such path.{meant(name, there)} {has}")
    return path


def _find(kind: _Kind, name: str) -> str | None:
    """A file by its name in ComfyUI's folders, or by its path; of a text embedder the folder."""
    import folder_paths

    if kind.option == "text_embedder":
        from ..indexing.load_text_embedder import text_embedder_folders

        places = [*(root / name for root in text_embedder_folders()), Path(name).expanduser().absolute()]
        return next((str(place) for place in places if (place / "modules.json").is_file()), None)
    # A whole path is never asked of ComfyUI, which fails at one that is on another drive of Windows than it is itself.
    if not Path(name).anchor and (found := folder_paths.get_full_path(kind.folder, name)):
        return found
    given = Path(os.path.expanduser(name)).absolute()  # unlike Path's own it leaves a user who is not known as written
    return str(given) if given.is_file() else None


def _names(kind: _Kind) -> set[str]:
    import folder_paths

    if kind.option == "text_embedder":
        from ..indexing.load_text_embedder import text_embedders

        return {folder.name for folder in text_embedders()}
    return set(folder_paths.get_filename_list(kind.folder))


def _load(kind: _Kind, path: str | Path) -> Any:
    """UsageError says what is wrong with the file. It has a cause where that may be the machine's trouble."""
    from ...embedders.errors import EmbedderError

    if kind.script:
        return _of_the_script(kind.script, lambda: kind.wrap(kind.load(str(path))))
    try:
        model = kind.load(str(path))
        if model is None:
            raise UsageError(f"{_flag(kind)}: ComfyUI does not know what {path} is.")
        return kind.wrap(model)
    except (ImportError, UsageError):
        raise
    except EmbedderError as error:
        raise UsageError(f"{_flag(kind)}: {error}") from error.__cause__
    except Exception as error:  # whatever a file that is cut short, or of another kind, makes ComfyUI raise
        why = f"{type(error).__name__}: {error}".strip(": \n")
        raise UsageError(f"{_flag(kind)}: {path} can't be loaded ({why}). Is it whole, and such a model?") from error


def _load_clip_vision(path: str) -> Any:
    import comfy.clip_vision

    return comfy.clip_vision.load(path)


def _load_checkpoint(path: str) -> Any:
    import comfy.sd
    import folder_paths

    folders = folder_paths.get_folder_paths("embeddings")
    return comfy.sd.load_checkpoint_guess_config(path, output_vae=False, output_model=False, embedding_directory=folders)[1]


def _load_text_embedder(path: str) -> Any:
    from transformers.utils.logging import disable_progress_bar

    from ...embedders.models.text_embedder import load_text_embedder

    disable_progress_bar()  # it would be drawn into ours
    return load_text_embedder(path, allow_download=False)


def _image_encoder(model: Any) -> Any:
    from ...embedders.models.clip_vision import ImageEncoder

    return ImageEncoder(model)


def _clip_encoder(model: Any) -> Any:
    from ...embedders.models.clip_text import SDXLTextEncoder

    return SDXLTextEncoder(model)


def _script(file: str) -> Any:
    path = Path(file).expanduser()
    spec = importlib.util.spec_from_file_location("diffusion_toolkit_models_from", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"--models-from: there is no Python file {file}.")
    module = importlib.util.module_from_spec(spec)
    _of_the_script(file, lambda: spec.loader.exec_module(module))
    if not any(hasattr(module, kind.function) for kind in _KINDS if kind.function):
        raise UsageError(f"--models-from: {file} has none of the functions clip_vision() and clip().")
    return module


def _of_the_script(file: str | None, run: Callable[[], Any]) -> Any:
    """What it gives. What a person's own code raises else is shown with the lines that raised it."""
    from ...embedders.errors import EmbedderError

    try:
        return run()
    except ImportError as error:  # else the command would be said to lack it
        raise UsageError(f"--models-from: {file} can't import what it asks for ({error}).") from error
    except EmbedderError as error:
        raise UsageError(f"--models-from: {file}: {error}") from error


def _flag(kind: _Kind) -> str:
    return "--" + kind.option.replace("_", "-")


def _folder(kind: _Kind) -> str:
    return f"models/{kind.folder}"


_KINDS = (
    _Kind(
        "text_embedder", "", "text", ("text",), "sentence_transformers", "bge-large-en-v1.5", _load_text_embedder, lambda model: model,
        "prompt vectors",
    ),
    _Kind(
        "clip_vision", "clip_vision", "image", ("image",), "clip_vision", "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        _load_clip_vision, _image_encoder, "image vectors",
    ),
    _Kind(
        "checkpoint", "clip", "clip", ("token_states", "clip_l", "clip_g"), "checkpoints", "sd_xl_base_1.0.safetensors", _load_checkpoint,
        _clip_encoder, "CLIP-L and CLIP-G vectors",
    ),
)  # fmt: skip
