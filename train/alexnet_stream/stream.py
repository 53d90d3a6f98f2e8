"""The stream: batches of uint8 images in an order that depends on (seed, epoch) alone."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed
from torch.utils.data import IterableDataset

from alexnet_remote import Stop
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import CROP_PX, IMAGE_PX
from alexnet_shards.shardset import ShardSet
from alexnet_stream.batch import Batch, Meters, pad
from alexnet_stream.child import ChildLoader
from alexnet_stream.config import StreamConfig, default_threads
from alexnet_stream.device import PinnedRing, on_device
from alexnet_stream.epoch import EpochTable, epoch_table, lasting_flips
from alexnet_stream.loader import Job, JobReport, LoaderConfig, SampleLoader, ThreadLoader
from alexnet_stream.order import EpochOrder
from alexnet_stream.prefetch import source_of
from alexnet_stream.quarantine import LoadedPart, Quarantine
from alexnet_stream.reader import raise_open_files

__all__ = ["Batch", "Stream", "StreamConfig"]

LOGGER = logging.getLogger(__name__)
JOBS_AHEAD = 3
NUM_SLOTS = JOBS_AHEAD + 1
INSTEAD = "iterate it without workers (num_workers=0), it has threads of its own, or give the DataLoader a ShardDataset"


class Stream(IterableDataset[Batch]):
    """Batches of a ShardSet, epoch after epoch, with exact resume; a context manager that owns threads and buffers.

    `iter` and `len` are those of an epoch, so that Lightning, torchdata's StatefulDataLoader and a plain loop take it as
    it is; a DataLoader only with `batch_size=None` and no workers, as it has threads of its own. One iterator at a time:
    the next one goes on where the one before was left, but without `shuffle`, as in validation, at the epoch's start.

    To end a run at a signal while a download stalls, have the handler call `stop()`, or request the Stop that was given
    (one may serve several streams): within a second the epoch's iterator raises StoppedError, unless it can go on with
    what is on this machine, which it does. `state_dict` then is the place after the last batch that was taken, so that
    a checkpoint can be saved. Every wait for the network ends so, for whoever may have begun it: the prefetcher, a
    thread of the loader or of its child process, the quarantine.
    """

    def __init__(
        self,
        shards: ShardSet,
        config: StreamConfig,
        stop: Stop | None = None,
        tally: Callable[[int], int] | None = None,
    ) -> None:
        """`tally` counts the bad rows of all processes of a run (see Quarantine), whose limit `quarantine` then is.

        Raises AlexnetError where the shards give no batch.
        """
        self._shards, self._config = shards, config
        self._epoch = self._position = self._run = self._slot = 0
        self._under_way: deque[tuple[int, int]] = deque()  # (place in the epoch, slot) of the current iterator's jobs
        self._resumed = self._warned = self._told_of_rest = False
        self._owner = os.getpid()
        self._meters = Meters()
        if config.pin_memory and not torch.cuda.is_available():
            raise AlexnetError("pin_memory: there is no CUDA device to pin memory for; leave it out")
        if self.steps_per_epoch == 0:
            raise AlexnetError(
                f"{shards.num_samples} samples are less than one batch of {config.batch_size}; lower the batch size"
            )
        cropped = config.crop != "none"
        height_px = CROP_PX if cropped else IMAGE_PX
        largest_part = -(-config.batch_size // config.world_size)
        raise_open_files()
        self._stop = Stop(stop)
        self._stop.request_at_exit()
        source = source_of(shards, self._stop)
        self._order = EpochOrder(shards, config, source)
        loader_config = LoaderConfig(
            source=source,
            num_slots=NUM_SLOTS,
            slot_shape=(largest_part, height_px, height_px, 3),
            threads=config.threads or default_threads(),
            check_crc=config.check_crc,
            stop=self._stop,
        )
        self._loader = ChildLoader(loader_config) if config.child_process else ThreadLoader(loader_config)
        self._ring = PinnedRing(self._loader.slots, config.pin_memory)
        self._samples = SampleLoader(source, config.check_crc)
        self._quarantine = Quarantine(
            shards=shards, samples=self._samples, limit=config.quarantine, crop=cropped, tally=tally
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End threads or child and close the shards; the buffers of batches at hand stay valid."""
        self._run += 1
        self._stop.request()
        self._order.prefetch.close()
        self._loader.close()
        self._samples.close()
        self._ring.close()

    def stop(self) -> None:
        """End every wait for the network, now and later; safe in signal handlers and from any thread."""
        self._stop.request()

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a whole epoch, the same on every rank; also `len`."""
        whole, rest = divmod(self._shards.num_samples, self._config.batch_size)
        return whole + (rest > 0 and self._config.last != "drop")

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        if self._position and self._config.shuffle and not self._resumed and not self._told_of_rest:
            self._told_of_rest = True
            LOGGER.warning(
                "iterated anew in the middle of epoch %d: begins with sample %d, where the iterator before was left; for a "
                "validation, which is whole each time, give StreamConfig shuffle=False",
                self._epoch,
                self._position,
            )
        return self.epoch()

    def __reduce__(self) -> NoReturn:
        raise AlexnetError(f"a Stream cannot be pickled; {INSTEAD}")

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, as DistributedSampler does; where it is the current one, nothing changes, so that
        a stream that was resumed goes on."""
        if epoch != self._epoch:
            self.load_state_dict({"epoch": epoch, "position": 0})

    @property
    def meters(self) -> dict[str, float]:
        """Counts and seconds since the stream was made: images, batches, wait_seconds, read_seconds, …"""
        return vars(self._meters).copy()

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands after the batches the consumer has taken: epoch, samples of it (all ranks), and a number
        of the order in which they are counted."""
        return {"epoch": self._epoch, "position": self._position, "order": self._order.number}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to `state`, which a stream of any world size and batch size may have saved; costs no reading.

        Raises AlexnetError where it is not a place in these shards, or one in the middle of an epoch of another order.
        """
        epoch, position = state.get("epoch", -1), state.get("position", -1)
        if epoch < 0 or not 0 <= position <= self._shards.num_samples:
            raise AlexnetError(
                f"stream state {dict(state)}: not a place in {self._shards.num_samples} samples; "
                "resume with the shards of the checkpoint"
            )
        if not self._order.follow(state.get("order") if position else None):
            raise AlexnetError(
                f"stream state {dict(state)}: its epoch was begun in another order (seed, shuffle, order, window_shards or "
                "shards differ), the rest of it would repeat samples; resume with those of the checkpoint, or by set_epoch"
            )
        self._run += 1
        self._resumed = True
        self._go_to(epoch, position)

    def epoch(self, device: torch.device | str = "cpu") -> Iterator[Batch]:
        """The rest of the current epoch, on `device`; then the stream stands at the start of the next. Without `shuffle` all
        of the epoch, unless load_state_dict has led into its middle.

        For a CUDA device each batch is copied while the one before is in use. Raises AlexnetError for a bad sample, as
        the quarantine allows, for a loader process that has died, and in any process but the one that made the stream,
        as a worker of a DataLoader: each would yield every sample. Raises StoppedError after `stop`.
        """
        if os.getpid() != self._owner:
            raise AlexnetError(f"this Stream belongs to another process; {INSTEAD}")
        self._warn_of_ranks()
        return self._epoch_on(torch.device(device))

    def _warn_of_ranks(self) -> None:
        """Say once where the processes of a run would all get the same batches."""
        if (
            self._warned
            or self._config.world_size > 1
            or not (distributed.is_available() and distributed.is_initialized())
        ):
            return
        self._warned = True
        if (processes := distributed.get_world_size()) > 1:
            LOGGER.warning(
                "each of %d processes gets every sample of this Stream; for a part each, give StreamConfig rank and "
                "world_size",
                processes,
            )

    def _epoch_on(self, device: torch.device) -> Iterator[Batch]:
        self._run += 1
        if not (self._config.shuffle or self._resumed):
            self._position = 0
        self._resumed = False
        if self._position == 0:
            self._order.follow(None)
        run, epoch = self._run, self._epoch
        table = self._table(epoch)
        self._order.prefetch.plan(self._shards.rows["shard"], table.rows, self._position)
        loaded = self._load(table, self._position)
        with closing(loaded):
            for end, batch in on_device(loaded, device, self._meters):
                self._go_to(epoch, end)
                yield batch
                if self._run != run:
                    raise RuntimeError("this epoch's iterator has ended: the stream was closed, moved or iterated anew")

    def _go_to(self, epoch: int, position: int) -> None:
        left = self._shards.num_samples - position
        done = left < self._config.batch_size if self._config.last == "drop" else left == 0
        self._epoch, self._position = (epoch + 1, 0) if done else (epoch, position)

    def _table(self, epoch: int) -> EpochTable:
        config, windows = self._config, self._order.windows
        table = epoch_table(
            self._shards.num_samples, config.seed, epoch, shuffle=config.shuffle, crop=config.crop, windows=windows
        )
        if not config.flip:
            return replace(table, flip=np.zeros_like(table.flip))
        if config.flip_once and config.crop != "none":
            return replace(table, flip=lasting_flips(self._shards.num_samples, config.seed)[table.rows])
        return table

    def _rank_part(self, size: int) -> tuple[int, int]:
        """This rank's slice of a batch of `size` samples: parts differ by one sample at most."""
        rank, world_size = self._config.rank, self._config.world_size
        return size * rank // world_size, size * (rank + 1) // world_size

    def _load(self, table: EpochTable, position: int) -> Generator[tuple[int, Batch], None, None]:
        """(position after it, batch) from `position` on, with JOBS_AHEAD batches under way; ends an earlier iterator's."""
        samples, size = self._shards.num_samples, self._config.batch_size
        whole = position + (samples - position) // size * size
        starts = deque(range(position, whole if self._config.last == "drop" else samples, size))
        self._drop_jobs()
        under_way = self._under_way
        try:
            while starts or under_way:
                while starts and len(under_way) < JOBS_AHEAD:
                    start, slot = starts.popleft(), self._slot
                    self._slot = (slot + 1) % NUM_SLOTS
                    self._order.prefetch.advance(under_way[0][0] if under_way else start)
                    self._loader.submit(slot, self._job(table, self._places(start)))
                    under_way.append((start, slot))
                start, slot = under_way[0]
                asked = time.perf_counter()
                report = self._loader.wait(slot)
                self._meters.wait_seconds += time.perf_counter() - asked
                under_way.popleft()
                yield min(start + size, samples), self._batch(table, start, slot, report)
        finally:
            if under_way is self._under_way:
                self._drop_jobs()

    def _drop_jobs(self) -> None:
        """Drop the jobs of the current iterator; the next one takes their slots first, not that of the batch at hand."""
        jobs, self._under_way = self._under_way, deque()
        if jobs:
            self._slot = jobs[0][1]
        for _, slot in jobs:
            self._loader.cancel(slot)

    def _places(self, start: int) -> npt.NDArray[np.int64]:
        """Places in the epoch table of this rank's part of the batch that begins at `start`."""
        size = min(self._config.batch_size, self._shards.num_samples - start)
        first, last = self._rank_part(self._config.batch_size if self._config.last == "pad" else size)
        return np.arange(start + first, min(start + last, start + size), dtype=np.int64)

    def _job(self, table: EpochTable, places: npt.NDArray[np.int64]) -> Job:
        rows = self._shards.rows[table.rows[places]]
        if self._config.crop == "none":
            return Job(rows=rows)
        return Job(rows=rows, crop_top_px=table.crop_top_px[places], crop_left_px=table.crop_left_px[places])

    def _batch(self, table: EpochTable, start: int, slot: int, report: JobReport) -> Batch:
        places, slot_nhwc = self._places(start), self._ring.tensor(slot)
        images_nhwc = slot_nhwc[: len(places)]
        part = LoadedPart(table=table, places=places, images_nhwc=images_nhwc.numpy(), report=report)
        rows, valid = self._quarantine.settle(part)
        self._meters.quarantined = self._quarantine.replaced
        self._meters.images += len(places)
        self._meters.batches += 1
        self._meters.read_seconds += report.read_seconds
        self._meters.decode_seconds += report.decode_seconds
        batch = Batch(
            images_nhwc=images_nhwc,
            labels=torch.from_numpy(self._shards.rows["label"][rows].astype(np.int64)),
            rows=torch.from_numpy(rows),
            flip=torch.from_numpy(table.flip[places]),
            noise_z=torch.from_numpy(table.noise_z[places]),
            valid=torch.from_numpy(valid),
        )
        first, last = self._rank_part(self._config.batch_size)
        return pad(batch, slot_nhwc[: last - first]) if self._config.last == "pad" else batch
