"""Samples from shards: bytes by position in the tar, checked by crc32, decoded by simplejpeg into a given array."""

import errno
import os
import resource
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import simplejpeg

from alexnet_remote import LocalTroubleError
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.machine import most_open_files

# What a damaged or missing file is answered with; every other error is the machine's and no sample's fault.
DAMAGE = {errno.ENOENT, errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.EREMOTEIO}

ADVICE = {
    errno.EMFILE: "raise the number of open files (ulimit -n), or take fewer --threads",
    errno.ENFILE: "this machine has too many open files: end what opens them and start again",
    errno.ENOMEM: "this machine is out of memory: free some and start again",
    errno.EACCES: "make it readable for this user and start again",
    errno.ESTALE: "the file server has replaced it: start again",
}


class ShardSource(Protocol):
    """Where shards come from; picklable, so that a loader process can have it."""

    @property
    def max_open(self) -> int:
        """How many files may be open at once."""

    @property
    def max_idle(self) -> int:
        """How many of them may be kept open that nobody reads."""

    def name(self, shard: int) -> str:
        """What messages call a shard."""

    def open(self, shard: int) -> int:
        """A descriptor of a shard, for the caller to close; raises OSError or AlexnetError."""

    def repair(self, shard: int) -> bool:
        """Make good what is held of a shard in which a sample is bad; says whether another read may be better."""


@dataclass(frozen=True)
class LocalShards:
    """Shards at local `paths`."""

    paths: tuple[str, ...]

    @property
    def max_open(self) -> int:
        """A share of what the process may open."""
        return most_open_files()

    @property
    def max_idle(self) -> int:
        """All of them."""
        return self.max_open

    def name(self, shard: int) -> str:
        """Its path."""
        return self.paths[shard]

    def open(self, shard: int) -> int:
        """A descriptor of a shard."""
        return os.open(self.paths[shard], os.O_RDONLY | os.O_CLOEXEC)

    def repair(self, shard: int) -> bool:
        """Nothing: there is no other copy."""
        return False


def raise_open_files() -> None:
    """Have this process open as many files as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems say "unlimited" and mean less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class BadSampleError(AlexnetError):
    """A sample that cannot be used; the text is the reason alone, without the place."""


@dataclass(eq=False)
class _OpenShard:
    """A shard that is open or being opened, and how many read it; `dropped` when it is to be closed after them."""

    descriptor: "Future[int]" = field(default_factory=Future)
    users: int = 1
    dropped: bool = False
    number: int = -1  # the descriptor once it is there, to be had without a lock


class ShardFiles:
    """Positioned reads from many shards, any number of threads, with a bounded number of open files.

    A shard that is being opened, which may mean a download, holds up those alone who want the same one.

    Reads are pread and not mmap: a shard that shrinks under a run is then an error and not a SIGBUS that kills the
    process, a page that comes from a slow disk does not hold the interpreter, and the cost is 1% of a decode.
    """

    def __init__(self, source: ShardSource) -> None:
        self._source, self._max_open, self._max_idle = source, source.max_open, source.max_idle
        self._changed = threading.Condition()
        self._shards: dict[int, _OpenShard] = {}
        self._idle: OrderedDict[int, _OpenShard] = OrderedDict()
        self._num_open = 0

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes at `offset` of a shard.

        Raises BadSampleError where they are not all there, LocalTroubleError for what is no sample's fault.
        """
        try:
            try:
                return self._read(shard, offset, size)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
            # The file server has another file by that name: it is opened once more.
            self.forget(shard)
            return self._read(shard, offset, size)
        except OSError as error:
            advice = ADVICE.get(error.errno or 0, "see to it and start again")
            raise LocalTroubleError(f"{self._source.name(shard)}: {error.strerror}; {advice}") from error

    def forget(self, shard: int) -> None:
        """Open a shard anew at its next use."""
        with self._changed:
            opened = self._shards.pop(shard, None)
            if opened is not None:
                opened.dropped = True
                if self._idle.pop(shard, None) is not None:
                    self._close(opened)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        opened = self._acquire(shard, wait=True)
        if opened is None:
            raise RuntimeError("a wait for an open shard ended without one")
        try:
            content = os.pread(opened.descriptor.result(), size, offset)
        except OSError as error:
            if error.errno in (*DAMAGE, errno.EINVAL):
                raise BadSampleError(f"byte {offset} of the shard cannot be read ({error.strerror})") from error
            raise
        finally:
            self._release(shard, opened)
        if len(content) != size:
            raise BadSampleError(f"the shard ends at byte {offset + len(content)}, expected {offset + size}: truncated")
        return content

    @contextmanager
    def held(self, shards: Sequence[int]) -> Iterator[list[int]]:
        """Descriptors of `shards` while the block lasts, -1 where one cannot be opened now; raises AlexnetError.

        Whoever holds one does not wait for room for another, so that nobody waits for ever.
        """
        held: list[tuple[int, _OpenShard]] = []
        descriptors = []
        try:
            for shard in shards:
                try:
                    opened = self._acquire(shard, wait=not held)
                except (BadSampleError, OSError):
                    opened = None  # said when the sample is read alone
                descriptors.append(-1 if opened is None else opened.descriptor.result())
                if opened is not None:
                    held.append((shard, opened))
            yield descriptors
        finally:
            for shard, opened in held:
                self._release(shard, opened)

    def close(self) -> None:
        """Close every file; no read may be under way."""
        with self._changed:
            while self._idle:
                shard, opened = self._idle.popitem()
                self._shards.pop(shard)
                self._close(opened)

    def __del__(self) -> None:
        """Close the files of a reader that nobody has closed; without its lock, which a fork may have copied held."""
        for opened in self._idle.values():
            with suppress(OSError):
                os.close(opened.number)

    def _acquire(self, shard: int, wait: bool) -> _OpenShard | None:
        """The open shard, one user more; None where there is no room for another, unless `wait`."""
        with self._changed:
            while (opened := self._shards.get(shard)) is None and not self._make_room():
                if not wait:
                    return None
                self._changed.wait()
            if opened is not None:
                opened.users += 1
                self._idle.pop(shard, None)
            else:
                mine = self._shards[shard] = _OpenShard()
                self._num_open += 1
        if opened is None:
            return self._open(shard, mine)
        opened.descriptor.result()  # raises what its opener was told; then this user is not counted any more
        return opened

    def _open(self, shard: int, opened: _OpenShard) -> _OpenShard:
        try:
            opened.number = self._opened_file(shard)
            opened.descriptor.set_result(opened.number)
        except BaseException as error:
            with self._changed:
                self._num_open -= 1
                if self._shards.get(shard) is opened:
                    del self._shards[shard]
                self._changed.notify_all()
            opened.descriptor.set_exception(error)
            raise
        return opened

    def _opened_file(self, shard: int) -> int:
        try:
            return self._source.open(shard)
        except OSError as error:
            if error.errno in DAMAGE:
                raise BadSampleError(f"the shard cannot be opened ({error.strerror})") from error
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ESTALE):
                raise
        # Files that nobody reads may be what fills the process's table.
        with self._changed:
            while self._idle:
                number, idle = self._idle.popitem(last=False)
                self._shards.pop(number)
                self._close(idle)
        return self._source.open(shard)

    def _release(self, shard: int, opened: _OpenShard) -> None:
        with self._changed:
            opened.users -= 1
            if opened.users == 0:
                if opened.dropped:
                    self._close(opened)
                else:
                    self._idle[shard] = opened
                    self._make_idle_few()
            self._changed.notify()

    def _make_idle_few(self) -> None:
        while len(self._idle) > self._max_idle:
            shard, opened = self._idle.popitem(last=False)
            self._shards.pop(shard)
            self._close(opened)

    def _make_room(self) -> bool:
        if self._num_open >= self._max_open and self._idle:
            shard, opened = self._idle.popitem(last=False)
            self._shards.pop(shard)
            self._close(opened)
        return self._num_open < self._max_open

    def _close(self, opened: _OpenShard) -> None:
        os.close(opened.descriptor.result())
        self._num_open -= 1


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
