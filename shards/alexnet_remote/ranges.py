"""A remote file read here and there, by range, as who reads a footer first wants it."""

import io
from functools import partial
from typing import Any

from alexnet_remote.outcome import Head, TransportError, TroubleError
from alexnet_remote.remotefile import answer, head_of
from alexnet_remote.stop import Stop
from alexnet_remote.tries import Patience, RemoteFileTroubleError, Tries, pulled
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shown import public_address

LEAST_BYTES, MOST_BYTES = 64 << 10, 8 << 20  # of a request; where reads follow each other each is twice as long


class NoRangesError(AlexnetError):
    """A server that sends files from their beginning alone."""


class RangedFile(io.RawIOBase):
    """The file at an address, open for reading anywhere; made by `open_ranged`. Holds one request's bytes.

    Every answer must be of the file that was opened, by size and version. Reads raise as alexnet_remote.tries says, and
    NoRangesError.
    """

    def __init__(self, url: str, head: Head, patience: Patience, stop: Stop) -> None:
        self._url, self._version, self._patience, self._stop = url, head.version, patience, stop
        if head.size is None:
            raise RemoteFileTroubleError(f"{public_address(url)}: the server does not tell its size; fetch it first")
        self.size = head.size
        self._place, self._start, self._held, self._ahead = 0, 0, b"", LEAST_BYTES
        self.requests = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        """As RawIOBase has it."""
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        """All that follows."""
        return self.read(-1)

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end of the file alone."""
        left = max(0, self.size - self._place)
        size = left if size is None or size < 0 else min(size, left)
        at = self._place - self._start
        if not 0 <= at <= len(self._held):
            self._start, self._held, at, self._ahead = self._place, b"", 0, LEAST_BYTES
        missing = at + size - len(self._held)
        if missing > 0:
            begin = self._start + len(self._held)
            content = self._fetched(begin, min(self.size, begin + max(missing, self._ahead)))
            self._held, self._start, at = self._held[at:] + content, self._place, 0
            self._ahead = min(MOST_BYTES, 2 * self._ahead)
        self._place += size
        return self._held[at : at + size]

    def _fetched(self, start: int, end: int) -> bytes:
        """Bytes [start, end), gone on with after every broken connection."""
        tries, found = Tries(url=self._url, patience=self._patience, stop=self._stop), bytearray()
        while len(found) < end - start:
            before = len(found)
            try:
                self._try(start, end, found)
            except TransportError as error:
                tries.failed(error, len(found) - before)
        return bytes(found[: end - start])

    def _try(self, start: int, end: int, found: bytearray) -> None:
        self.requests += 1
        place = start + len(found)
        request = partial(answer, self._url, place, self._version or None, self._patience, end)
        for item in pulled(request, self._url, self._patience, self._stop):
            if not isinstance(item, Head):
                found += item
                if len(found) >= end - start:
                    return
            elif (item.size, item.version) != (self.size, self._version):
                raise RemoteFileTroubleError(
                    f"{public_address(self._url)}: changed while it was read; start again when it changes no more"
                )
            elif item.start != place:
                raise NoRangesError(f"{public_address(self._url)}: the server knows no ranges")
        if len(found) < end - start:
            raise TroubleError(f"the answer broke off after {len(found)} of {end - start} bytes")


def open_ranged(url: str, patience: Patience | None = None, stop: Stop | None = None) -> RangedFile:
    """Open the file at an address; its last bytes are read, which says whether the server has ranges.

    Raises NoRangesError where it has none, and as alexnet_remote.tries says.
    """
    patience, stop = patience or Patience(), stop or Stop()
    file = RangedFile(url, head_of(url, patience, stop), patience, stop)
    file.seek(max(0, file.size - LEAST_BYTES))
    file.read(LEAST_BYTES)
    file.seek(0)
    return file
