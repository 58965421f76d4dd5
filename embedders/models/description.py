"""From words to where a picture of them would lie: CLIP-ViT-H/14's text tower, the other half of what makes the image vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EmbedderError
from .fingerprint import weights_digest

if TYPE_CHECKING:
    import numpy as np
    import torch

DESCRIPTION_DIMS = 1024
SOURCE = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
FILE = "open_clip_model.safetensors"
USUAL = "CLIP-ViT-H-14-laion2B-s32B-b79K-both.safetensors"  # what a person is told to save it as
_HEAD = 64  # numbers of a head in every CLIP text tower; the file's shapes don't tell
_WANTED = f"Use {FILE} of https://huggingface.co/{SOURCE}, which holds both halves, saved in models/clip_vision as {USUAL}."
_BLOCK = {  # open_clip's names within a layer: transformers'
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_PICTURE = {  # open_clip's names below `visual.`: transformers'
    "class_embedding": "vision_model.embeddings.class_embedding",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
_TEXT = {  # open_clip's names: transformers'
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}


class DescriptionEncoder:
    """A CLIP text tower whose place in memory ComfyUI decides. Its vectors compare with the image vectors of its own pair."""

    def __init__(self, tower: Any, name: str, picture_tower: Callable[[], str], managed: bool = True) -> None:
        """`picture_tower` gives the digest of the picture tower in the same file; it is asked for once. `managed` False: the
        model stays where it is, on the CPU, and the host is not told of it (see `nodes.routes.query_models`)."""
        import comfy.model_management as host
        import comfy.model_patcher

        self.name = name
        self._tower = tower
        self._managed = managed
        self._read_picture_tower = picture_tower
        self._picture_tower: str | None = None
        # The plain patcher: the dynamic one streams weights into ComfyUI's own layers, which this model has none of.
        self.patcher = comfy.model_patcher.ModelPatcher(
            tower, load_device=host.text_encoder_device(), offload_device=host.text_encoder_offload_device()
        )

    @property
    def picture_tower(self) -> str:
        """The digest of the picture tower that was trained with this text tower, equal to `ImageEncoder.weights` of the
        model that makes vectors which can be compared with ours. Reads that tower, some 2.5 GB, the first time it is asked for."""
        if self._picture_tower is None:
            self._picture_tower = self._read_picture_tower()
        return self._picture_tower

    def encode_query(self, text: str) -> np.ndarray:
        """The vector to search image vectors with: [1024] float32. What lies beyond CLIP's 77 tokens is left out."""
        import comfy.model_management as host
        import torch

        with torch.inference_mode():
            if self._managed:
                host.load_models_gpu([self.patcher])
            return encode(self._tower, text, self.patcher.load_device if self._managed else "cpu")


def encode(tower: Any, text: str, device: Any = "cpu") -> np.ndarray:
    """[1024] float32 of a tower that lies on `device`."""
    import torch
    from open_clip.tokenizer import tokenize

    tokens = tokenize([text], context_length=tower.context_length)  # [1, 77]
    with torch.inference_mode():
        return tower(tokens.to(device))[0].float().cpu().numpy()


def load_description_encoder(path: Path) -> DescriptionEncoder:
    """The encoder of a file that holds both towers, in memory that the host manages. EmbedderError as in `read_text_tower`."""
    return DescriptionEncoder(read_text_tower(path), path.name, lambda: read_picture_tower(path))


def read_text_tower(path: Path) -> Any:
    """The text tower of a safetensors file, as open_clip or transformers lays it out: float32, on the CPU.

    Its sizes are those of the file's tensors. Nothing is ever downloaded, and no pickle is opened.

    Raises:
        EmbedderError: the file can't be read, lacks one of the towers, or makes vectors that the library's can't be compared with.
    """
    import torch
    from open_clip.transformer import TextTransformer

    tensors = _tensors(path)
    weights = {name: tensors[name] for name in tensors if not name.startswith(("visual", "vision_model"))}
    weights = _open_clip_text(weights)
    try:
        vocabulary, width = weights["token_embedding.weight"].shape
        context = len(weights["positional_embedding"])
        mlp = weights["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
        dims = weights["text_projection"].shape[1]
    except KeyError as error:
        raise EmbedderError(f"{path.name} holds no text half of a CLIP: it has no {error.args[0]}. {_WANTED}") from None
    if not any(name in tensors for name in ("visual.proj", "visual_projection.weight")):
        raise EmbedderError(
            f"{path.name} holds a text half but no picture half, so nothing tells which image vectors its own compare with. {_WANTED}"
        )
    if dims != DESCRIPTION_DIMS:
        raise EmbedderError(
            f"The text half in {path.name} makes vectors of {dims} dimensions; the library's image vectors have "
            f"{DESCRIPTION_DIMS}. {_WANTED}"
        )
    layers = 1 + max(int(match[1]) for name in weights if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name)))
    with torch.inference_mode(False):  # weights made under it could not be moved by a thread that is not
        tower = TextTransformer(
            context_length=context, vocab_size=vocabulary, width=width, heads=max(1, width // _HEAD), layers=layers,
            mlp_ratio=mlp / width, output_dim=dims,
        )  # fmt: skip
        own = tower.state_dict()
        try:
            tower.load_state_dict({name: tensor.float() for name, tensor in weights.items() if name in own})
        except RuntimeError as error:
            raise EmbedderError(f"The text half in {path.name} is not whole ({error}). Download the file again.") from error
        return tower.eval().requires_grad_(False)


def read_picture_tower(path: Path) -> str:
    """The digest of a file's picture tower under transformers' names, which ComfyUI uses too, by `fingerprint.weights_digest`."""
    tensors = _tensors(path)
    halves = {name: tensors[name].half() for name in tensors if name.startswith(("visual", "vision_model"))}
    return weights_digest(
        {name: tensor for name, tensor in _transformers_picture(halves).items() if tensor.is_floating_point()}
    )


class _Tensors(Mapping):
    """The tensors of a safetensors file, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _tensors(path: Path) -> _Tensors:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise EmbedderError(f"There is no file {path}. {_WANTED}")
    try:
        return _Tensors(safe_open(str(path), framework="pt", device="cpu"))
    except (SafetensorError, OSError) as error:
        raise EmbedderError(
            f"{path.name} can't be read as a safetensors file ({error}). It may be cut short, or a Git LFS pointer. {_WANTED}"
        ) from error


def _open_clip_text(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under open_clip's names, from its own or transformers'."""
    import torch

    if "text_model.embeddings.token_embedding.weight" not in weights:
        return weights
    named = {ours: weights[theirs] for ours, theirs in _TEXT.items() if theirs in weights}
    if "text_projection.weight" in weights:
        named["text_projection"] = weights["text_projection.weight"].T
    for name, tensor in weights.items():
        match = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if match is None:
            continue
        layer, part, kind = match.groups()
        if part == "self_attn.q_proj":
            three = [weights[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            named[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(three)
        for ours, theirs in _BLOCK.items():
            if part == theirs:
                named[f"transformer.resblocks.{layer}.{ours}.{kind}"] = tensor
    return named


def _transformers_picture(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under transformers' names, from its own or open_clip's."""
    if "visual.proj" not in weights:
        return weights
    named = {"visual_projection.weight": weights["visual.proj"].T}
    for name, tensor in weights.items():
        plain = name.removeprefix("visual.")
        if plain in _PICTURE:
            named[_PICTURE[plain]] = tensor
        match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)", plain)
        if match is None:
            continue
        layer, part, kind = match.groups()
        if part == "attn.in_proj":
            for one, third in zip("qkv", tensor.chunk(3)):
                named[f"vision_model.encoder.layers.{layer}.self_attn.{one}_proj.{kind}"] = third
        elif part in _BLOCK:
            named[f"vision_model.encoder.layers.{layer}.{_BLOCK[part]}.{kind}"] = tensor
    return named
