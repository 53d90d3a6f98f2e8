"""One header of a tar, and the extensions that come before or in it: long names, pax records, sparse maps."""

import re
from dataclasses import dataclass, field

from alexnet_shards.errors import FormatError

BLOCK = 512
MAX_NAME_BYTES = 4096  # as long as a path may be (PATH_MAX)
MAX_EXTENSION_BYTES = 1 << 20
MAX_EXTENTS = 1 << 15
LARGEST_SIZE = 2**63 - 1

REGULAR_TYPES = (b"0", b"\0", b"7")
HARD_LINK, SYMBOLIC_LINK, DIRECTORY, GNU_SPARSE = b"1", b"2", b"5", b"S"
LINK_TYPES = (HARD_LINK, SYMBOLIC_LINK)
NO_DATA_TYPES = (HARD_LINK, SYMBOLIC_LINK, b"3", b"4", DIRECTORY, b"6")
GNU_LONG_NAME, GNU_LONG_LINK, PAX_HEADER, PAX_GLOBAL = b"L", b"K", b"x", b"g"
SUN_PAX_HEADER = b"X"  # Solaris' tar, with the same records
EXTENSION_TYPES = (GNU_LONG_NAME, GNU_LONG_LINK, PAX_HEADER, SUN_PAX_HEADER, PAX_GLOBAL)

OCTAL = re.compile(rb"[0-7]*")
RECORD_LENGTH = re.compile(rb"(\d{1,7}) ")
PAIRS_IN_HEADER, PAIRS_IN_BLOCK, PAIR_BYTES = 4, 21, 24
# Where an old GNU header keeps the first pairs of its map, the flag that a block of more follows, and the full size.
MAP_START, MAP_GOES_ON, REAL_SIZE = 386, 482, slice(483, 495)

Pair = tuple[int, int]  # (where in the full file, bytes) of a stored piece of a sparse file


@dataclass(frozen=True, slots=True)
class Header:
    """One header block: the name as stored, the bytes of data behind it, the type, and what a link points to."""

    name: str
    size: int
    type: bytes
    link: str


@dataclass(slots=True)
class Extension:
    """What the extra headers before a member say of it; what they do not say is None."""

    name: str | None = None
    link: str | None = None
    size: int | None = None
    sparse: dict[bytes, bytes] = field(default_factory=dict)
    pairs: list[int] = field(default_factory=list)  # of sparse format 0.0: offset, bytes, offset, bytes …


def has_checksum(block: bytes) -> bool:
    """Whether `block` is a header block: 512 bytes whose checksum is right."""
    stored = block[148:156].strip(b" \0")
    if len(block) != BLOCK or not stored or OCTAL.fullmatch(stored) is None:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    expected, total = int(stored, 8), sum(rest)
    # The oldest tars added the bytes up as signed numbers.
    return expected == total or expected == total - 256 * sum(byte > 127 for byte in rest)


def parse_header(block: bytes, where: str) -> Header:
    """Read a header block; raises FormatError, which begins with `where`, where it is damaged or none."""
    if not has_checksum(block):
        raise FormatError(f"{where}: damaged tar header (its checksum is wrong); fetch or make the file again")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":  # POSIX; GNU tar ("ustar  ") keeps other things in the prefix field
        prefix = block[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    kind = block[156:157]
    if kind == b"\0" and name.endswith(b"/"):  # how tars older than the type field mark one
        kind = DIRECTORY
    size = 0 if kind in NO_DATA_TYPES else parse_number(block[124:136], where)
    link = block[157:257].split(b"\0", 1)[0] if kind in LINK_TYPES else b""
    return Header(decode_name(name), size, kind, decode_name(link))


def decode_name(name: bytes) -> str:
    """A stored name as text that os.fsencode turns into the same bytes."""
    return name.decode("utf-8", "surrogateescape")


def parse_number(content: bytes, where: str) -> int:
    """A number field: octal digits, or GNU's base 256; raises FormatError where it is none, or negative, or too large."""
    digits = content.strip(b" \0")
    if content[0] & 0x80:  # GNU base 256, for sizes of 8 GiB and more; a first byte of 0xFF says negative
        number = int.from_bytes(bytes([content[0] & 0x7F]) + content[1:], "big")
    elif OCTAL.fullmatch(digits):
        number = int(digits or b"0", 8)
    else:
        raise FormatError(f"{where}: not a tar header; the file is damaged or not a plain tar")
    if number > LARGEST_SIZE:
        raise FormatError(f"{where}: a negative or senseless size in a tar header; fetch or make the file again")
    return number


def long_name(content: bytes, where: str) -> str:
    """The name in a GNU long-name header, or in a pax record; raises FormatError where it is over 4,096 bytes."""
    name = content.rstrip(b"\0")
    if len(name) > MAX_NAME_BYTES:
        raise FormatError(f"{where}: a name of {len(name):,} bytes, expected at most {MAX_NAME_BYTES:,}; make it again")
    return decode_name(name)


def parse_pax(content: bytes, extension: Extension, where: str) -> None:
    """Take the `LENGTH KEY=VALUE` records of a pax header into `extension`, in linear time.

    Raises FormatError, which begins with `where`, for records that cannot be read and for sizes and names too large.
    """
    position = 0
    while position < len(content):
        match = RECORD_LENGTH.match(content, position)
        end = position + int(match[1]) if match else -1
        if match is None or not match.end() < end <= len(content) or content[end - 1] != ord("\n"):
            if not content[position:].strip(b"\0"):
                return  # padded with zeros, as some writers do
            raise FormatError(f"{where}: a damaged pax header; fetch or make the file again")
        key, _, value = content[match.end() : end - 1].partition(b"=")
        _take_record(key, value, extension, where)
        position = end


def _take_record(key: bytes, value: bytes, extension: Extension, where: str) -> None:
    if key == b"path":
        extension.name = long_name(value, where)
    elif key == b"linkpath":
        extension.link = long_name(value, where)
    elif key == b"size":
        extension.size = decimal(value, where)
    elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
        extension.pairs.append(decimal(value, where))
    elif key.startswith(b"GNU.sparse."):
        extension.sparse[key.removeprefix(b"GNU.sparse.")] = value


def decimal(digits: bytes, where: str) -> int:
    """A decimal number of 0 to 2^63 - 1; raises FormatError for anything else, however many digits it has."""
    number = int(digits) if digits.isdigit() and len(digits) <= 19 else LARGEST_SIZE + 1
    if number > LARGEST_SIZE:
        shown = digits[:20].decode("ascii", "backslashreplace")
        raise FormatError(f"{where}: a size of {shown!r} in a pax header; fetch or make the file again")
    return number


def pairs_of_block(block: bytes, start: int, count: int, where: str) -> list[Pair]:
    """The pairs of an old GNU sparse map that stand in a block from `start` on; an empty field ends them."""
    pairs = []
    for place in range(start, start + count * PAIR_BYTES, PAIR_BYTES):
        if not block[place]:
            break
        first, second = block[place : place + 12], block[place + 12 : place + 24]
        pairs.append((parse_number(first, where), parse_number(second, where)))
    return pairs


def pairs_of_numbers(numbers: list[int], where: str) -> list[Pair]:
    """(offset, bytes) pairs of the numbers of a pax sparse map; raises FormatError for an odd count of them."""
    if len(numbers) % 2 or len(numbers) > 2 * MAX_EXTENTS:
        raise FormatError(f"{where}: a sparse map of {len(numbers)} numbers; fetch or make the file again")
    return list(zip(numbers[::2], numbers[1::2], strict=True))
