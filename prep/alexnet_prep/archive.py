"""Members of a source, as compact arrays: where each image lies, in which file, under which name."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

import numpy as np
import numpy.typing as npt

from alexnet_prep.errors import SourceError
from alexnet_shards.errors import FormatError
from alexnet_shards.tar import TarMember, walk_tar

# `container` counts the source's files (tars, or the class directories of a folder source) from 0; `offset` and `size`
# are the image's bytes in it (offset 0 for a file of its own); `group` counts the class tars or directories.
LOCATION_DTYPE = np.dtype([("container", "<u4"), ("group", "<i4"), ("offset", "<u8"), ("size", "<u4")])
Locations = npt.NDArray[np.void]
Names = npt.NDArray[np.bytes_]


@dataclass(frozen=True, kw_only=True)
class Members:
    """The images of one or more containers: (N,) file names with suffix and (N,) LOCATION_DTYPE.

    `groups` names the class tars or directories that `group` counts; `ignored` the dotfiles that are no members
    (rsync leaves such behind).
    """

    names: Names
    locations: Locations
    groups: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


Tick = Callable[[int], None]


def read_flat_tar(path: Path, container: int, tick: Tick) -> Members:
    """Members of a tar of images (val, test, patches), whatever directory prefix they have.

    Raises SourceError where the tar is missing, damaged, truncated or holds no image.
    """
    with _open_tar(path) as file:
        members = _read_images(_walk(file, 0, file.size, str(path)), container, -1)
    if not len(members.names):
        raise SourceError(f"{path}: holds no image; expected an official archive, fetch it again")
    tick(len(members.names))
    return members


def read_nested_tar(path: Path, container: int, tick: Tick) -> Members:
    """Members of the tars inside a tar (train), read in place; the group of an image is its inner tar's stem.

    Raises SourceError where a tar is missing, damaged, truncated, named twice, or holds no image.
    """
    groups: list[str] = []
    parts: list[Members] = []
    with _open_tar(path) as file:
        for inner in _walk(file, 0, file.size, str(path)):
            name = PurePosixPath(inner.name).name
            if name.startswith(".") or not name.endswith(".tar"):
                _refuse_unless_dotfile(path, name)
                continue
            group = name.removesuffix(".tar")
            if group in groups:
                raise SourceError(f"{path}: holds {name} twice; expected one tar a class, fetch the archive again")
            inner_members = _walk(file, inner.offset, inner.offset + inner.size, f"{path}: {name}")
            parts.append(_read_images(inner_members, container, len(groups)))
            groups.append(group)
            tick(len(parts[-1].names))
    if not sum(len(part.names) for part in parts):
        raise SourceError(f"{path}: holds no image; expected an official archive of class tars, fetch it again")
    return merge_members(parts, tuple(groups))


def _refuse_unless_dotfile(path: Path, name: str) -> None:
    """Dotfiles between the class tars are ignored; anything else there means that this is another archive."""
    if not name.startswith("."):
        raise SourceError(f"{path}: holds {name!r}; expected nothing but class tars named as nXXXXXXXX.tar")


def read_directory(path: Path, container: int, group: int) -> Members:
    """Images of one directory, a file each, in name order. Raises SourceError where it cannot be read."""
    try:
        with os.scandir(path) as entries:
            files = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the directory") from error
    return _read_images((TarMember(name, 0, size, True) for name, size in files), container, group)


def merge_members(parts: Sequence[Members], groups: tuple[str, ...]) -> Members:
    """One Members of several whose group numbers already count `groups`."""
    return Members(
        names=np.concatenate([part.names for part in parts]),
        locations=np.concatenate([part.locations for part in parts]),
        groups=groups,
        ignored=tuple(name for part in parts for name in part.ignored),
    )


def _read_images(found: Iterable[TarMember], container: int, group: int) -> Members:
    names: list[bytes] = []
    rows: list[tuple[int, int, int, int]] = []
    ignored: list[str] = []
    for member in found:
        name = PurePosixPath(member.name).name
        if name.startswith("."):
            ignored.append(name)
            continue
        names.append(os.fsencode(name))
        rows.append((container, group, member.offset, member.size))
    return Members(
        names=np.array(names, dtype=np.bytes_), locations=np.array(rows, LOCATION_DTYPE), ignored=tuple(ignored)
    )


def _walk(file: "TarFile", start: int, end: int, where: str) -> Iterator[TarMember]:
    try:
        for member in walk_tar(file.read_at, start, end, where):
            if member.is_file:
                yield member
    except FormatError as error:
        raise SourceError(str(error)) from error


@dataclass(frozen=True)
class TarFile:
    """An open file that is read by offset."""

    path: Path
    descriptor: int
    size: int

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end of the file."""
        return os.pread(self.descriptor, size, offset)

    def __enter__(self) -> "TarFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)


def _open_tar(path: Path) -> TarFile:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened ({error.strerror}); expected an official archive") from error
    file = TarFile(path, descriptor, os.fstat(descriptor).st_size)
    if file.read_at(0, 2) == b"\x1f\x8b":
        os.close(descriptor)
        raise SourceError(
            f"{path}: is gzip-compressed; expected a plain tar: gunzip it first, members are read in place"
        )
    return file


class SourceReader:
    """Reads images by location; keeps the containers it has met open. `containers` are tars or directories."""

    def __init__(self, containers: Sequence[Path]) -> None:
        self._containers = containers
        self._descriptors: dict[int, int] = {}

    def read(self, container: int, name: bytes, offset: int, size: int) -> bytes:
        """The `size` bytes of one image. Raises SourceError where the source has changed under us."""
        path = self._containers[container]
        try:
            if path.is_dir():
                content = (path / os.fsdecode(name)).read_bytes()
            else:
                content = os.pread(self._descriptor(container), size, offset)
        except OSError as error:
            raise SourceError(
                f"{path}: {os.fsdecode(name)} cannot be read ({error.strerror}); check the source"
            ) from error
        if len(content) != size:
            raise SourceError(
                f"{path}: {os.fsdecode(name)} has {len(content)} bytes, {size} when the source was indexed; "
                "the source changed: start again with the same files, or in another --out"
            )
        return content

    def _descriptor(self, container: int) -> int:
        if container not in self._descriptors:
            self._descriptors[container] = os.open(self._containers[container], os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[container]

    def close(self) -> None:
        """Close every container."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
