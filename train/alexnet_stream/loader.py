"""Threads that fill batch buffers: read, check, decode and crop the samples of a job into one slot of a ring."""

import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alexnet_remote import Stop
from alexnet_shards.geometry import CROP_PX, IMAGE_PX
from alexnet_shards.index import IndexRows
from alexnet_stream.crops import load_crops
from alexnet_stream.reader import BadSampleError, ShardFiles, ShardSource, check_crc32, decode_into

CHUNK_SAMPLES = 16

Slots = tuple[npt.NDArray[np.uint8], ...]


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """Shards to read, and the ring: `num_slots` buffers of `slot_shape` (B, height_px, width_px, 3) uint8."""

    source: ShardSource
    num_slots: int
    slot_shape: tuple[int, int, int, int]
    threads: int
    check_crc: bool
    stop: Stop = field(default_factory=Stop)  # the source's

    @property
    def ring_bytes(self) -> int:
        """Bytes of all slots."""
        return self.num_slots * math.prod(self.slot_shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """n samples to load: (n,) rows of INDEX_DTYPE and (n,) uint8 crop offsets 0..32, None for whole images."""

    rows: IndexRows
    crop_top_px: npt.NDArray[np.uint8] | None = None
    crop_left_px: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What a job cost, summed over threads, and (place in the job, reason) of each sample that could not be loaded."""

    read_seconds: float
    decode_seconds: float
    failures: tuple[tuple[int, str], ...]


class SampleLoader:
    """Loads single samples into given arrays; safe to call from many threads."""

    def __init__(self, source: ShardSource, check_crc: bool) -> None:
        self._source, self._files = source, ShardFiles(source)
        self._check_crc = check_crc
        self._crops = load_crops()
        self._local = threading.local()

    def load(self, job: Job, begin: int, end: int, images_nhwc: npt.NDArray[np.uint8]) -> JobReport:
        """Load samples [begin, end) of `job` to the same places of `images_nhwc` uint8."""
        # Without crc32 only a whole decode notices damage below the crop.
        if self._crops is None or not self._check_crc:
            return self._load_each(job, np.arange(begin, end), images_nhwc)
        rows = job.rows[begin:end]
        crops_px = None
        if job.crop_top_px is not None and job.crop_left_px is not None:
            crops_px = job.crop_top_px[begin:end], job.crop_left_px[begin:end]
        with self._files.held(rows["shard"].tolist()) as descriptors:
            done = self._crops.load(rows, descriptors, crops_px, images_nhwc[begin:end])
        rest = self._load_each(job, begin + np.flatnonzero(done.left), images_nhwc)
        return JobReport(
            read_seconds=done.read_seconds + rest.read_seconds,
            decode_seconds=done.decode_seconds + rest.decode_seconds,
            failures=rest.failures,
        )

    def close(self) -> None:
        """Close the shards."""
        self._files.close()

    def _load_each(self, job: Job, places: npt.NDArray[np.int64], images_nhwc: npt.NDArray[np.uint8]) -> JobReport:
        """Load the samples at `places` one by one."""
        read_seconds = decode_seconds = 0.0
        failures = []
        # Plain numbers, taken out of the arrays at once: this loop's own time is spent under the interpreter lock.
        rows, tops_px, lefts_px = job.rows[places].tolist(), *_crop_lists(job, places)
        for number, (place, row) in enumerate(zip(places.tolist(), rows, strict=True)):
            crop_px = (tops_px[number], lefts_px[number]) if tops_px else None
            for again in (True, False):
                try:
                    seconds = self._load_one(row, crop_px, images_nhwc[place])
                except BadSampleError as error:
                    if again and self._source.repair(row[0]):
                        self._files.forget(row[0])
                        continue
                    failures.append((place, str(error)))
                else:
                    read_seconds += seconds[0]
                    decode_seconds += seconds[1]
                break
        return JobReport(read_seconds=read_seconds, decode_seconds=decode_seconds, failures=tuple(failures))

    def _load_one(
        self, row: tuple[int, ...], crop_px: tuple[int, int] | None, image_hwc: npt.NDArray[np.uint8]
    ) -> tuple[float, float]:
        """Load the sample of an index row, cropped at (top, left) if given; the seconds of reading and decoding."""
        shard, offset, size, _, crc32 = row
        started = time.perf_counter()
        jpeg = self._files.read(shard, offset, size)
        if self._check_crc:
            check_crc32(jpeg, crc32)
        read = time.perf_counter()
        if crop_px is None:
            decode_into(jpeg, image_hwc)
        else:
            whole_hwc, (top_px, left_px) = self._whole_image(), crop_px
            decode_into(jpeg, whole_hwc)
            image_hwc[:] = whole_hwc[top_px : top_px + CROP_PX, left_px : left_px + CROP_PX]
        return read - started, time.perf_counter() - read

    def _whole_image(self) -> npt.NDArray[np.uint8]:
        """This thread's own (256, 256, 3) buffer, from which crops are taken."""
        whole_hwc: npt.NDArray[np.uint8] | None = getattr(self._local, "whole_hwc", None)
        if whole_hwc is None:
            whole_hwc = self._local.whole_hwc = np.empty((IMAGE_PX, IMAGE_PX, 3), np.uint8)
        return whole_hwc


def _crop_lists(job: Job, places: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Crop rows and columns of the samples at `places`; empty for whole images."""
    if job.crop_top_px is None or job.crop_left_px is None:
        return [], []
    return job.crop_top_px[places].tolist(), job.crop_left_px[places].tolist()


class ThreadLoader:
    """Loads jobs into the slots of a ring with threads of this process; one job a slot at a time.

    The time that counts, reading and decoding, is spent outside the interpreter lock.
    """

    def __init__(self, config: LoaderConfig, slots: Slots | None = None) -> None:
        """`slots` are the ring's buffers, contiguous arrays of `config.slot_shape`; None makes them."""
        self._samples = SampleLoader(config.source, config.check_crc)
        self.slots = slots or tuple(np.empty(config.slot_shape, np.uint8) for _ in range(config.num_slots))
        self._pool = ThreadPoolExecutor(config.threads, thread_name_prefix="alexnet-stream")
        self._pending: dict[int, list[Future[JobReport]]] = {}
        self._dropped: dict[int, list[Future[JobReport]]] = {}

    def submit(self, slot: int, job: Job) -> None:
        """Begin to load `job` to the first places of a free slot, once nothing of a dropped job writes there."""
        for future in self._dropped.pop(slot, []):
            future.exception()
        images_nhwc, size = self.slots[slot], len(job.rows)
        self._pending[slot] = [
            self._pool.submit(self._samples.load, job, begin, min(begin + CHUNK_SAMPLES, size), images_nhwc)
            for begin in range(0, size, CHUNK_SAMPLES)
        ]

    def wait(self, slot: int) -> JobReport:
        """Wait for the job of a slot."""
        reports = [future.result() for future in self._pending[slot]]
        del self._pending[slot]
        return JobReport(
            read_seconds=sum(report.read_seconds for report in reports),
            decode_seconds=sum(report.decode_seconds for report in reports),
            failures=tuple(failure for report in reports for failure in report.failures),
        )

    def cancel(self, slot: int) -> None:
        """Drop the job of a slot without a wait for what has begun of it, which may be a stalled download."""
        self._dropped[slot] = [future for future in self._pending.pop(slot, []) if not future.cancel()]

    def close(self) -> None:
        """Drop what is under way, end the threads and close the shards."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._samples.close()
