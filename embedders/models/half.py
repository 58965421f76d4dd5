"""Vectors at half precision, where a look at the first of them says that they are those of full precision."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .batch_size import is_out_of_memory

if TYPE_CHECKING:
    import torch

LEAST_COSINE = 0.9999
LOOKED_AT = 8  # items of the first batch that are computed both ways
log = logging.getLogger("diffusion_toolkit")


class HalfPrecision:
    """Computes vectors at `dtype` instead of the host's precision, as long as they agree with it.

    What overflows in half precision is a matter of the weights, which are whatever file a person has. So the first items are
    computed both ways, and a row that is not finite later on is computed anew; `dtype` None is the host's precision throughout.
    """

    def __init__(self, dtype: torch.dtype | None, name: str) -> None:
        self.dtype = dtype
        self.least: float | None = None  # the least cosine that was seen
        self._name = name

    def look(self, items: Any, at: Callable[[Any, torch.dtype | None], torch.Tensor]) -> None:
        """Before the first batch: compare what `at(items, dtype)` makes of some items. Later calls do nothing."""
        if self.dtype is None or self.least is not None:
            return
        import torch

        few = items[:LOOKED_AT]
        problem = ""
        try:
            halves, wholes = at(few, self.dtype).double().cpu(), at(few, None).double().cpu()
            cosines = torch.nn.functional.cosine_similarity(halves, wholes)
            self.least = float(cosines.min()) if bool(torch.isfinite(cosines).all()) else 0.0
            if self.least < LEAST_COSINE:
                problem = f"cosine {self.least:.6f} to the full precision's"
        except Exception as error:  # whatever a device's back end raises for what it can't do: DirectML's autocast an AssertionError
            if is_out_of_memory(error):
                raise
            problem = f"{type(error).__name__}: {error}"
        if problem:
            log.info("%s stays at full precision on this device: %s gives other vectors (%s).", self._name, self.dtype, problem)
            self.dtype, self.least = None, 0.0

    def mended(self, vectors: torch.Tensor, items: Any, at: Callable[[Any, torch.dtype | None], torch.Tensor]) -> torch.Tensor:
        """`vectors` [n, dims] float32 on the CPU, with rows that overflowed computed anew from their items."""
        import torch

        bad = (~torch.isfinite(vectors).all(dim=1)).nonzero().flatten() if self.dtype is not None else torch.empty(0)
        for rows in bad.split(LOOKED_AT):  # full precision takes more memory, so few at a time
            if len(rows):
                again = items[rows.to(items.device)] if isinstance(items, torch.Tensor) else [items[row] for row in rows.tolist()]
                vectors[rows] = at(again, None).float().cpu()
        return vectors
