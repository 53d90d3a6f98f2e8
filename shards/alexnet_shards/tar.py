"""Plain tar archives, read by header without tarfile's cost, and written so that equal members give equal bytes."""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from alexnet_shards.errors import FormatError

BLOCK = 512
END_OF_TAR = bytes(2 * BLOCK)
REGULAR_TYPES = (b"0", b"\0", b"7")
LINK_TYPES = (b"1", b"2")
GNU_LONG_NAME, PAX_HEADER, PAX_GLOBAL, GNU_LONG_LINK = b"L", b"x", b"g", b"K"
MAX_EXTENSION_BYTES = 1 << 20

ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member: its name as stored, where its data starts in the walked file, and the data's length in bytes."""

    name: str
    offset: int
    size: int
    is_file: bool


def walk_tar(read_at: ReadAt, start: int, end: int, where: str) -> Iterator[TarMember]:
    """Yield the members of the tar that lies in bytes [start, end) of a file, in their order.

    `read_at(offset, size)` reads the file; only headers are read. GNU and pax long names are understood. Raises
    FormatError with `where` and the offset for a damaged header, and for a tar that ends before its end mark: a cut
    download must never pass for a smaller data set.
    """
    position, name, size = start, "", -1
    while True:
        header = read_at(position, BLOCK) if position + BLOCK <= end else b""
        if len(header) < BLOCK:
            raise FormatError(
                f"{where}: the tar ends at byte {position - start} without its end mark; "
                "expected two zero blocks: the file is truncated, fetch or make it again"
            )
        if header == bytes(BLOCK):
            return
        info = _parse_header(header, f"{where}: byte {position - start}")
        data, length = position + BLOCK, size if size >= 0 else info.size
        if data + length > end:
            raise FormatError(
                f"{where}: truncated: member {(name or info.name)!r} needs {length} bytes, "
                f"{max(0, end - data)} are left; fetch or make it again"
            )
        position = data + -(-length // BLOCK) * BLOCK
        if info.type in (GNU_LONG_NAME, PAX_HEADER):
            if length > MAX_EXTENSION_BYTES:
                raise FormatError(f"{where}: byte {data - start}: a name header of {length} bytes; the tar is damaged")
            extension = read_at(data, length)
            if info.type == GNU_LONG_NAME:
                name = extension.rstrip(b"\0").decode("utf-8", "surrogateescape")
            else:
                name, size = _parse_pax(extension, name, size)
        elif info.type not in (PAX_GLOBAL, GNU_LONG_LINK):
            yield TarMember(name or info.name, data, length, info.type in REGULAR_TYPES)
            name, size = "", -1


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    size: int
    type: bytes


def _parse_header(header: bytes, where: str) -> _Header:
    expected = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    try:
        if int(header[148:156].strip(b" \0") or b"0", 8) != expected:
            raise FormatError(f"{where}: damaged tar header (its checksum is wrong); fetch or make the file again")
        size = _parse_size(header[124:136])
        if size < 0:
            raise ValueError(size)
    except ValueError as error:
        raise FormatError(f"{where}: not a tar header; the file is damaged or not a plain tar") from error
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":  # POSIX; GNU tar ("ustar  ") keeps other things in the prefix field
        prefix = header[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    kind = header[156:157]
    carries_data = kind not in LINK_TYPES and kind != b"5"
    return _Header(name.decode("utf-8", "surrogateescape"), size if carries_data else 0, kind)


def _parse_size(field: bytes) -> int:
    if field[0] & 0x80:  # GNU base-256, for sizes of 8 GiB and more
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _parse_pax(extension: bytes, name: str, size: int) -> tuple[str, int]:
    """Name and size as a pax header's `length key=value` records set them; what is not set stays."""
    while extension:
        length_text, _, rest = extension.partition(b" ")
        if not length_text.isdigit() or not 0 < int(length_text) <= len(extension):
            break
        record, extension = rest[: int(length_text) - len(length_text) - 2], extension[int(length_text) :]
        key, _, value = record.partition(b"=")
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape")
        elif key == b"size" and value.isdigit():
            size = int(value)
    return name, size


def member_bytes(name: str, content: bytes) -> bytes:
    """Header, content and padding of one member: mtime, uid and gid are zero, so equal members are equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return b"".join((header, content, bytes(-len(content) % BLOCK)))
