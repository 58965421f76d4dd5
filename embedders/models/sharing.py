"""Work handed out to several devices, each with a model of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def share_out(chunks: Sequence[Chunk], workers: Sequence[Callable[[Chunk], Result]]) -> list[Result]:
    """The result of each chunk, in order; whoever is free takes the next, so that a faster device does more.

    The calling thread works as the first worker, in its own settings (inference mode is a thread's own). An error of any worker, or a
    cancel, is raised here once all have stopped, which they do after the chunk that they are at.
    """
    results: list[Result | None] = [None] * len(chunks)
    waiting = iter(range(len(chunks)))
    lock, errors = threading.Lock(), []

    def work(worker: Callable[[Chunk], Result]) -> None:
        while True:
            with lock:
                index = None if errors else next(waiting, None)
            if index is None:
                return
            try:
                results[index] = worker(chunks[index])
            except BaseException as error:  # a cancel of the host's is no Exception, and must reach its thread
                errors.append(error)
                return

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers[1 : len(chunks)]]
    for thread in threads:
        thread.start()
    work(workers[0])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
