"""A file read forward in big pieces, and the archives of a source as the walks over them see them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from alexnet_prep.errors import SourceError
from alexnet_remote import MAGIC_BYTES, ForwardFile, Patience, Stop, compression_of, head_of, open_forward
from alexnet_shards.editions import ADDRESS_SUFFIX, plain_name
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shown import public_address

PIECE_BYTES = 8 << 20
LOOKS_AT_ONCE = 16
ReadAt = Callable[[int, int], bytes]


class OpenArchive(Protocol):
    """An archive that is read by offset; use as a context manager."""

    @property
    def path(self) -> Path:
        """Its file."""

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


def address_of(path: Path) -> str | Path:
    """Where an archive is: an address, where `path` is a text file that has one, else the path itself. A second line that
    begins with # is a remark.

    Raises SourceError where there is none in the file.
    """
    if not is_address(path):
        return path
    try:
        address = path.read_text("utf-8").partition("\n#")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error}); expected the address of an archive in it") from error
    if "://" not in address or "\n" in address:
        raise SourceError(f"{path}: holds no address; expected one line, as https://host/{plain_name(path.name)}")
    return address


def is_address(path: Path) -> bool:
    """Whether a file holds the address of an archive."""
    return path.name.endswith(ADDRESS_SUFFIX)


def is_streamed(path: Path) -> bool:
    """Whether an archive can only be read forward, as one that is elsewhere or compressed."""
    try:
        return is_address(path) or begins_compressed(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); expected an archive") from error


def begins_compressed(path: Path) -> bool:
    """Whether a local file is compressed, by any means; raises OSError where it cannot be read."""
    file = LocalFile(path)
    try:
        return bool(compression_of(file.read_at(0, MAGIC_BYTES)))
    finally:
        file.close()


@dataclass(frozen=True)
class ArchiveFacts:
    """What is known of an archive before it is read: what tells it from others, its stored bytes, and whether it can only
    be read forward, as one that is elsewhere or compressed."""

    state: tuple[str, ...]
    stored_bytes: int
    is_streamed: bool


def archive_facts(path: Path) -> ArchiveFacts:
    """Look at an archive; raises SourceError where it is not there."""
    address = address_of(path)
    if not isinstance(address, Path):
        try:
            head = head_of(str(address), Patience(), Stop())
        except AlexnetError as error:
            raise SourceError(str(error)) from error
        state = (public_address(str(address)), str(head.size or 0), head.version)
        return ArchiveFacts(state, head.size or 0, is_streamed=True)
    try:
        found, is_compressed = path.stat(), begins_compressed(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); expected an official archive") from error
    state = (path.name, str(found.st_size), str(found.st_mtime_ns))
    return ArchiveFacts(state, found.st_size, is_streamed=is_compressed)


def facts_of(paths: Sequence[Path]) -> list[ArchiveFacts]:
    """The facts of each, looked at some at once: those elsewhere answer slowly."""
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        return list(pool.map(archive_facts, paths))


@contextmanager
def opened_forward(path: Path, stop: Stop | None = None) -> Iterator[ForwardFile]:
    """Read an archive from its beginning; what is wrong with it leaves the block as SourceError."""
    address = address_of(path)
    try:
        with open_forward(address, stop=stop) as file:
            yield file
    except SourceError:
        raise
    except AlexnetError as error:
        raise SourceError(str(error)) from error


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


class PiecedFile:
    """A file that lies in several, each with where it begins; open for reading by offset until `close`."""

    def __init__(self, pieces: Sequence[tuple[int, Path]]) -> None:
        self._files = [(start, LocalFile(path)) for start, path in pieces]
        self.size = self._files[-1][0] + self._files[-1][1].size

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end of the last file or of what one call gives."""
        for start, file in self._files:
            if start <= offset < start + file.size:
                return file.read_at(offset - start, size)
        return b""

    def close(self) -> None:
        """Close all."""
        for _, file in self._files:
            file.close()
