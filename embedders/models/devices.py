"""What the encoders ask of ComfyUI's memory management: which device, how much of it, and room on it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

log = logging.getLogger("diffusion_toolkit")
_room = threading.Lock()  # the host's lists of models are for one thread at a time


def half_dtype(device: torch.device) -> torch.dtype | None:
    """What is faster than float32 there and good enough for vectors: float16, else bfloat16, else nothing (on a CPU)."""
    import comfy.model_management as host
    import torch

    if host.is_device_cpu(device):
        return None
    if host.should_use_fp16(device):
        return torch.float16
    return torch.bfloat16 if host.should_use_bf16(device) else None


def load(patchers: Sequence[Any], working_bytes: int) -> None:
    """Have the host load models onto their devices, and make room there for work; less room will do, in smaller batches."""
    import comfy.model_management as host

    host.load_models_gpu(list(patchers), memory_required=working_bytes, minimum_memory_required=0)


def free_bytes(device: torch.device) -> int:
    import comfy.model_management as host

    return int(host.get_free_memory(device))


def make_room(device: torch.device, patcher: Any, everything: bool) -> None:
    """After an allocation failed: hand back what is cached, and with `everything` unload all other models from that device."""
    import comfy.model_management as host

    with _room:
        if everything:
            kept = [loaded for loaded in host.current_loaded_models if loaded.model is patcher]
            host.free_memory(1e30, device, keep_loaded=kept)
        with host.cuda_device_context(device):
            host.soft_empty_cache(force=True)


def working_on(device: torch.device) -> AbstractContextManager[None]:
    """Makes it the thread's current device where there are several."""
    import comfy.model_management as host

    return host.cuda_device_context(device)


def other_devices(first: torch.device) -> list[torch.device]:
    """The accelerators beside `first`; none where it is the CPU, which means that the person wants no other."""
    import comfy.model_management as host

    return [] if host.is_device_cpu(first) else [device for device in host.get_all_torch_devices() if device != first]


class Crew:
    """The workers of one model: the one on the device that the host chose, and twins on the others once there is much to do.

    A twin costs a second copy of the weights in memory and the time to load it, which only a large run earns back.
    """

    def __init__(self, first: Any, twin: Any, name: str, worth: int) -> None:
        """Workers have `device` and `patcher`; `twin(device)` makes one more, or raises RuntimeError where the model can't be copied."""
        self.workers = [first]
        self._make_twin, self._name, self._worth = twin, name, worth
        self._twin, self._done = twin, 0

    def for_more(self, items: int) -> list[Any]:
        """The workers for `items` more."""
        self._done += items
        if self._twin is not None and self._done > self._worth:
            twin, self._twin = self._twin, None
            for device in other_devices(self.workers[0].device):
                try:
                    self.workers.append(twin(device))
                except RuntimeError as error:
                    log.warning("%s works on %s only: it can't be copied to %s (%s).", self._name, self.workers[0].device, device, error)
                    break
        return self.workers

    def rest(self) -> None:
        """The run is over: give back what the twins take."""
        self.workers, self._twin, self._done = self.workers[:1], self._make_twin, 0
