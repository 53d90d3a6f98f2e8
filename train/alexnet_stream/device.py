"""Batches on their way to a CUDA device: pinned host memory and copies on a stream of their own."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_stream.batch import Batch, Meters

CUDA: Any = torch.cuda  # partly without types


class PinnedRing:
    """Ring buffers as tensors that share their memory, page-locked for asynchronous copies while `pin` holds."""

    def __init__(self, slots: Iterable[npt.NDArray[np.uint8]], pin: bool) -> None:
        self._slots = tuple(slots)
        self._pinned: list[Tensor] = []
        for tensor in map(torch.from_numpy, self._slots if pin else ()):
            # Registered and not allocated by torch, so that the memory shared with a loader process is pinned alike.
            CUDA.check_error(int(CUDA.cudart().cudaHostRegister(tensor.data_ptr(), tensor.nbytes, 0)))
            self._pinned.append(tensor)

    def tensor(self, slot: int) -> Tensor:
        """A new tensor over a slot: one that a queue between processes moves to shared memory never is the slot again."""
        return torch.from_numpy(self._slots[slot])

    def close(self) -> None:
        """Unlock the memory; the tensors stay valid."""
        while self._pinned:
            CUDA.check_error(int(CUDA.cudart().cudaHostUnregister(self._pinned.pop().data_ptr())))


def on_device(
    batches: Iterable[tuple[int, Batch]], device: torch.device, meters: Meters
) -> Iterator[tuple[int, Batch]]:
    """`batches` copied to a CUDA device on a stream of their own, one batch ahead of the consumer; others as they are.

    A host buffer is read until its copy has ended, so the copy before is waited for ahead of each new batch.
    """
    if device.type != "cuda":
        for end, batch in batches:
            yield end, batch if device.type == "cpu" else batch.to(device)
        return
    side = CUDA.Stream(device)
    waiting: tuple[int, Batch, Any, Any] | None = None
    for end, batch in batches:
        with CUDA.stream(side):
            started, copied = CUDA.Event(enable_timing=True), CUDA.Event(enable_timing=True)
            started.record(side)
            ahead = batch.page_locked().to(device, non_blocking=True)
            copied.record(side)
        if waiting is not None:
            yield _hand_over(waiting, device, meters)
        waiting = (end, ahead, started, copied)
    if waiting is not None:
        yield _hand_over(waiting, device, meters)


def _hand_over(waiting: tuple[int, Batch, Any, Any], device: torch.device, meters: Meters) -> tuple[int, Batch]:
    """Let the consumer's stream use a copied batch."""
    end, batch, started, copied = waiting
    copied.synchronize()
    meters.copy_seconds += started.elapsed_time(copied) / 1000
    current = CUDA.current_stream(device)
    for tensor in vars(batch).values():
        # Without this the allocator may give the memory to the side stream again while the consumer still reads it.
        tensor.record_stream(current)
    return end, batch
