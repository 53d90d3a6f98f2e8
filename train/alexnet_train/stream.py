"""The stream: batches of uint8 images in an order that depends on (seed, epoch) alone."""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_shards.errors import AlexnetError
from alexnet_shards.stats import IMAGE_PX
from alexnet_train.epoch import EpochTable, Windows, epoch_table
from alexnet_train.loader import CROP_PX, Job, JobReport, ThreadLoader
from alexnet_train.shardset import ShardSet

LOGGER = logging.getLogger(__name__)
NO_ROW = -1
PADDING_LABEL = -1
JOBS_AHEAD = 3


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How a ShardSet is streamed.

    `batch_size` counts the samples of all ranks. `crop` False gives whole 256x256 images, no flip, no noise. `last` is
    what becomes of the short batch at the end: dropped, kept short, or padded to full size with `valid` False. `order`
    "window" shuffles within windows of `window_shards` shards, for disks and networks that do not like random reads.
    `threads` 0: one a core. `quarantine`: so many bad samples are replaced (cropped) or masked (whole) before the
    stream fails.
    """

    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    shuffle: bool = True
    crop: bool = True
    last: Literal["drop", "keep", "pad"] = "drop"
    order: Literal["global", "window"] = "global"
    window_shards: int = 16
    threads: int = 0
    check_crc: bool = True
    quarantine: int = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "world_size", "window_shards"):
            if getattr(self, name) < 1:
                raise AlexnetError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name in ("seed", "threads", "quarantine"):
            if getattr(self, name) < 0:
                raise AlexnetError(f"{name} {getattr(self, name)}: expected 0 or more")
        if not 0 <= self.rank < self.world_size:
            raise AlexnetError(f"rank {self.rank}: expected 0 to {self.world_size - 1}, below world_size")
        for name, choices in (("last", ("drop", "keep", "pad")), ("order", ("global", "window"))):
            if getattr(self, name) not in choices:
                raise AlexnetError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(choices)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One rank's part of a batch, B samples.

    `images_nhwc` uint8 RGB 0..255: (B, 224, 224, 3) cropped but not flipped, or (B, 256, 256, 3) whole; it is a buffer
    of the stream's ring and stays valid until the next-but-one batch is asked for. `labels` and `rows` int64 (B,),
    `flip` bool (B,), `noise_z` float32 (B, 3), `valid` bool (B,): False for padding, whose label and row are -1.
    """

    images_nhwc: Tensor
    labels: Tensor
    rows: Tensor
    flip: Tensor
    noise_z: Tensor
    valid: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on `device`; on the device it is on already it is the same memory."""
        return Batch(**{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in vars(self).items()})


@dataclass(kw_only=True)
class Meters:
    """Counts and seconds since the stream was made; stage seconds are summed over threads."""

    images: float = 0
    batches: float = 0
    wait_seconds: float = 0
    read_seconds: float = 0
    decode_seconds: float = 0
    quarantined: float = 0


class Stream:
    """Batches of a ShardSet, epoch after epoch, with exact resume; a context manager that owns threads and buffers."""

    def __init__(self, shards: ShardSet, config: StreamConfig) -> None:
        """Raises AlexnetError where the shards give no batch."""
        self._shards, self._config = shards, config
        self._epoch = self._position = self._run = self._slot = 0
        self._meters = Meters()
        if self.steps_per_epoch == 0:
            raise AlexnetError(
                f"{shards.num_samples} samples are less than one batch of {config.batch_size}; lower the batch size"
            )
        height_px = CROP_PX if config.crop else IMAGE_PX
        first, last = self._rank_part(config.batch_size)
        shape = (last - first, height_px, height_px, 3)
        self._slots = [
            torch.empty(shape, dtype=torch.uint8, pin_memory=config.pin_memory) for _ in range(JOBS_AHEAD + 1)
        ]
        self._images = [slot.numpy() for slot in self._slots]
        threads = config.threads or len(os.sched_getaffinity(0))
        self._loader = ThreadLoader(shards.paths, self._images, threads, config.check_crc)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and close the shards; the buffers of batches at hand stay valid."""
        self._run += 1
        self._loader.close()

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a whole epoch, the same on every rank."""
        whole, rest = divmod(self._shards.num_samples, self._config.batch_size)
        return whole + (rest > 0 and self._config.last != "drop")

    @property
    def meters(self) -> dict[str, float]:
        """Counts and seconds since the stream was made: images, batches, wait_seconds, read_seconds, …"""
        return vars(self._meters).copy()

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands after the batches the consumer has taken: epoch, and samples of it (all ranks)."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to `state`, which a stream of any world size and batch size may have saved; costs no reading.

        Raises AlexnetError where it is not a place in these shards.
        """
        epoch, position = state.get("epoch", -1), state.get("position", -1)
        if epoch < 0 or not 0 <= position <= self._shards.num_samples:
            raise AlexnetError(
                f"stream state {dict(state)}: not a place in {self._shards.num_samples} samples; "
                "resume with the shards of the checkpoint"
            )
        self._run += 1
        self._go_to(epoch, position)

    def epoch(self) -> Iterator[Batch]:
        """The rest of the current epoch; then the stream stands at the start of the next."""
        self._run += 1
        run, epoch = self._run, self._epoch
        for end, batch in self._load(self._table(epoch), self._position):
            self._go_to(epoch, end)
            yield batch
            if self._run != run:
                raise RuntimeError("this epoch's iterator has ended: the stream was closed, moved or iterated anew")

    def _go_to(self, epoch: int, position: int) -> None:
        left = self._shards.num_samples - position
        done = left < self._config.batch_size if self._config.last == "drop" else left == 0
        self._epoch, self._position = (epoch + 1, 0) if done else (epoch, position)

    def _table(self, epoch: int) -> EpochTable:
        config = self._config
        windows = None
        if config.order == "window":
            windows = Windows(shard_of_row=self._shards.rows["shard"], shards_in_window=config.window_shards)
        return epoch_table(
            self._shards.num_samples, config.seed, epoch, shuffle=config.shuffle, crop=config.crop, windows=windows
        )

    def _rank_part(self, size: int) -> tuple[int, int]:
        """This rank's slice of a batch of `size` samples: parts differ by one sample at most."""
        rank, world_size = self._config.rank, self._config.world_size
        return size * rank // world_size, size * (rank + 1) // world_size

    def _load(self, table: EpochTable, position: int) -> Iterator[tuple[int, Batch]]:
        """(position after it, batch) from `position` on, with JOBS_AHEAD batches under way."""
        samples, size = self._shards.num_samples, self._config.batch_size
        whole = position + (samples - position) // size * size
        starts = deque(range(position, whole if self._config.last == "drop" else samples, size))
        under_way: deque[tuple[int, int]] = deque()
        try:
            while starts or under_way:
                while starts and len(under_way) < JOBS_AHEAD:
                    start, slot = starts.popleft(), self._slot
                    self._slot = (slot + 1) % len(self._slots)
                    self._loader.submit(slot, self._job(table, self._places(start)))
                    under_way.append((start, slot))
                start, slot = under_way[0]
                asked = time.perf_counter()
                report = self._loader.wait(slot)
                self._meters.wait_seconds += time.perf_counter() - asked
                under_way.popleft()
                yield min(start + size, samples), self._batch(table, start, slot, report)
        finally:
            for _, slot in under_way:
                self._loader.cancel(slot)

    def _places(self, start: int) -> npt.NDArray[np.int64]:
        """Places in the epoch table of this rank's part of the batch that begins at `start`."""
        size = min(self._config.batch_size, self._shards.num_samples - start)
        first, last = self._rank_part(self._config.batch_size if self._config.last == "pad" else size)
        return np.arange(start + first, min(start + last, start + size), dtype=np.int64)

    def _job(self, table: EpochTable, places: npt.NDArray[np.int64]) -> Job:
        rows = self._shards.rows[table.rows[places]]
        if not self._config.crop:
            return Job(rows=rows)
        return Job(rows=rows, crop_top_px=table.crop_top_px[places], crop_left_px=table.crop_left_px[places])

    def _batch(self, table: EpochTable, start: int, slot: int, report: JobReport) -> Batch:
        places = self._places(start)
        rows = table.rows[places]
        for place, reason in report.failures:
            raise AlexnetError(
                f"{self._shards.key_of(int(rows[place]))}: {reason}; see all damage with alexnet-prep verify"
            )
        self._meters.images += len(places)
        self._meters.batches += 1
        self._meters.read_seconds += report.read_seconds
        self._meters.decode_seconds += report.decode_seconds
        batch = Batch(
            images_nhwc=self._slots[slot][: len(places)],
            labels=torch.from_numpy(self._shards.rows["label"][rows].astype(np.int64)),
            rows=torch.from_numpy(rows),
            flip=torch.from_numpy(table.flip[places]),
            noise_z=torch.from_numpy(table.noise_z[places]),
            valid=torch.ones(len(places), dtype=torch.bool),
        )
        return _padded(batch, self._slots[slot]) if self._config.last == "pad" else batch


def _padded(batch: Batch, slot_nhwc: Tensor) -> Batch:
    """The batch filled up to the size of its buffer by black images with `valid` False."""
    size, missing = len(batch.rows), len(slot_nhwc) - len(batch.rows)
    if missing == 0:
        return batch
    slot_nhwc[size:] = 0
    fill = {"labels": PADDING_LABEL, "rows": NO_ROW, "flip": False, "noise_z": 0.0, "valid": False}
    padded = {
        name: torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]), fill[name])])
        for name, tensor in vars(batch).items()
        if name in fill
    }
    return replace(batch, images_nhwc=slot_nhwc, **padded)
