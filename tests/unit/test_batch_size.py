"""Batches by memory, halves when there was not enough, half precision where it serves, and work shared by several devices."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.models.batch_size import BatchSize, is_out_of_memory
from diffusion_toolkit.embedders.models.half import HalfPrecision
from diffusion_toolkit.embedders.models.sharing import share_out


class Model:
    """Holds `room` items at a time; notes the batches that it was given, and what was done for more room."""

    def __init__(self, room: int) -> None:
        self.room, self.given, self.relieved = room, [], []

    def launch(self, batch):
        self.given.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return batch

    def run(self, size: BatchSize, items, **more):
        return [item for batch in size.run(items, self.launch, list, self.relieved.append, **more) for item in batch]


def test_a_batch_that_memory_does_not_hold_is_tried_again_in_halves_and_nothing_is_lost():
    model, size = Model(room=5), BatchSize(16)
    assert model.run(size, range(20)) == list(range(20))
    assert model.given == [16, 8, 4, 4, 4, 4, 4] and model.relieved == [False, False]


def test_the_half_that_fitted_is_remembered():
    model, size = Model(room=5), BatchSize(16)
    model.run(size, range(16))
    model.given.clear()
    size.fit(free=2**40, unit=1)
    model.run(size, range(8))
    assert model.given == [4, 4]


def test_all_else_is_unloaded_before_one_item_is_too_much():
    model, size = Model(room=0), BatchSize(2, "image")

    def relieve(everything: bool) -> None:
        model.room = 1 if everything else 0

    results = size.run(["a", "b"], model.launch, list, relieve)
    assert results == [["a"], ["b"]]


def test_one_item_that_never_fits_is_an_error_that_says_what_to_do():
    with pytest.raises(EmbedderError, match="even one image .*--lowvram"):
        Model(room=0).run(BatchSize(4, "image"), range(4))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(batch):
        raise RuntimeError("expected scalar type Half but found Float")

    with pytest.raises(RuntimeError, match="scalar type"):
        BatchSize(4).run(range(4), broken, list, lambda everything: pytest.fail("no memory was wanting"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("Could not allocate tensor with 1073741824 bytes. There is not enough GPU video memory available!"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_is_known_on_every_kind_of_device(error):
    assert is_out_of_memory(error)


def test_free_memory_decides_how_many_go_together():
    model, size = Model(room=100), BatchSize(16)
    size.fit(free=1000, unit=100)
    model.run(size, range(14))
    assert model.given == [7, 7]


def test_a_padded_batch_costs_what_its_longest_item_costs_each():
    model, size = Model(room=100), BatchSize(12)
    assert model.run(size, [1, 1, 2, 3, 3, 3, 3, 30, 1], cost=lambda item: item) == [1, 1, 2, 3, 3, 3, 3, 30, 1]
    assert model.given == [4, 3, 1, 1]


def test_the_next_batch_is_launched_before_the_one_under_way_is_waited_for():
    told = []
    BatchSize(1).run("ab", lambda batch: told.append(f"launch {batch}") or batch, lambda batch: told.append(f"finish {batch}"), print)
    assert told == ["launch a", "launch b", "finish a", "finish b"]


def test_what_is_under_way_is_finished_before_memory_is_sought():
    told, full = [], []

    def launch(batch):
        if batch == "b" and not full:
            full.append(1)
            raise MemoryError
        return batch

    BatchSize(1).run("ab", launch, lambda batch: told.append(f"finish {batch}"), lambda everything: told.append("relieve"))
    assert told == ["finish a", "relieve", "finish b"]


def test_a_batch_that_fails_when_it_is_waited_for_is_tried_again_in_halves_with_what_was_launched_behind_it():
    model, size = Model(room=100), BatchSize(4)
    waited = []

    def finish(batch):
        waited.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(batch)

    assert size.run(range(9), model.launch, finish, model.relieved.append) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    assert model.given == [4, 4, 2, 2, 2, 2, 1] and waited == [4, 2, 2, 2, 2, 1] and model.relieved == [False]


def test_one_item_that_fails_when_it_is_waited_for_has_all_memory_and_is_then_an_error():
    model = Model(room=100)

    def finish(batch):
        if 1 in batch:
            raise MemoryError("bad allocation")
        return list(batch)

    with pytest.raises(EmbedderError, match=r"even one image \(bad allocation\)"):
        BatchSize(2, "image").run(range(4), model.launch, finish, model.relieved.append)
    assert model.given == [2, 2, 1, 1, 1, 1] and model.relieved == [False, True]


def test_more_is_tried_again_when_all_went_well_for_a_while():
    model, size = Model(room=5), BatchSize(16)
    model.run(size, range(16))
    model.room = 100
    model.given.clear()
    model.run(size, range(200))
    assert model.given[0] == 4 and 8 in model.given and model.given[-2] == 16


def test_where_more_was_too_much_again_it_is_tried_later():
    model, size = Model(room=5), BatchSize(8)
    model.run(size, range(600))
    failed = [place for place, given in enumerate(model.given) if given == 8]
    assert len(failed) > 3
    waits = [later - before for before, later in zip(failed, failed[1:])]
    assert all(later >= 1.8 * before for before, later in zip(waits, waits[1:]))


def vectors(noise: float, overflowing: int = -1):
    """Of items that are vectors themselves; half precision adds `noise`, and makes one row endless."""

    def at(items: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
        made = items.clone()
        if dtype is not None:
            made += noise * torch.randn(made.shape, generator=torch.Generator().manual_seed(1))
            made[(items[:, 0] == overflowing).nonzero().flatten()] = torch.inf
        return made

    return at


ITEMS = torch.cat([torch.arange(20.0)[:, None], torch.randn(20, 500, generator=torch.Generator().manual_seed(2))], dim=1)


def test_half_precision_is_kept_where_its_vectors_are_the_same():
    half = HalfPrecision(torch.float16, "the model")
    half.look(ITEMS, vectors(noise=1e-3))
    assert half.dtype == torch.float16 and half.least > 0.9999


def test_half_precision_is_given_up_where_its_vectors_differ():
    half = HalfPrecision(torch.float16, "the model")
    half.look(ITEMS, vectors(noise=0.1))
    assert half.dtype is None


@pytest.mark.parametrize(
    "error", [RuntimeError("\"LayerNormKernelImpl\" not implemented for 'Half'"), AssertionError("Tried to use AMP with the `privateuseone` backend")]
)
def test_half_precision_is_given_up_where_the_device_cannot_do_it(error):
    def at(items, dtype):
        if dtype is not None:
            raise error
        return items

    half = HalfPrecision(torch.float16, "the model")
    half.look(ITEMS, at)
    assert half.dtype is None


def test_a_row_that_overflows_later_is_computed_at_full_precision():
    half, at = HalfPrecision(torch.float16, "the model"), vectors(noise=1e-3, overflowing=15)
    half.look(ITEMS, at)
    made = at(ITEMS, half.dtype)
    assert not torch.isfinite(made[15]).all()
    mended = half.mended(made, ITEMS, at)
    assert torch.equal(mended[15], ITEMS[15]) and torch.isfinite(mended).all()


def test_shared_work_comes_back_in_order_and_everyone_takes_part():
    met = threading.Barrier(2, timeout=60)

    def worker(chunk: int) -> int:
        if chunk < 2:
            met.wait()  # the two first chunks are worked on at the same time
        return chunk * 10

    assert share_out(range(6), [worker, worker]) == [0, 10, 20, 30, 40, 50]


def test_a_cancel_in_one_thread_ends_the_others_and_is_raised():
    class Cancel(BaseException):
        pass

    done = []

    def cancelled(chunk: int):
        raise Cancel

    def slow(chunk: int):
        time.sleep(0.01)
        done.append(chunk)

    with pytest.raises(Cancel):
        share_out(range(1000), [slow, cancelled])
    assert len(done) < 900  # of 999
