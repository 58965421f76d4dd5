"""Image vectors: the `image_embeds` of a connected CLIP_VISION (CLIP-ViT-H/14), many images at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import EmbedderError
from ..pictures.narrow import used_centre
from .batch_size import BatchSize
from .devices import Crew, free_bytes, half_dtype, load, make_room, working_on
from .fingerprint import combine, patched_weights_digest
from .half import HalfPrecision
from .sharing import share_out

if TYPE_CHECKING:
    import numpy as np
    import torch

IMAGE_DIMS = 1024
_PREPROCESSING = "comfy clip_preprocess, bicubic, centre crop, 1"
_BATCH = {"cpu": 16}  # images; a CPU is as fast with few, which lets a cancel be answered soon
_BATCH_ELSEWHERE = 128
_PIXELS = {"cpu": 2**20}  # in one resize: an image of 1024 x 1024, which stays in the processor's caches
_PIXELS_ELSEWHERE = 2**23  # 8 such, 0.2 GB while it lasts
_WORTH_TWINS = 2000  # images in a run, before the model is loaded onto other devices too
_WANTED = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors in models/clip_vision, loaded with Load CLIP Vision"
_KNOWN_DIMS = {512: "CLIP-ViT-B", 768: "CLIP-ViT-L", 1280: "CLIP-ViT-bigG"}


class ImageEncoder:
    """Wraps ComfyUI's ClipVisionModel, so that its loading, offloading and precision are the host's.

    Raises:
        EmbedderError: the connected model does not make vectors of 1024 dimensions.
    """

    dims = IMAGE_DIMS

    def __init__(self, clip_vision: Any, managed: bool = True) -> None:
        """`managed` False: the model stays where it is, on the CPU, and the host is not told of it (see `nodes.routes.query_models`)."""
        self._clip_vision = clip_vision
        self._managed = managed
        self._check()
        self._crew = Crew(_Worker(clip_vision, managed), _twin_of(clip_vision) if managed else None, "The CLIP vision model", _WORTH_TWINS)
        config = clip_vision.config
        real = (config.get("hidden_size"), config.get("num_hidden_layers"), config.get("patch_size")) == (1280, 32, 14)
        self.name = "CLIP-ViT-H/14" if real else f"a CLIP vision of {config.get('num_hidden_layers')} layers, not CLIP-ViT-H/14"

    @property
    def weights(self) -> str:
        """The digest of the weights alone, by which the text tower of the same pair knows its picture tower."""
        return patched_weights_digest(self._clip_vision.patcher)

    @property
    def fingerprint(self) -> str:
        """64 hex digits; hashing takes a second or two for ViT-H the first time it is asked for."""
        model = self._clip_vision
        settings = {key: model.config.get(key) for key in ("model_type", "hidden_act", "num_attention_heads", "patch_size")}
        pixels = [model.image_size, list(model.image_mean), list(model.image_std), _PREPROCESSING]
        return combine("image", self.weights, settings, pixels)

    @property
    def batch_size(self) -> int:
        """How many images are worth handing over at once."""
        return sum(worker.batch.most for worker in self._crew.workers)

    def encode(self, images: Sequence[np.ndarray | torch.Tensor]) -> np.ndarray:
        """The projected vectors of images of any sizes, norms kept: [n, 1024] float32.

        Each image is [H, W, 3], uint8 or floating point from 0 to 1. On an accelerator they are computed at half precision where
        that gives the host's vectors (see `half.HalfPrecision`), and on several where there are several and much to do.
        """
        import numpy as np
        import torch

        if not len(images):
            return np.empty((0, IMAGE_DIMS), np.float32)
        workers = self._crew.for_more(len(images))
        with torch.inference_mode():
            if self._managed:
                load([worker.patcher for worker in workers], workers[0].batch.most * workers[0].image_bytes)
            size = max(1, min(workers[0].batch.most, -(-len(images) // len(workers))))
            size = size if len(workers) > 1 else len(images)
            chunks = [images[start : start + size] for start in range(0, len(images), size)]
            vectors = share_out(chunks, [worker.encode for worker in workers])
        return np.concatenate(vectors)

    def _check(self) -> None:
        if self._clip_vision is None:
            raise EmbedderError(f"The clip_vision input holds no model. Use {_WANTED}.")
        model = self._clip_vision
        kind = getattr(model, "model_type", type(model).__name__)
        projection = getattr(getattr(getattr(model, "model", None), "visual_projection", None), "weight", None)
        if kind != "clip_vision_model" or projection is None:
            raise EmbedderError(f"The connected CLIP vision model is a {kind}, which has no CLIP image vector. Use {_WANTED}.")
        dims = projection.shape[0]
        if dims != IMAGE_DIMS:
            found = _KNOWN_DIMS.get(dims, "of another kind")
            raise EmbedderError(
                f"The connected CLIP vision model ({found}) makes vectors of {dims} dimensions; the library's image "
                f"vectors have {IMAGE_DIMS}. Use {_WANTED}."
            )


class _Worker:
    """One copy of the model on one device."""

    def __init__(self, clip_vision: Any, managed: bool) -> None:
        import torch

        self.patcher = clip_vision.patcher
        self.device = clip_vision.load_device if managed else torch.device("cpu")
        self.batch = BatchSize(_BATCH.get(self.device.type, _BATCH_ELSEWHERE), "image")
        self._model, self._managed = clip_vision, managed
        self._half = HalfPrecision(half_dtype(self.device), "CLIP vision")
        self._side: Any = None  # a second CUDA stream, on which the next batch is uploaded while the first computes

    @property
    def image_bytes(self) -> int:
        """About what one image takes in a forward: a handful of rows of each width, at the precision of the computation."""
        config = self._model.config
        tokens = (self._model.image_size // config["patch_size"]) ** 2 + 1
        width = 10 * config["hidden_size"] + 2 * config["intermediate_size"]
        return tokens * width * (4 if self._half.dtype is None else 2)

    def encode(self, images: Sequence[np.ndarray | torch.Tensor]) -> np.ndarray:
        import numpy as np
        import torch

        with torch.inference_mode(), working_on(self.device):
            if self._managed:
                self.batch.fit(free_bytes(self.device), self.image_bytes)
            return np.concatenate(self.batch.run(images, self._launch, self._finish, self._relieve))

    def _launch(self, images: Sequence[np.ndarray | torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(pixels, vectors) on the device, the vectors perhaps still to come."""
        pixels = self._uploaded(images)  # [b, 3, 224, 224] float32
        self._half.look(pixels, self._vectors)
        return pixels, self._vectors(pixels, self._half.dtype)

    def _finish(self, launched: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
        pixels, vectors = launched
        return self._half.mended(vectors.float().cpu(), pixels, self._vectors).numpy()

    def _vectors(self, pixels: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
        """[b, 1024]. The host's layers compute at the precision of what they are given, whatever that of their weights."""
        return self._model.model(pixel_values=pixels if dtype is None else pixels.to(dtype))[2]

    def _relieve(self, everything: bool) -> None:
        if self._managed:
            make_room(self.device, self.patcher, everything)

    def _uploaded(self, images: Sequence[np.ndarray | torch.Tensor]) -> torch.Tensor:
        """As `clip_preprocess` leaves them: [b, 3, 224, 224] float32."""
        import torch

        if self.device.type != "cuda":
            return self._prepared(images)
        if self._side is None:
            self._side = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._side):
            pixels = self._prepared(images)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._side)
        pixels.record_stream(computing)
        return pixels

    def _prepared(self, images: Sequence[np.ndarray | torch.Tensor]) -> torch.Tensor:
        """Bytes go to the device as they are, a quarter of their size as numbers; those of one size are resized together."""
        import torch
        from comfy.clip_model import clip_preprocess

        model, rows, together = self._model, {}, {}
        images = [used_centre(image) for image in images]
        most = _PIXELS.get(self.device.type, _PIXELS_ELSEWHERE)
        for row, image in enumerate(images):
            together.setdefault((image.shape, str(image.dtype)), []).append(row)
        for ((height, width, _), _), same in together.items():
            resized = model.image_size**2 * max(height, width) // min(height, width)  # before the square is cut out of it
            step = max(1, most // max(height * width, resized))
            for some in (same[start : start + step] for start in range(0, len(same), step)):
                pixels = torch.stack([self._on_device(images[row]) for row in some])  # [k, H, W, 3]
                pixels = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
                done = clip_preprocess(pixels, size=model.image_size, mean=model.image_mean, std=model.image_std, crop=True).float()
                rows.update(zip(some, done))
        return torch.stack([rows[row] for row in range(len(images))])

    def _on_device(self, image: np.ndarray | torch.Tensor) -> torch.Tensor:
        import numpy as np
        import torch

        if not isinstance(image, torch.Tensor):
            image = torch.from_numpy(np.require(image, requirements="W"))  # Pillow's arrays are read-only: torch warns of them
        return image.to(self.device)


def _twin_of(clip_vision: Any) -> Callable[[torch.device], _Worker]:
    """Makes a copy for another device. The host's own way to copy a patcher wants a loader's recipe, which a CLIP vision has none of."""

    def twin(device: torch.device) -> _Worker:
        import torch

        if clip_vision.patcher.patches:
            raise RuntimeError("it carries patches")
        with torch.inference_mode(False):
            model = type(clip_vision)(clip_vision.config)
            model.load_sd({name: tensor.to("cpu", copy=True) for name, tensor in clip_vision.get_sd().items()})
        model.load_device = model.patcher.load_device = device
        if hasattr(model.patcher, "register_load_device"):  # of a patcher that streams weights
            model.patcher.register_load_device(device)
        return _Worker(model, managed=True)

    return twin
