"""Samples from shards: bytes by position in the tar, checked by crc32, decoded by simplejpeg into a given array."""

import os
import resource
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import simplejpeg

from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import IMAGE_PX

MIN_OPEN_FILES = 16


class ShardSource(Protocol):
    """Where shards come from; picklable, so that a loader process can have it."""

    @property
    def max_open(self) -> int:
        """How many files may be kept open."""

    def open(self, shard: int) -> int:
        """A descriptor of a shard, for the caller to close; raises OSError or AlexnetError."""


@dataclass(frozen=True)
class LocalShards:
    """Shards at local `paths`."""

    paths: tuple[str, ...]

    @property
    def max_open(self) -> int:
        """Half of what the process may open (RLIMIT_NOFILE)."""
        return max(MIN_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    def open(self, shard: int) -> int:
        """A descriptor of a shard."""
        return os.open(self.paths[shard], os.O_RDONLY | os.O_CLOEXEC)


class BadSampleError(AlexnetError):
    """A sample that cannot be used; the text is the reason alone, without the place."""


class ShardFiles:
    """Positioned reads from many shards, any number of threads, with a bounded number of open files.

    Reads are pread and not mmap: a shard that shrinks under a run is then an error and not a SIGBUS that kills the
    process, a page that comes from a slow disk does not hold the interpreter, and the cost is 1% of a decode.
    """

    def __init__(self, source: ShardSource) -> None:
        self._source, self._max_open = source, source.max_open
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, int] = OrderedDict()
        self._used: dict[int, tuple[int, int]] = {}

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes at `offset` of a shard; raises BadSampleError where they are not all there."""
        descriptor = self._acquire(shard)
        try:
            content = os.pread(descriptor, size, offset)
        except OSError as error:
            raise BadSampleError(f"byte {offset} of the shard cannot be read ({error.strerror})") from error
        finally:
            self._release(shard)
        if len(content) != size:
            raise BadSampleError(f"the shard ends at byte {offset + len(content)}, expected {offset + size}: truncated")
        return content

    @contextmanager
    def held(self, shards: Sequence[int]) -> Iterator[list[int]]:
        """Descriptors of `shards` while the block lasts, -1 where one cannot be opened; raises AlexnetError."""
        held, descriptors = [], []
        try:
            for shard in shards:
                try:
                    descriptors.append(self._acquire(shard))
                    held.append(shard)
                except BadSampleError:
                    descriptors.append(-1)
            yield descriptors
        finally:
            for shard in held:
                self._release(shard)

    def close(self) -> None:
        """Close every file; no read may be under way."""
        with self._lock:
            while self._idle:
                os.close(self._idle.popitem()[1])

    def _acquire(self, shard: int) -> int:
        with self._lock:
            descriptor, users = self._used.get(shard, (-1, 0))
            if users == 0:
                descriptor = self._idle.pop(shard, -1)
                if descriptor < 0:
                    descriptor = self._open_file(shard)
            self._used[shard] = (descriptor, users + 1)
            return descriptor

    def _release(self, shard: int) -> None:
        with self._lock:
            descriptor, users = self._used.pop(shard)
            if users > 1:
                self._used[shard] = (descriptor, users - 1)
            else:
                self._idle[shard] = descriptor

    def _open_file(self, shard: int) -> int:
        while self._idle and len(self._idle) + len(self._used) >= self._max_open:
            os.close(self._idle.popitem(last=False)[1])
        try:
            return self._source.open(shard)
        except OSError as error:
            raise BadSampleError(f"the shard cannot be opened ({error.strerror})") from error


def check_crc32(jpeg: bytes, expected: int) -> None:
    """Raise BadSampleError unless zlib.crc32 of `jpeg` is `expected`."""
    found = zlib.crc32(jpeg)
    if found != expected:
        raise BadSampleError(f"crc32 {found:08x}, expected {expected:08x}: the bytes have changed")


def decode_into(jpeg: bytes, image_hwc: npt.NDArray[np.uint8]) -> None:
    """Decode `jpeg` to `image_hwc`, contiguous (256, 256, 3) uint8 RGB.

    Raises BadSampleError where it is no JPEG, is damaged in any way, or has another size.
    """
    try:
        decoded = simplejpeg.decode_jpeg(jpeg, "RGB", buffer=image_hwc)
    except ValueError as error:
        _check_dimensions(jpeg)
        raise BadSampleError(f"cannot be decoded ({str(error).splitlines()[0]})") from error
    if decoded.shape != image_hwc.shape:
        _check_dimensions(jpeg)


def _check_dimensions(jpeg: bytes) -> None:
    try:
        height_px, width_px, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError as error:
        raise BadSampleError(f"not a JPEG ({str(error).splitlines()[0]})") from error
    if (height_px, width_px) != (IMAGE_PX, IMAGE_PX):
        raise BadSampleError(
            f"{width_px}x{height_px} pixels, expected {IMAGE_PX}x{IMAGE_PX}; make the shards with alexnet-prep shards"
        )
