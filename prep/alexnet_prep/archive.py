"""Members of a source, as compact arrays: where each image lies, in which file, under which name."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from alexnet_prep import entries
from alexnet_prep.entries import HEAD_BYTES, Account, Ledger, is_dotfile, is_picture, is_rubbish
from alexnet_prep.errors import SourceError
from alexnet_prep.forward import ArchiveOpener, OpenArchive, is_address
from alexnet_prep.names import shortened
from alexnet_prep.tree import FILE, walk_tree
from alexnet_shards.errors import FormatError
from alexnet_shards.tar import DANGLING, FOLDER, TRAILING, TarMember, walk_tar

# `container` counts the source's files (tars, or the class directories of a folder source) from 0; `offset` and `size`
# are the image's bytes in it (offset 0 for a file of its own); `group` counts the class tars or directories. A size over
# MAX_SIZE, which is never read, stands as MAX_SIZE.
LOCATION_DTYPE = np.dtype([("container", "<u4"), ("group", "<i4"), ("offset", "<u8"), ("size", "<u4")])
MAX_SIZE = 2**32 - 1
Locations = npt.NDArray[np.void]
Names = npt.NDArray[np.bytes_]
# (where in the full file, where in the container, bytes): the stored pieces of a file with holes, by (container, offset).
Extents = Sequence[tuple[int, int, int]]
Sparse = Mapping[tuple[int, int], Extents]
TAR_KINDS = {FOLDER: entries.DIRECTORY, DANGLING: entries.NOWHERE, TRAILING: entries.TRAILING}


@dataclass(frozen=True, kw_only=True)
class Members:
    """The images of one or more containers: (N,) file names with suffix and (N,) LOCATION_DTYPE.

    Names are below the class folder, base names in archives. `groups` names the class tars or directories that `group`
    counts; `account` is the sum over all entries of the containers; `sparse` places images that are stored with holes.
    """

    names: Names
    locations: Locations
    account: Account = field(default_factory=Account)
    groups: tuple[str, ...] = ()
    sparse: Sparse = field(default_factory=dict)


Tick = Callable[[int], None]  # is told of so many members more


def read_flat_tar(path: Path, container: int, tick: Tick, opener: ArchiveOpener | None = None) -> Members:
    """Members of a tar of images (val, test, patches), whatever directory prefix they have.

    `opener` opens it where it is not read in place. Raises SourceError where the tar is missing, damaged, truncated or
    holds no image.
    """
    with (opener or open_tar)(path) as file:
        found = _walk(file, 0, file.size, str(path))
        members = _read_images(found, (container, -1), Ledger(), file.read_at)
    if not len(members.names):
        raise SourceError(f"{path}: holds no image; expected an official archive, fetch it again")
    tick(len(members.names))
    return members


def read_nested_tar(path: Path, container: int, tick: Tick, opener: ArchiveOpener | None = None) -> Members:
    """Members of the tars inside a tar (train), read in place; the group of an image is its inner tar's stem.

    `opener` opens the outer one where it is not read in place. Raises SourceError where a tar is missing, damaged,
    truncated, named twice, or holds no image.
    """
    groups: list[str] = []
    parts: list[Members] = []
    ledger = Ledger()
    with (opener or open_tar)(path) as file:
        for inner in _walk(file, 0, file.size, str(path)):
            ledger.found()
            if not _is_class_tar(inner, path, ledger):
                continue
            name = base_name(inner.name)
            group = name.removesuffix(".tar")
            if group in groups:
                raise SourceError(f"{path}: holds {name} twice; expected one tar a class, fetch the archive again")
            inner_members = _walk(file, inner.offset, inner.offset + inner.size, f"{path}: {name}")
            parts.append(_read_images(inner_members, (container, len(groups)), Ledger(), file.read_at))
            groups.append(group)
            tick(len(parts[-1].names))
    if not sum(len(part.names) for part in parts):
        raise SourceError(f"{path}: holds no image; expected an official archive of class tars, fetch it again")
    return merge_members(parts, tuple(groups), ledger.account())


def read_class_tar(path: Path, container: int, group: int, opener: ArchiveOpener | None = None) -> Members:
    """Members of one class tar that is a file of its own; raises SourceError where it is damaged or truncated."""
    with (opener or open_tar)(path) as file:
        return _read_images(_walk(file, 0, file.size, str(path)), (container, group), Ledger(), file.read_at)


def _is_class_tar(inner: TarMember, path: Path, ledger: Ledger) -> bool:
    """Whether a member of the training archive is a class tar; what else may stand there is ignored."""
    if not inner.is_file:
        ledger.ignore(TAR_KINDS.get(inner.kind, inner.kind), shown_member(inner, path))
        return False
    if is_dotfile(inner.name):
        ledger.ignore(entries.DOTFILE, base_name(inner.name))
        return False
    if not inner.name.endswith(".tar"):
        raise SourceError(
            f"{path}: holds {base_name(inner.name)!r}; expected nothing but class tars named as nXXXXXXXX.tar"
        )
    if inner.extents:
        raise SourceError(f"{path}: holds {inner.name!r} with holes; expected plain class tars: make the archive again")
    ledger.ignore(entries.CLASS_TAR, inner.name)
    return True


def read_directory(path: Path, container: int, group: int) -> Members:
    """Images of one directory, at any depth, a file each, in name order; names are paths below it.

    Raises SourceError where a part of it cannot be read.
    """
    ledger = Ledger()
    names: list[bytes] = []
    rows: list[tuple[int, int, int, int]] = []
    for entry in walk_tree(path):
        ledger.found()
        kind = entry.kind if entry.kind != FILE else _file_kind(entry.path, partial(file_head, path, entry.path))
        if kind == FILE:
            names.append(utf8(entry.path))
            rows.append((container, group, 0, min(entry.size, MAX_SIZE)))
        else:
            ledger.ignore(passed_over(entry.path) or kind, f"{utf8_name(path)}/{entry.path}")
    return Members(names=_name_array(names), locations=np.array(rows, LOCATION_DTYPE), account=ledger.account())


def merge_members(parts: Sequence[Members], groups: tuple[str, ...], account: Account | None = None) -> Members:
    """One Members of several whose group numbers already count `groups`; `account` is of what lies between them."""
    return Members(
        names=np.concatenate([_name_array([]), *(part.names for part in parts)]),
        locations=np.concatenate([np.empty(0, LOCATION_DTYPE), *(part.locations for part in parts)]),
        account=sum((part.account for part in parts), account or Account()),
        groups=groups,
        sparse={place: extents for part in parts for place, extents in part.sparse.items()},
    )


def file_head(directory: Path, name: str) -> bytes:
    """The first HEAD_BYTES of a file below `directory`; raises SourceError where it cannot be read."""
    try:
        with io.FileIO(os.fsencode(directory) + b"/" + utf8(name)) as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise SourceError(
            f"{directory}/{name}: cannot be read ({error.strerror}); check its permissions and its disk, or remove it"
        ) from error


def utf8(name: str) -> bytes:
    """The bytes of a name that was read as UTF-8, whatever they are and whatever the locale is."""
    return name.encode("utf-8", "surrogateescape")


def utf8_name(path: Path) -> str:
    """The name of a file or folder read as UTF-8, whatever the locale is."""
    return os.fsencode(path.name).decode("utf-8", "surrogateescape")


def _read_images(
    found: Iterable[TarMember], place: tuple[int, int], ledger: Ledger, read_at: Callable[[int, int], bytes]
) -> Members:
    """Images among the members of one tar; `place` is (container, group)."""
    names: list[bytes] = []
    rows: list[tuple[int, int, int, int]] = []
    sparse: dict[tuple[int, int], Extents] = {}
    for member in found:
        ledger.found()
        if not member.is_file:
            ledger.ignore(TAR_KINDS.get(member.kind, member.kind), shown_member(member, None))
            continue
        kind = _file_kind(member.name, partial(_tar_head, member, read_at))
        if kind != FILE:
            ledger.ignore(kind, base_name(member.name))
            continue
        names.append(shortened(utf8(base_name(member.name))))
        rows.append((*place, member.offset, min(member.size, MAX_SIZE)))
        if member.extents:
            sparse[place[0], member.offset] = member.extents
    return Members(
        names=_name_array(names), locations=np.array(rows, LOCATION_DTYPE), account=ledger.account(), sparse=sparse
    )


def _file_kind(path: str, head: Callable[[], bytes]) -> str:
    """FILE for an image, else what a file is that is none."""
    return passed_over(path) or (FILE if is_picture(path, head) else entries.SIDECAR)


def passed_over(path: str) -> str:
    """What anything at `path` is whose name alone says that it is no part of the set, "" for the rest."""
    return entries.DOTFILE if is_dotfile(path) else entries.RUBBISH if is_rubbish(path) else ""


def _tar_head(member: TarMember, read_at: Callable[[int, int], bytes]) -> bytes:
    return b"" if member.extents else read_at(member.offset, min(member.size, HEAD_BYTES))


def base_name(path: str) -> str:
    """The last name of a path."""
    return path.rstrip("/").rpartition("/")[2]


def shown_member(member: TarMember, path: Path | None) -> str:
    """How a member is called in the account of an archive, with what it links to."""
    if member.kind == TRAILING:
        return f"{path.name}: {member.size:,} bytes" if path is not None else f"{member.size:,} bytes"
    return f"{base_name(member.name)} -> {member.link}" if member.link else base_name(member.name)


def _name_array(names: Sequence[bytes]) -> Names:
    return np.array(names, dtype=np.bytes_) if names else np.empty(0, "S1")


def walk_members(file: OpenArchive) -> Iterator[TarMember]:
    """Every member of an open tar; raises SourceError where it is damaged, truncated or cannot be read."""
    return _walk(file, 0, file.size, str(file.path))


def _walk(file: OpenArchive, start: int, end: int, where: str) -> Iterator[TarMember]:
    try:
        yield from walk_tar(file.read_at, start, end, where)
    except FormatError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise SourceError(f"{where}: cannot be read ({error.strerror}); check its disk, then start again") from error


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


def open_tar(path: Path) -> TarFile:
    """Open a plain tar; raises SourceError where there is none or it is compressed."""
    if is_address(path):
        raise SourceError(f"{path}: what is elsewhere can only be read forward: use --read once")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened ({error.strerror}); expected an official archive") from error
    try:
        file = TarFile(path, descriptor, os.fstat(descriptor).st_size)
        start = file.read_at(0, 2)
    except OSError as error:
        os.close(descriptor)
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check its disk, then start again") from error
    if start == b"\x1f\x8b":
        os.close(descriptor)
        raise SourceError(
            f"{path}: is gzip-compressed; expected a plain tar to be read in place: gunzip it, or use --read once"
        )
    return file
