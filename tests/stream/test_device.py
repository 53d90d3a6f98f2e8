"""Copies to the device: against a model of CUDA whose copies happen as late as CUDA allows."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexnet_shards.shardset import open_shards
from alexnet_stream import device as device_module
from alexnet_stream.batch import Meters
from alexnet_stream.device import PinnedRing, on_device
from alexnet_stream.stream import Stream, StreamConfig


class LateTensor:
    """A device tensor whose content is read from the host only when the copy's event is waited for."""

    def __init__(self, source: torch.Tensor) -> None:
        self.source, self.value, self.streams = source, torch.empty(0), list[Any]()

    def record_stream(self, stream: Any) -> None:
        self.streams.append(stream)


class LateCuda:
    """torch.cuda as on_device uses it: one copy stream, in order, as lazy as its events permit."""

    def __init__(self) -> None:
        self.copies: list[LateTensor] = []
        cuda = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                self.place = -1

            def record(self, stream: Any) -> None:
                self.place = len(cuda.copies)

            def synchronize(self) -> None:
                for tensor in cuda.copies[: self.place]:
                    if not len(tensor.value):
                        tensor.value = tensor.source.clone()

            def elapsed_time(self, end: "Event") -> float:
                return float(end.place - self.place)

        self.Event = Event

    def Stream(self, device: torch.device) -> str:
        return "side"

    def stream(self, side: str) -> nullcontext[None]:
        return nullcontext()

    def current_stream(self, device: torch.device) -> str:
        return "main"


class LateBatch:
    """A batch of one tensor on its way."""

    def __init__(self, images_nhwc: Any) -> None:
        self.images_nhwc = images_nhwc

    def page_locked(self) -> "LockedBatch":
        return LockedBatch(self.images_nhwc)

    def to(self, device: torch.device, non_blocking: bool) -> "LateBatch":
        assert non_blocking and isinstance(self, LockedBatch)
        copied = LateTensor(self.images_nhwc)
        device_module.CUDA.copies.append(copied)
        return LateBatch(copied)


class LockedBatch(LateBatch):
    """One whose small tensors were copied to page-locked memory."""


def test_a_buffer_is_never_reused_before_its_copy_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "CUDA", LateCuda())
    ring = [torch.zeros(4) for _ in range(2)]

    def host_batches() -> Iterator[Any]:
        """A ring as short as the contract allows: a buffer is overwritten when the next-but-one is asked for."""
        for number in range(9):
            ring[number % 2][:] = number
            yield number, LateBatch(ring[number % 2])

    meters, seen = Meters(), []
    for end, batch in on_device(host_batches(), torch.device("cuda"), meters):
        image: Any = batch.images_nhwc
        assert image.streams == ["main"]
        seen.append((end, image.value.tolist()))
    assert seen == [(number, [number] * 4) for number in range(9)]
    assert meters.copy_seconds == pytest.approx(9 / 1000)


def test_one_batch_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "CUDA", LateCuda())
    asked: list[int] = []

    def host_batches() -> Iterator[Any]:
        for number in range(5):
            asked.append(number)
            yield number, LateBatch(torch.ones(1))

    for end, _ in on_device(host_batches(), torch.device("cuda"), Meters()):
        assert len(asked) == min(end + 2, 5)


def test_host_batches_pass_unchanged() -> None:
    batch: Any = object()
    assert list(on_device(iter([(1, batch)]), torch.device("cpu"), Meters())) == [(1, batch)]


def test_other_devices_get_a_plain_copy(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    with Stream(open_shards([make_shards(tmp_path, (4,))]), StreamConfig(batch_size=2, seed=0)) as stream:
        batches = list(stream.epoch("meta"))
    assert [batch.images_nhwc.device.type for batch in batches] == ["meta", "meta"]
    assert stream.state_dict().items() >= {"epoch": 1, "position": 0}.items()


def test_the_ring_shares_memory() -> None:
    slots = [np.zeros((2, 3), np.uint8) for _ in range(3)]
    ring = PinnedRing(slots, pin=False)
    slots[1][:] = 4
    assert ring.tensor(1).tolist() == [[4] * 3] * 2
    ring.close()


class CountingRuntime:
    """cudaHostRegister and cudaHostUnregister that keep count, as the CUDA runtime does."""

    def __init__(self) -> None:
        self.registered: dict[int, int] = {}

    def cudart(self) -> "CountingRuntime":
        return self

    def cudaHostRegister(self, pointer: int, size: int, flags: int) -> int:
        self.registered[pointer] = size
        return 0

    def cudaHostUnregister(self, pointer: int) -> int:
        del self.registered[pointer]
        return 0

    def check_error(self, result: int) -> None:
        assert result == 0


def test_pinned_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = CountingRuntime()
    monkeypatch.setattr(device_module, "CUDA", runtime)
    slots = [np.zeros((2, 3), np.uint8) for _ in range(3)]
    ring = PinnedRing(slots, pin=True)
    assert runtime.registered == {slot.ctypes.data: 6 for slot in slots}
    ring.close()
    ring.close()
    assert runtime.registered == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("child_process", [False, True])
def test_cuda_gives_the_same_batches(tmp_path: Path, make_shards: Callable[..., str], child_process: bool) -> None:
    shards = open_shards([make_shards(tmp_path, (9,))])
    config = StreamConfig(batch_size=2, seed=0, pin_memory=True, child_process=child_process)

    def images(device: str) -> list[torch.Tensor]:
        with Stream(shards, config) as stream:
            return [batch.to("cpu").images_nhwc.clone() for _ in range(3) for batch in stream.epoch(device)]

    assert all(torch.equal(a, b) for a, b in zip(images("cpu"), images("cuda"), strict=True))
