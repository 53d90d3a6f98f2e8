"""A file read forward in big pieces, and the archives of a source as the walks over them see them."""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

PIECE_BYTES = 8 << 20
ReadAt = Callable[[int, int], bytes]


class OpenArchive(Protocol):
    """An archive that is read by offset; use as a context manager."""

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end."""

    def __enter__(self) -> Self:
        """The archive itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


ArchiveOpener = Callable[[Path], OpenArchive]


class ForwardReader:
    """Reads by offsets that mostly grow, in requests of PIECE_BYTES up to `end`, and beyond it what is asked for alone.

    Holds one piece and what of it was not used yet.
    """

    def __init__(self, read_at: ReadAt, end: int) -> None:
        self._read_at, self._end = read_at, end
        self._start, self._held = 0, b""

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end of the file."""
        place = offset - self._start
        if not 0 <= place <= len(self._held):
            self._start, self._held, place = offset, b"", 0
        missing = place + size - len(self._held)
        if missing > 0:
            begin = self._start + len(self._held)
            wanted = max(missing, min(PIECE_BYTES, self._end - begin))
            self._held = self._held[place:] + read_fully(self._read_at, begin, wanted)
            self._start, place = offset, 0
        return self._held[place : place + size]


def read_fully(read_at: ReadAt, offset: int, size: int) -> bytes:
    """As `read_at`, which may return less than is there, on network file systems above all."""
    pieces = [read_at(offset, size)]
    found = len(pieces[0])
    while pieces[-1] and found < size:
        pieces.append(read_at(offset + found, size - found))
        found += len(pieces[-1])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class LocalFile:
    """A file of this machine, open for reading by offset until `close`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end of the file or of what one call gives."""
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
