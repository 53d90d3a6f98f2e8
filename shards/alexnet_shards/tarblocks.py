"""The headers in a stretch of a tar, found without what lies before it, for tars that are read once in any pieces."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from alexnet_shards.errors import FormatError
from alexnet_shards.tarheader import (
    BLOCK,
    EXTENSION_TYPES,
    GNU_LONG_NAME,
    MAX_EXTENSION_BYTES,
    PAX_HEADER,
    REGULAR_TYPES,
    SUN_PAX_HEADER,
    Extension,
    Header,
    has_checksum,
    long_name,
    parse_header,
    parse_pax,
)
from alexnet_shards.tarsparse import ReadAt

ZERO_BLOCK = bytes(BLOCK)
TAR_ENDING = ".tar"

Note = Callable[[int, bytes], None]  # is told of bytes of the tar that are no file's content, and where they lie


@dataclass(frozen=True, slots=True)
class StretchFile:
    """A file of a tar: its name as stored, and where its content lies in the walked file."""

    name: str
    offset: int
    size: int


def files_between(read_at: ReadAt, start: int, end: int, note: Note) -> Iterator[StretchFile]:
    """Yield the files whose headers begin in bytes [start, end) of a tar, those of tars inside it too.

    Neither has to be the border of a member: what is no header is passed over block by block, so that a stretch may begin
    inside a picture. `note` is told of every header, extension and zero block. This finds what there is to read and
    decides nothing: which files the archive has is what `walk_tar` says. `read_at` may be asked for bytes beyond `end`.
    """
    position, extension = start, Extension()
    while position < end:
        block = read_at(position, BLOCK)
        if len(block) < BLOCK:
            return
        header = None if block == ZERO_BLOCK else _header(block)
        if header is None:
            if block == ZERO_BLOCK:
                note(position, block)
            position += BLOCK
            continue
        note(position, block)
        data = position + BLOCK
        position = data + -(-header.size // BLOCK) * BLOCK
        if header.type in EXTENSION_TYPES:
            if header.size <= MAX_EXTENSION_BYTES:
                content = read_at(data, header.size)
                note(data, content)
                _extend(header.type, content, extension)
            continue
        name, extension = extension.name or header.name, Extension()
        if header.type not in REGULAR_TYPES:
            continue
        if name.endswith(TAR_ENDING):
            position = data  # its members are headers like these
        else:
            yield StretchFile(name, data, header.size)


def _header(block: bytes) -> Header | None:
    try:
        return parse_header(block, "") if has_checksum(block) else None
    except FormatError:
        return None


def _extend(kind: bytes, content: bytes, extension: Extension) -> None:
    try:
        if kind == GNU_LONG_NAME:
            extension.name = long_name(content, "")
        elif kind in (PAX_HEADER, SUN_PAX_HEADER):
            parse_pax(content, extension, "")
    except FormatError:
        return  # the walk over the whole archive says what is wrong
