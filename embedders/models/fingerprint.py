"""Names a model by what its vectors depend on: a sha256 over weights, LoRA patches, tokenizer and pre-processing."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import EmbedderError

if TYPE_CHECKING:
    import torch

_HASHING_THREADS = 4  # hashlib and torch's casts release the interpreter lock

# Digests by model or tokenizer, dropped with it: hashing SDXL's two CLIPs reads 1.6 GB.
_digests: weakref.WeakKeyDictionary[Any, dict[Any, str]] = weakref.WeakKeyDictionary()


def combine(*parts: Any) -> str:
    """The sha256, as 64 hex digits, of JSON-serialisable parts in their order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def patched_weights_digest(patcher: Any, prefix: str = "", excluded: Iterable[str] = ()) -> str:
    """The digest of a ModelPatcher's weights below `prefix`, with its LoRA patches and their strengths.

    The weights are the original ones whether or not the model is loaded and patched at the moment. `excluded` names weights
    (in full) that no vector depends on; ComfyUI leaves some of them uninitialised.

    Raises:
        EmbedderError: the model carries changes that can't be told from one another by their content.
    """
    _refuse_opaque_changes(patcher)
    left_out = frozenset(excluded)
    known = _digests.setdefault(patcher.model, {})

    base_key = (prefix, left_out)
    if base_key not in known:
        known[base_key] = weights_digest(_original_weights(patcher, prefix, left_out))

    patches = {
        name: kept
        for name, values in patcher.patches.items()
        if name.startswith(prefix) and name not in left_out and (kept := [patch for patch in values if _has_effect(patch)])
    }
    if not patches:
        return known[base_key]
    patched_key = (prefix, left_out, patcher.patches_uuid)
    if patched_key not in known:
        described = [[name, [_describe(patch) for patch in patches[name]]] for name in sorted(patches)]
        known[patched_key] = combine(known[base_key], described)
    return known[patched_key]


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """The digest of named tensors: names and shapes in sorted order, values as float16, wherever they lie."""
    names = sorted(weights)
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        digests = list(pool.map(lambda name: _tensor_digest(weights[name], "float16"), names))
    return combine([[name, list(weights[name].shape), digest] for name, digest in zip(names, digests)])


def tokenizer_digest(tokenizer: Any) -> str:
    """The digest of a Hugging Face tokenizer's vocabulary: what text becomes which numbers, in any version of the library."""
    known = _digests.setdefault(tokenizer, {})
    if "vocabulary" not in known:
        known["vocabulary"] = combine(sorted(tokenizer.get_vocab().items()))
    return known["vocabulary"]


def _original_weights(patcher: Any, prefix: str, excluded: frozenset[str]) -> dict[str, torch.Tensor]:
    """Floating-point weights by name. While a patched model is loaded, ComfyUI keeps the original of a patched weight in
    `backup`, and the original of a hooked one in `hook_backup`; both are shared between the clones of a model."""
    weights = {}
    for name, tensor in patcher.model_state_dict(filter_prefix=prefix).items():
        if name in excluded or name.endswith("logit_scale"):
            continue
        if name in patcher.backup:
            tensor = patcher.backup[name].weight
        if name in patcher.hook_backup:
            tensor = patcher.hook_backup[name][0]
        if tensor.is_floating_point():
            weights[name] = tensor
    return weights


def _tensor_digest(tensor: torch.Tensor, dtype: str) -> str:
    import torch

    values = tensor.detach().to(device="cpu", dtype=getattr(torch, dtype)).contiguous()
    return hashlib.sha256(values.reshape(-1).view(torch.uint8).numpy()).hexdigest()


def _has_effect(patch: tuple[Any, ...]) -> bool:
    """A LoRA at strength 0 leaves the weight as it was, so it must not make another encoder. A `set` ignores its strength."""
    strength, value, strength_model = patch[:3]
    replaces = isinstance(value, tuple) and len(value) == 2 and value[0] == "set"
    return replaces or strength != 0.0 or strength_model != 1.0


def _describe(value: Any) -> Any:
    """A patch as JSON: tensors by shape and float32 content (LoRA factors can be too small for float16), functions by name."""
    import torch

    if isinstance(value, torch.Tensor):
        return ["tensor", list(value.shape), _tensor_digest(value, "float32")]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return [[str(key), _describe(value[key])] for key in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [_describe(item) for item in value]
    if hasattr(value, "weights"):  # comfy.weight_adapter: LoRA, LoHa, LoKr, ...
        return [type(value).__name__, _describe(value.weights)]
    if callable(value):
        return ["function", getattr(value, "__module__", ""), getattr(value, "__qualname__", type(value).__qualname__)]
    raise EmbedderError(
        f"The connected model carries a patch of an unknown kind ({type(value).__name__}), so its vectors can't be told from "
        "those of other models. Connect the model from before the node that adds it."
    )


def _refuse_opaque_changes(patcher: Any) -> None:
    """Hooks, injections (LoRA in bypass mode) and replaced modules live in closures, which have no content to hash."""
    # CLIP itself sets manual_cast_dtype, which changes no weight.
    replaced = sorted(name for name in patcher.object_patches if name != "manual_cast_dtype")
    found = [
        what
        for what, present in (
            ("hooks", patcher.forced_hooks is not None),
            ("a LoRA in bypass mode or another injection", any(patcher.injections.values())),
            (f"replaced parts ({', '.join(replaced)})", replaced),
            ("weight wrappers", patcher.weight_wrapper_patches),
        )
        if present
    ]
    if found:
        raise EmbedderError(
            f"The connected model carries {' and '.join(found)}, so its vectors can't be told from those of other models. "
            "Connect the model from before the node that adds it; an ordinary Load LoRA is supported."
        )
