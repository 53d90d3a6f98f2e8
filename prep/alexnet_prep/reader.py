"""Reads single images of a source by their place, for the workers."""

import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from alexnet_prep.archive import Extents, Sparse
from alexnet_prep.errors import SourceError
from alexnet_prep.forward import (
    address_of,
    begins_compressed,
    is_address,
    opened_forward,
    read_fully,
)
from alexnet_remote import MAGIC_BYTES, NoRangesError, RangedFile, compression_of, open_ranged
from alexnet_shards.errors import AlexnetError

MAX_OPEN = 64  # containers that one reader keeps open: a set may have thousands, a process some hundred files


class ContainerReader(Protocol):
    """Reads the images of one container, open until `close`. OSError is the caller's to word."""

    has_sizes: bool  # whether `size` is what an image must have, not just about that

    def read(self, name: bytes, offset: int, size: int) -> bytes:
        """The bytes of one image."""

    def close(self) -> None:
        """Close what is open."""


class FolderReader:
    """Images that are files of their own below a folder; their names are paths there."""

    has_sizes = True

    def __init__(self, path: Path) -> None:
        self._prefix = os.fsencode(path) + b"/"

    def read(self, name: bytes, offset: int, size: int) -> bytes:
        """The whole file."""
        with io.FileIO(self._prefix + name) as file:
            return file.readall()

    def close(self) -> None:
        """Nothing is open."""


class TarReader:
    """Images that lie in a tar; `extents` places those that it stores with holes, by offset."""

    has_sizes = True

    def __init__(self, path: Path, extents: dict[int, Extents]) -> None:
        self._descriptor, self._extents = os.open(path, os.O_RDONLY | os.O_CLOEXEC), extents

    def read(self, name: bytes, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`, or, with holes between them, its extents."""
        extents = self._extents.get(offset)
        if extents is None:
            return self._read_at(offset, size)
        content = bytearray(size)
        for start, place, count in extents:
            piece = self._read_at(place, count)
            if len(piece) < count:
                return bytes(content[:start]) + piece
            content[start : start + count] = piece
        return bytes(content)

    def _read_at(self, offset: int, size: int) -> bytes:
        """As pread, which may return less than is there, on network file systems above all."""
        return read_fully(lambda place, count: os.pread(self._descriptor, count, place), offset, size)

    def close(self) -> None:
        """Close the tar."""
        os.close(self._descriptor)


class RangedReader(TarReader):
    """Images of a tar that is elsewhere, on a server with ranges."""

    def __init__(self, file: RangedFile, extents: dict[int, Extents]) -> None:
        self._file, self._extents = file, extents

    def _read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        try:
            return self._file.read(size)
        except AlexnetError as error:
            raise SourceError(str(error)) from error

    def close(self) -> None:
        """Nothing is open between two reads."""
        self._file.close()


class StreamReader(TarReader):
    """Images of a tar that can only be read forward; one behind what was read costs a reading from the beginning."""

    def __init__(self, path: Path, extents: dict[int, Extents]) -> None:
        self._path, self._extents, self._stack = path, extents, ExitStack()
        self._file = self._stack.enter_context(opened_forward(path))

    def _read_at(self, offset: int, size: int) -> bytes:
        if offset < self._file.place:
            self._stack.close()
            self._file = self._stack.enter_context(opened_forward(self._path))
        return self._file.read_at(offset, size)

    def close(self) -> None:
        """Close the file, or leave the connection."""
        self._stack.close()


class SourceReader:
    """Reads images by location; keeps up to MAX_OPEN of the `containers` that it has met open.

    They are tars or directories, or, where there is an `image_column`, parquet files, of which one is open with a few rows
    in memory: read in the order of their places, no row is decoded twice.
    """

    def __init__(self, containers: Sequence[Path], sparse: Sparse | None = None, image_column: str = "") -> None:
        self._containers, self._image_column = containers, image_column
        self._max_open = 1 if image_column else MAX_OPEN
        self._sparse: Sparse = sparse or {}
        self._open: OrderedDict[int, ContainerReader] = OrderedDict()

    def read(self, container: int, name: bytes, offset: int, size: int) -> bytes:
        """The `size` bytes of one image. Raises SourceError where the source has changed under us."""
        path = self._containers[container]
        shown = name.decode("utf-8", "surrogateescape")
        try:
            reader = self._reader(container)
            content = reader.read(name, offset, size)
        except OSError as error:
            raise SourceError(
                f"{path}: {shown} cannot be read ({error.strerror}); check the source and its disk, then start again: "
                "it goes on from here"
            ) from error
        if len(content) != size and reader.has_sizes:
            raise SourceError(
                f"{path}: {shown} has {len(content)} bytes, {size} when the source was indexed; "
                "the source changed: start again with the same files, or in another --out"
            )
        return content

    def _reader(self, container: int) -> ContainerReader:
        if container not in self._open:
            if len(self._open) >= self._max_open:
                self._open.popitem(last=False)[1].close()
            self._open[container] = self._opened(container)
        self._open.move_to_end(container)
        return self._open[container]

    def _opened(self, container: int) -> ContainerReader:
        path = self._containers[container]
        if self._image_column:
            from alexnet_prep.parquetfile import ParquetReader  # an optional library

            return ParquetReader(path, self._image_column)
        if path.is_dir():
            return FolderReader(path)
        extents = {place: pieces for (number, place), pieces in self._sparse.items() if number == container}
        if is_address(path):
            file = _ranged(path)
            return StreamReader(path, extents) if file is None else RangedReader(file, extents)
        return StreamReader(path, extents) if begins_compressed(path) else TarReader(path, extents)

    def close(self) -> None:
        """Close every container."""
        for reader in self._open.values():
            reader.close()
        self._open.clear()


def _ranged(path: Path) -> RangedFile | None:
    """A plain tar at an address; None of one that is compressed, or whose server knows no ranges."""
    try:
        file = open_ranged(str(address_of(path)))
        if not compression_of(file.read(MAGIC_BYTES)):
            return file
        file.close()
    except NoRangesError:
        return None
    except AlexnetError as error:
        raise SourceError(str(error)) from error
    return None
