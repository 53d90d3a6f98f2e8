"""Plain tar archives, read by header without tarfile's cost, and written so that equal members give equal bytes."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

from alexnet_shards.errors import FormatError
from alexnet_shards.tarheader import BLOCK as BLOCK
from alexnet_shards.tarheader import (
    DIRECTORY,
    EXTENSION_TYPES,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    HARD_LINK,
    MAX_EXTENSION_BYTES,
    NO_DATA_TYPES,
    PAX_GLOBAL,
    REGULAR_TYPES,
    SYMBOLIC_LINK,
    Extension,
    has_checksum,
    long_name,
    parse_header,
    parse_pax,
)
from alexnet_shards.tarlinks import Link, LinkResolver
from alexnet_shards.tarsparse import ReadAt, place_pairs, sparse_of

END_OF_TAR = bytes(2 * BLOCK)
ZEROS = bytes(1 << 20)

FILE, FOLDER, DANGLING, FOLDER_LINK, TRAILING = (
    "file",
    "folder",
    "link that leads nowhere",
    "link to a folder",
    "bytes behind the end mark",
)
KINDS = {
    **dict.fromkeys(REGULAR_TYPES, FILE),
    b"S": FILE,
    HARD_LINK: "hard link",
    SYMBOLIC_LINK: "symbolic link",
    b"3": "device",
    b"4": "device",
    DIRECTORY: FOLDER,
    b"6": "pipe",
}

Extent = tuple[int, int, int]  # (where in the full file, where in the walked file, bytes)


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member: its name as stored, where its data starts in the walked file, and the data's length in bytes.

    A link that `is_file` has the place and the length of the file it points to. `kind` says what else there is: folder,
    device, a link that leads nowhere (its target is `link`), and the bytes behind the end mark that are no archive.
    `extents` are the stored pieces of a file with holes, whose `size` is its full one; empty where `offset` and `size`
    name the whole content.
    """

    name: str
    offset: int
    size: int
    is_file: bool
    kind: str = FILE
    link: str = ""
    extents: tuple[Extent, ...] = ()


def walk_tar(read_at: ReadAt, start: int, end: int, where: str) -> Iterator[TarMember]:
    """Yield the members of the tar that lies in bytes [start, end) of a file, in their order, links at the end.

    `read_at(offset, size)` reads the file; only headers are read. GNU and pax long names and sparse files are understood;
    archives joined end to end are read on. Whatever is no file is yielded too, with its kind: nothing is passed over.
    Raises FormatError with `where` and the offset for a damaged header, and for a tar that ends before its end mark: a
    cut download must never pass for a smaller data set.
    """
    links = LinkResolver()
    for member in _walk_once(read_at, start, end, where):
        if member.kind in (KINDS[HARD_LINK], KINDS[SYMBOLIC_LINK]):
            links.add(Link(member.name, member.link, member.kind == KINDS[HARD_LINK], member.offset), where)
        else:
            yield member
    if links:
        targets = links.find((member.name, member) for member in _walk_once(read_at, start, end, where))
        for link, target in targets:
            if target is not None and target.is_file:
                kind = KINDS[HARD_LINK] if link.is_hard else KINDS[SYMBOLIC_LINK]
                yield replace(target, name=link.name, kind=kind, link=link.target)
            else:
                kind = DANGLING if target is None or target.kind != FOLDER else FOLDER_LINK
                yield TarMember(link.name, link.offset, 0, False, kind, link.target)


def read_member(read_at: ReadAt, member: TarMember) -> bytes:
    """The content of a file as it expands, holes as zeros; the caller bounds `member.size` first.

    Raises FormatError where the walked file has become shorter.
    """
    extents = member.extents or ((0, member.offset, member.size),)
    content = bytearray(member.size)
    for offset, place, count in extents:
        piece = read_at(place, count)
        if len(piece) != count:
            raise FormatError(f"{member.name}: ends at byte {place + len(piece)}; the file shrinks while it is read")
        content[offset : offset + count] = piece
    return bytes(content)


def _walk_once(read_at: ReadAt, start: int, end: int, where: str) -> Iterator[TarMember]:
    """As `walk_tar`, with each link at its own place, as it is stored."""
    position, extension = start, Extension()
    while True:
        block = read_at(position, BLOCK) if position + BLOCK <= end else b""
        if len(block) < BLOCK:
            raise FormatError(
                f"{where}: the tar ends at byte {position - start} without its end mark; "
                "expected two zero blocks: the file is truncated, fetch or make it again"
            )
        if block == ZEROS[:BLOCK]:
            position = _skip_zeros(read_at, position, end)
            if position < end and not has_checksum(read_at(position, BLOCK)):
                yield TarMember("", position, end - position, False, TRAILING)
                return
            if position >= end:
                return
            continue
        place = f"{where}: byte {position - start}"
        if block[156:157] in EXTENSION_TYPES:
            position = _extend(read_at, (position, end), block, extension, place)
        else:
            member, position = _member(read_at, (position, end), block, extension, place)
            extension = Extension()
            yield member


def _skip_zeros(read_at: ReadAt, position: int, end: int) -> int:
    """The first block from `position` on that is not all zeros, or `end`; what is joined to an archive lies there."""
    while position < end:
        piece = read_at(position, min(len(ZEROS), end - position))
        if not piece:
            return end
        if piece != ZEROS[: len(piece)]:
            return position + (len(piece) - len(piece.lstrip(b"\0"))) // BLOCK * BLOCK
        position += len(piece)
    return end


def _extend(read_at: ReadAt, span: tuple[int, int], block: bytes, extension: Extension, where: str) -> int:
    """Take an extra header into `extension`; returns where the next header is."""
    header, data = parse_header(block, where), span[0] + BLOCK
    if header.size > MAX_EXTENSION_BYTES:
        raise FormatError(f"{where}: a name header of {header.size} bytes; the tar is damaged, fetch or make it again")
    _check_room(header.name, data, header.size, span[1], where)
    content = read_at(data, header.size)
    if header.type == GNU_LONG_NAME:
        extension.name = long_name(content, where)
    elif header.type == GNU_LONG_LINK:
        extension.link = long_name(content, where)
    else:
        found = Extension() if header.type == PAX_GLOBAL else extension
        parse_pax(content, found, where)
        if found is not extension and found != Extension():
            raise FormatError(f"{where}: a pax header gives all members one name or size; make the tar again")
    return _padded(data + header.size, data)


def _member(
    read_at: ReadAt, span: tuple[int, int], block: bytes, extension: Extension, where: str
) -> tuple[TarMember, int]:
    """The member with this header block, and where the next header is."""
    header, data = parse_header(block, where), span[0] + BLOCK
    size = header.size if extension.size is None or header.type in NO_DATA_TYPES else extension.size
    name = extension.name or header.name
    kind = KINDS.get(header.type) or f"entry of type {header.type.decode('latin-1')!r}"
    sparse = sparse_of(block, data, extension, read_at, where) if kind == FILE else None
    if sparse is None:
        _check_room(name, data, size, span[1], where)
        member = TarMember(name, data, size, kind == FILE, kind, extension.link or header.link)
        return member, _padded(data + size, data)
    data += sparse.outside
    _check_room(name, data, size, span[1], where)
    if sum(count for _, count in sparse.pairs) + sparse.inside > size:
        raise FormatError(f"{where}: a sparse map of more bytes than are stored; fetch or make the file again")
    name, extents = sparse.name or name, place_pairs(sparse.pairs or ((0, 0),), data + sparse.inside)
    offset, whole = extents[0][1], extents[0][2] == sparse.size
    return TarMember(name, offset, sparse.size, True, FILE, "", () if whole else extents), _padded(data + size, data)


def _check_room(name: str, data: int, size: int, end: int, where: str) -> None:
    if data + size > end:
        raise FormatError(
            f"{where}: truncated: member {name!r} needs {size} bytes, {max(0, end - data)} are left; "
            "fetch or make it again"
        )


def _padded(end: int, data: int) -> int:
    """Where the block ends that holds byte `end` of a member whose data begin at `data`."""
    return data + -(-(end - data) // BLOCK) * BLOCK


def member_bytes(name: str, content: bytes) -> bytes:
    """Header, content and padding of one member: mtime, uid and gid are zero, so equal members are equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return b"".join((header, content, bytes(-len(content) % BLOCK)))
