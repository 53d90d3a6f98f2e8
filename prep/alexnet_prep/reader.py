"""Reads single images of a source by their place, for the workers."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from alexnet_prep.archive import Extents, Sparse
from alexnet_prep.errors import SourceError


class SourceReader:
    """Reads images by location; keeps the archives it has met open. `containers` are tars or directories."""

    def __init__(self, containers: Sequence[Path], sparse: Sparse | None = None) -> None:
        self._containers = containers
        self._sparse: Sparse = sparse or {}
        self._descriptors: dict[int, int | None] = {}  # None: a directory

    def read(self, container: int, name: bytes, offset: int, size: int) -> bytes:
        """The `size` bytes of one image. Raises SourceError where the source has changed under us."""
        path = self._containers[container]
        shown = name.decode("utf-8", "surrogateescape")
        try:
            descriptor = self._descriptor(container)
            if descriptor is None:
                content = _read_file(os.fsencode(path) + b"/" + name)
            else:
                content = _read_extents(descriptor, self._sparse.get((container, offset)), offset, size)
        except OSError as error:
            raise SourceError(
                f"{path}: {shown} cannot be read ({error.strerror}); check the source and its disk, then start again: "
                "it goes on from here"
            ) from error
        if len(content) != size:
            raise SourceError(
                f"{path}: {shown} has {len(content)} bytes, {size} when the source was indexed; "
                "the source changed: start again with the same files, or in another --out"
            )
        return content

    def _descriptor(self, container: int) -> int | None:
        if container not in self._descriptors:
            path = self._containers[container]
            is_directory = path.is_dir()
            self._descriptors[container] = None if is_directory else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[container]

    def close(self) -> None:
        """Close every archive."""
        for descriptor in self._descriptors.values():
            if descriptor is not None:
                os.close(descriptor)
        self._descriptors.clear()


def _read_file(path: bytes) -> bytes:
    with io.FileIO(path) as file:
        return file.readall()


def _read_extents(descriptor: int, extents: Extents | None, offset: int, size: int) -> bytes:
    """The content of a member: `size` bytes at `offset`, or, with holes between them, its `extents`."""
    if extents is None:
        return _read_at(descriptor, offset, size)
    content = bytearray(size)
    for start, place, count in extents:
        piece = _read_at(descriptor, place, count)
        if len(piece) < count:
            return bytes(content[:start]) + piece
        content[start : start + count] = piece
    return bytes(content)


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    """As pread, which may return less than is there, on network file systems above all."""
    content = os.pread(descriptor, size, offset)
    while 0 < len(content) < size:
        more = os.pread(descriptor, size - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content
