"""Sparse members of a tar: where the pieces of a file with holes lie, in each of the four formats of GNU tar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alexnet_shards.errors import FormatError
from alexnet_shards.tarheader import (
    BLOCK,
    GNU_SPARSE,
    MAP_GOES_ON,
    MAP_START,
    MAX_EXTENTS,
    PAIRS_IN_BLOCK,
    PAIRS_IN_HEADER,
    REAL_SIZE,
    Extension,
    Pair,
    decimal,
    long_name,
    pairs_of_block,
    pairs_of_numbers,
    parse_number,
)

ReadAt = Callable[[int, int], bytes]
BLOCKS_A_READ = 64
MAX_MAP_BYTES = 40 * MAX_EXTENTS  # two numbers of 19 digits a piece


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse member: its own name if its extra header has one, full size, pieces, and bytes of map before its data.

    `outside` are bytes of map that come before the data and that the header's size does not count (old GNU format).
    """

    name: str | None
    size: int
    pairs: tuple[Pair, ...]
    inside: int = 0
    outside: int = 0


def sparse_of(header: bytes, data: int, extension: Extension, read_at: ReadAt, where: str) -> Sparse | None:
    """The sparse map of the member with this header block, whose data begin at `data`; None where it is a plain one.

    Raises FormatError, which begins with `where`, for a map that cannot be read.
    """
    keys = extension.sparse
    if header[156:157] == GNU_SPARSE:
        return _old_gnu(header, data, read_at, where)
    if not keys and not extension.pairs:
        return None
    name = long_name(keys[b"name"], where) if b"name" in keys else None
    if keys.get(b"major") == b"1" and keys.get(b"minor") == b"0":
        numbers, inside = _numbers_at(data, read_at, where)
        return _checked(
            name, decimal(keys.get(b"realsize", b""), where), pairs_of_numbers(numbers, where), where, inside
        )
    numbers = [decimal(digits, where) for digits in keys[b"map"].split(b",")] if b"map" in keys else extension.pairs
    size = decimal(keys.get(b"size", keys.get(b"realsize", b"")), where)
    return _checked(name, size, pairs_of_numbers(numbers, where), where)


def place_pairs(pairs: Sequence[Pair], data: int) -> tuple[tuple[int, int, int], ...]:
    """(where in the full file, where in the tar, bytes) of each piece; the pieces are stored from `data` on."""
    placed = []
    for offset, count in pairs:
        placed.append((offset, data, count))
        data += count
    return tuple(placed)


def _old_gnu(header: bytes, data: int, read_at: ReadAt, where: str) -> Sparse:
    pairs = pairs_of_block(header, MAP_START, PAIRS_IN_HEADER, where)
    goes_on, position = header[MAP_GOES_ON], data
    while goes_on:
        block = read_at(position, BLOCK)
        if len(block) < BLOCK or len(pairs) > MAX_EXTENTS:
            raise FormatError(f"{where}: a sparse map without end; fetch or make the file again")
        pairs += pairs_of_block(block, 0, PAIRS_IN_BLOCK, where)
        goes_on, position = block[PAIRS_IN_BLOCK * 24], position + BLOCK
    return _checked(None, parse_number(header[REAL_SIZE], where), pairs, where, outside=position - data)


def _numbers_at(data: int, read_at: ReadAt, where: str) -> tuple[list[int], int]:
    """(numbers, bytes they take) of a 1.0 map: decimal lines before the data, the first says how many pairs follow."""
    content, lines, wanted = b"", [b""], 1
    while len(lines) <= wanted:
        block = read_at(data + len(content), BLOCK * BLOCKS_A_READ)
        if not block or len(content) > MAX_MAP_BYTES:
            raise FormatError(f"{where}: a sparse map without end; fetch or make the file again")
        content += block
        first, found, _ = content.partition(b"\n")
        pairs = decimal(first, where) if found or len(first) > 19 else 0
        if pairs > MAX_EXTENTS:
            raise FormatError(f"{where}: a sparse map of {pairs:,} pieces; fetch or make the file again")
        wanted = 1 + 2 * pairs
        lines = content.split(b"\n", wanted)
    taken = sum(len(line) + 1 for line in lines[:wanted])
    return [decimal(line, where) for line in lines[1:wanted]], -(-taken // BLOCK) * BLOCK


def _checked(
    name: str | None, size: int, pairs: Sequence[Pair], where: str, inside: int = 0, outside: int = 0
) -> Sparse:
    """A Sparse whose pieces ascend, do not overlap and end within its size; raises FormatError otherwise."""
    end = 0
    for offset, count in pairs:
        if offset < end or offset + count > size:
            raise FormatError(f"{where}: a sparse map whose pieces overlap or pass the file's end; make the file again")
        end = offset + count
    return Sparse(name, size, tuple(pair for pair in pairs if pair[1]), inside, outside)
