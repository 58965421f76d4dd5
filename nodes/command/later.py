"""What a run may turn out not to need, loaded when it does: the library's models, ComfyUI's node classes, torch itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .comfyui import find_accelerator, own_definitions
from .errors import LoadError, UsageError

if TYPE_CHECKING:
    from ...db import StoredEncoder
    from ...embedders.pipeline import Progress

LOADING = "Loading ComfyUI's node classes, which say how a graph is read"
_one_at_a_time = threading.RLock()  # threads that import parts of ComfyUI at once may get modules that are half made


class Inference:
    """From the first call on, the thread that entered it runs as ComfyUI runs its nodes. Torch takes seconds to import."""

    def __init__(self) -> None:
        self._wanted, self._mode = False, None

    def __enter__(self) -> Inference:
        if self._wanted:
            self()
        return self

    def __exit__(self, *exception: Any) -> None:
        mode, self._mode = self._mode, None
        if mode is not None:
            mode.__exit__(*exception)

    def __call__(self) -> None:
        if self._mode is None:
            find_accelerator()
            import torch

            self._wanted, self._mode = True, torch.inference_mode()
            self._mode.__enter__()


def about(families: Sequence[str], active: Mapping[str, StoredEncoder]) -> dict[str, Any] | None:
    """What a pipeline and its report ask of the model that made a library's vectors, by name; None where the library was told less."""
    known = [active.get(family) for family in families]
    if not all(known) or not all(one.details for one in known if one.family in ("image", "token_states")):
        return None
    of = {one.family: one for one in known}
    if "clip_g" in of:
        prints = {f"{tower}_fingerprint": of[tower].fingerprint for tower in ("clip_l", "clip_g")}
        return {"name": of["clip_g"].name, **prints, "fingerprint": of["token_states"].fingerprint, "halves": of["token_states"].details}
    (one,) = known
    return {"name": one.name, "fingerprint": one.fingerprint, "dims": one.dims, "weights": one.details.get("picture_tower")}


class Later:
    """A model that is known by what the library keeps of it, and loaded when a vector is asked of it: a run over files that have not
    changed asks for none."""

    def __init__(self, about: Mapping[str, Any], load: Callable[[], Any]) -> None:
        vars(self).update(about)
        self._load, self._model = load, None

    @property
    def batch_size(self) -> int:
        """Not known before, and no reason to load: the pipeline's pace goes by the time that a batch takes."""
        from ...embedders.pipeline.batches import Pace

        return Pace.LIMIT if self._model is None else self._model.batch_size

    def encode(self, *arguments: Any, **options: Any) -> Any:
        return self._now().encode(*arguments, **options)

    def encode_texts(self, texts: Sequence[str]) -> Any:
        return self._now().encode_texts(texts)

    def tokenized(self, pairs: Sequence[Any]) -> Any:
        """As they are until it is loaded, which only the thread that owns the models does."""
        return pairs if self._model is None else self._model.tokenized(pairs)

    def rest(self) -> None:
        if self._model is not None:
            self._model.rest()

    def _now(self) -> Any:
        if self._model is None:
            from ...embedders.errors import EmbedderError

            with _one_at_a_time:
                try:
                    self._model = self._load()
                except (UsageError, EmbedderError) as error:
                    raise LoadError(f"{error} What was written is kept.") from error
        return self._model


class Definitions(Mapping[str, Mapping[str, Any]]):
    """ComfyUI's own node classes, imported when a file's graph is read whose types the file does not tell: by a thread that reads,
    while the others that read wait. False even then: a file is read the same whatever was read before it."""

    def __init__(self) -> None:
        self._made: Mapping[str, Mapping[str, Any]] | Exception | None = None
        self._began = 0.0  # when their import did; 0: it does not go on
        self.loading_seconds = 0.0

    def telling(self, progress: Progress) -> Progress:
        """`progress`, which tells of the import while it goes on, in the place of the files that wait for it."""

        def tell(stage: str, done: int, total: int) -> None:
            progress(*(LOADING, 0, 0) if self._began else (stage, done, total))

        return tell

    def __bool__(self) -> bool:
        return False

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, Mapping[str, Any]]:
        with _one_at_a_time:
            if self._made is None:
                self._began = time.monotonic()
                try:
                    self._made = own_definitions()
                except Exception as error:  # whatever ComfyUI's files raise: else each picture would be told as broken
                    self._made = error
                self.loading_seconds, self._began = time.monotonic() - self._began, 0.0
        if isinstance(self._made, Exception):
            why = f"{type(self._made).__name__}: {self._made}"
            raise LoadError(f"ComfyUI's node classes can't be had ({why}). --object-info names a file in their place.") from self._made
        return self._made
