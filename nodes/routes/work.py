"""Threads for what blocks: few of them, so that requests wait for each other and never for ComfyUI's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from .refusals import Refusal

Result = TypeVar("Result")


class Workers:
    """At most `threads` calls run, at most `waiting` more wait; whoever comes then is asked to come again."""

    def __init__(self, name: str, threads: int, waiting: int = 256) -> None:
        self._name, self._threads, self._most = name, threads, threads + waiting
        self._executor: ThreadPoolExecutor | None = None
        self._busy = 0

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call `function` in a thread."""
        if self._busy >= self._most:
            raise Refusal(503, "busy", f"{self._busy} requests wait for {self._name} already. Try again in a moment.")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix=f"diffusion-toolkit-{self._name}")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, partial(function, *arguments))
        finally:
            self._busy -= 1
