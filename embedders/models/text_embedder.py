"""Prompt vectors: BGE-large-en-v1.5, or another sentence-transformers model of 1024 dimensions, in memory that the host manages."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EmbedderError
from .batch_size import BatchSize
from .devices import Crew, free_bytes, half_dtype, load, make_room, working_on
from .fingerprint import combine, tokenizer_digest, weights_digest
from .half import HalfPrecision
from .sharing import share_out

if TYPE_CHECKING:
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

TEXT_DIMS = 1024
SOURCE = "BAAI/bge-large-en-v1.5"
BGE_INSTRUCTION = "Represent this sentence for searching relevant passages: "  # the model card's, for queries alone
_BGE_ENGLISH = re.compile(r"bge-(small|base|large)-en", re.IGNORECASE)
_ENCODING = "sentence-transformers, 1"
_TOKENS = {"cpu": 2048}  # in one forward, padding and all
_TOKENS_ELSEWHERE = 16384
_TEXTS = {"cpu": 32}  # that are worth handing over at once
_TEXTS_ELSEWHERE = 256
_TOKEN_BYTES = 80_000  # about what one token takes in a forward of BERT-large at float32
_TOKEN_CHARACTERS = 3  # of a prompt, at the least; only memory depends on it
_LONGEST = 512  # tokens, for a model that doesn't say
_WORTH_TWINS = 10_000  # texts in a run, before the model is loaded onto other devices too
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_PARTS = ("Transformer", "Pooling", "Normalize", "Dropout")  # by their classes' names: the modules that hold them moved in 6.0
_WEIGHED = ("Dense", "LayerNorm", "StaticEmbedding")  # with a file of weights of their own
_ACTIVATIONS = re.compile(r"torch\.nn\.modules\.(linear\.Identity|activation\.\w+)")  # of a Dense
_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]


class TextEmbedder:
    """A sentence-transformers model whose place in memory ComfyUI decides."""

    def __init__(
        self, model: SentenceTransformer, name: str, query_prompt: str, text_prompt: str, managed: bool = True
    ) -> None:
        """`managed` False: the model stays where it is, on the CPU, and the host is not told of it (see `nodes.routes.query_models`)."""
        import comfy.model_management as host

        self.name = name
        self.dims = TEXT_DIMS
        self._model = model
        self._query_prompt = query_prompt
        self._text_prompt = text_prompt
        self._managed = managed
        worker = _Worker(model, host.text_encoder_device(), managed)
        self.patcher = worker.patcher
        self._crew = Crew(worker, _twin_of(model) if managed else None, "The text embedder", _WORTH_TWINS)
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """64 hex digits. Weight names and settings are read so that library versions agree; BERT's unused pooler and the
        query's instruction don't touch what is stored."""
        if self._fingerprint is None:
            weights = {
                re.sub(r"^(\d+)\.(auto_)?model\.", r"\1.", name): tensor
                for name, tensor in self._model.state_dict().items()
                if tensor.is_floating_point() and ".pooler." not in name
            }
            modules = [[type(module).__name__, _pooling(module)] for module in self._model]
            tokenizer = [tokenizer_digest(self._model.tokenizer), self._model.max_seq_length, self._text_prompt]
            self._fingerprint = combine("text", weights_digest(weights), modules, tokenizer, _ENCODING)
        return self._fingerprint

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors to store: [n, 1024] float32, without the query's instruction."""
        return self._encode(list(texts), self._text_prompt, self._crew.for_more(len(texts)))

    def encode_query(self, text: str) -> np.ndarray:
        """The vector to search with: [1024] float32, with the model's query instruction. However many are asked for, they are no run
        that other devices are worth loading for."""
        return self._encode([text], self._query_prompt, self._crew.workers[:1])[0]

    @property
    def batch_size(self) -> int:
        """How many texts are worth handing over at once."""
        return _TEXTS.get(self.patcher.load_device.type, _TEXTS_ELSEWHERE) * len(self._crew.workers)

    def rest(self) -> None:
        """A large run is over: copies on other devices are given back. It may go on all the same."""
        self._crew.rest()

    def _encode(self, texts: list[str], prompt: str, workers: Sequence[_Worker]) -> np.ndarray:
        import numpy as np
        import torch

        vectors = np.empty((len(texts), TEXT_DIMS), np.float32)
        if not texts:
            return vectors
        rows = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # those of like length together, so that little is padded
        size = len(texts) if len(workers) == 1 else -(-len(texts) // (2 * len(workers)))
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]

        def work(worker: _Worker) -> Callable[[list[int]], None]:
            def encode(some: list[int]) -> None:
                vectors[some] = worker.encode([texts[row] for row in some], prompt)

            return encode

        with torch.inference_mode():
            if self._managed:
                load([worker.patcher for worker in workers], workers[0].batch.most * _TOKEN_BYTES)
            share_out(chunks, [work(worker) for worker in workers])
        return vectors


class _Worker:
    """One copy of the model on one device."""

    def __init__(self, model: SentenceTransformer, device: torch.device, managed: bool) -> None:
        import comfy.model_management as host
        import comfy.model_patcher
        import torch

        # In a module of its own, since the patcher notes its device as `device`, which is read-only on a SentenceTransformer.
        # The plain patcher: the dynamic one streams weights into ComfyUI's own layers, which this model has none of.
        self.patcher = comfy.model_patcher.ModelPatcher(
            torch.nn.Sequential(model), load_device=device, offload_device=host.text_encoder_offload_device()
        )
        self.device = device if managed else torch.device("cpu")
        self.batch = BatchSize(_TOKENS.get(self.device.type, _TOKENS_ELSEWHERE), "text")
        self._model, self._managed = model, managed
        self._half = HalfPrecision(half_dtype(self.device), "The text embedder")

    def encode(self, texts: list[str], prompt: str) -> np.ndarray:
        """[n, 1024] float32, of texts sorted by length."""
        import numpy as np
        import torch

        longest = self._model.max_seq_length or _LONGEST

        def at(some: Sequence[str], dtype: torch.dtype | None) -> torch.Tensor:
            with torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext():
                return self._model.encode(
                    list(some), prompt=prompt, batch_size=len(some), show_progress_bar=False, device=self.device, convert_to_tensor=True
                )

        def launch(some: Sequence[str]) -> tuple[Sequence[str], torch.Tensor]:
            self._half.look(some, at)
            return some, at(some, self._half.dtype)

        def finish(launched: tuple[Sequence[str], torch.Tensor]) -> np.ndarray:
            return self._half.mended(launched[1].float().cpu(), launched[0], at).numpy()

        def tokens(text: str) -> int:
            return min(longest, 2 + (len(prompt) + len(text)) // _TOKEN_CHARACTERS)

        with torch.inference_mode(), working_on(self.device):
            if self._managed:
                self.batch.fit(free_bytes(self.device), _TOKEN_BYTES)
            return np.concatenate(self.batch.run(texts, launch, finish, self._relieve, tokens))

    def _relieve(self, everything: bool) -> None:
        if self._managed:
            make_room(self.device, self.patcher, everything)


def _twin_of(model: SentenceTransformer) -> Callable[[torch.device], _Worker]:
    def twin(device: torch.device) -> _Worker:
        import torch

        with torch.inference_mode(False):
            return _Worker(copy.deepcopy(model).to("cpu"), device, managed=True)

    return twin


def load_text_embedder(folder_or_name: str, *, allow_download: bool, managed: bool = True) -> TextEmbedder:
    """Load a sentence-transformers folder, or a Hugging Face name from its cache; the network only with `allow_download`.

    Code that a model brings along or names is never run. `managed` as in TextEmbedder.

    Raises:
        EmbedderError: there is no such model, it is incomplete, or its vectors don't have 1024 dimensions.
    """
    import torch

    folder = _local_folder(folder_or_name, allow_download)
    if not (folder / "modules.json").is_file():
        raise EmbedderError(
            f"{folder} is no sentence-transformers model: it has no modules.json, which says how vectors are pooled. "
            f"Copy all files of the model's page into it (for {SOURCE} also 1_Pooling/config.json)."
        )
    _refuse_code(folder)
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    try:
        with torch.inference_mode(False):  # weights made under it could not be moved by a thread that is not
            model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise EmbedderError(
            f"The text embedder in {folder} can't be loaded ({type(error).__name__}: {error}). A file is missing or cut short: "
            "copy the model's files again (a clone without Git LFS leaves small text files in place of the weights)."
        ) from error
    dims = (getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension)()
    if dims != TEXT_DIMS:
        raise EmbedderError(
            f"The text embedder {folder_or_name} makes vectors of {dims} dimensions; the library's prompt vectors have "
            f"{TEXT_DIMS}. Use {SOURCE}, or another sentence-transformers model of {TEXT_DIMS} dimensions."
        )
    name = folder_or_name if allow_download else folder.name
    return TextEmbedder(model.float().eval(), name, *_prompts(folder, name), managed=managed)


def _refuse_code(folder: Path) -> None:
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        unsafe = [str(module["type"]) for module in modules if _could_run_code(folder, module)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EmbedderError(
            f"modules.json of the text embedder in {folder} can't be read ({type(error).__name__}: {error}). Copy the model's files again."
        ) from error
    if unsafe:
        raise EmbedderError(
            f"The text embedder in {folder} has parts ({', '.join(unsafe)}) that could run code which the model's files bring or name; that is "
            f"never run. Use a model made of sentence-transformers' {', '.join(_PARTS)} alone, such as {SOURCE}."
        )


def _could_run_code(folder: Path, module: Mapping[str, Any]) -> bool:
    """sentence-transformers before 6.0 imports whatever class a local folder's modules.json names, from its .py files too; its own Router,
    Asym and WordEmbeddings import what their config.json names, and Dense calls it, and unpickles its weights where they are no safetensors."""
    where, _, kind = module["type"].rpartition(".")
    if not f"{where}.".startswith("sentence_transformers."):
        return True
    part = folder / str(module.get("path", ""))
    if kind in _WEIGHED and (part / "pytorch_model.bin").exists() and not (part / "model.safetensors").exists():
        return True  # which is unpickled
    if kind == "Dense":
        activation = _read_json(part / "config.json").get("activation_function", "torch.nn.modules.activation.Tanh")
        return not _ACTIVATIONS.fullmatch(activation)
    return kind not in (*_PARTS, *_WEIGHED)


def _local_folder(folder_or_name: str, allow_download: bool) -> Path:
    """The folder itself, or the one in Hugging Face's cache that holds the named model."""
    folder = Path(folder_or_name)
    if folder.is_dir() and not allow_download:
        return folder
    if folder.is_absolute() or not re.fullmatch(r"[\w.-]+/[\w.-]+", folder_or_name):
        raise EmbedderError(
            f"There is no text embedder in {folder}. Download all files of {SOURCE} from https://huggingface.co/{SOURCE} into "
            f"that folder, or write {SOURCE} into download_from to have it downloaded once (1.3 GB)."
        )
    from huggingface_hub import snapshot_download

    try:
        cached = Path(
            snapshot_download(
                folder_or_name, allow_patterns=_FILES, ignore_patterns=_OTHER_RUNTIMES, local_files_only=not allow_download
            )
        )
        if allow_download and not any(cached.glob("*.safetensors")):
            snapshot_download(folder_or_name, allow_patterns=["pytorch_model*.bin"])
    except (OSError, ValueError) as error:
        reason = "could not be downloaded" if allow_download else "is not in Hugging Face's cache"
        raise EmbedderError(
            f"The text embedder {folder_or_name} {reason} ({type(error).__name__}). Check the name and the connection, or copy "
            f"all files of https://huggingface.co/{folder_or_name} into a folder under models/sentence_transformers and choose "
            f"that; {folder_or_name} written into download_from downloads it once."
        ) from error
    return cached


def _prompts(folder: Path, name: str) -> tuple[str, str]:
    """(query prompt, text prompt) as the model's own files state them, else BGE's instruction for its English models.

    Read from the file, not from the model: sentence-transformers adds empty prompts where the file has none.
    """
    own = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    text_prompt = next((own[key] for key in ("document", "passage", "corpus") if key in own), "")
    if "query" in own:
        return own["query"], text_prompt
    trained_as = str(_read_json(folder / "config.json").get("_name_or_path", ""))
    is_bge = _BGE_ENGLISH.search(name) or _BGE_ENGLISH.search(trained_as)
    return (BGE_INSTRUCTION if is_bge else ""), text_prompt


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _pooling(module: Any) -> str | None:
    """How a pooling module pools ("cls", "mean", ...), in old and new versions of sentence-transformers."""
    mode = getattr(module, "get_pooling_mode_str", None)
    return mode() if mode else getattr(module, "pooling_mode", None)
