"""Whether an index is of the shards that lie there: headers and labels of some of its samples, looked up in the tars."""

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from alexnet_shards.errors import FormatError
from alexnet_shards.index import NO_LABEL, IndexRows
from alexnet_shards.labels import CLS, LabelNumbers
from alexnet_shards.scan import JPEG_SUFFIXES, key_and_suffix
from alexnet_shards.tar import BLOCK, TarMember, read_member, walk_tar
from alexnet_shards.tarheader import REGULAR_TYPES, has_checksum, parse_header
from alexnet_shards.tarsparse import ReadAt

SAMPLES = 64
SAMPLES_OF_NEWER = 256
WALKS = 2  # a whole walk over a shard's headers costs some 20 ms, so only so many doubts are settled by one


def find_stale(
    paths: Sequence[str], rows: IndexRows, newer: Sequence[int] = (), labels: LabelNumbers = CLS
) -> str | None:
    """What is wrong with the first sample found that is not in its shard as its row says, None where all agree.

    Looks at 64 of the (N,) rows, spread evenly, and at more of the shards `newer`, numbers of shards that were changed
    after their index. The JPEGs are not read: their checksums are compared wherever they are used.
    """
    chosen = _spread(np.arange(len(rows)), SAMPLES)
    if newer:
        chosen |= _spread(np.flatnonzero(np.isin(rows["shard"], list(newer))), SAMPLES_OF_NEWER)
    by_shard: dict[int, list[int]] = {}
    for row in sorted(chosen):
        by_shard.setdefault(int(rows["shard"][row]), []).append(row)
    walks = 0
    for shard, numbers in by_shard.items():
        doubt = _doubt(paths[shard], rows, numbers, labels)
        if doubt and walks < WALKS:
            walks += 1
            found = _walk(Path(paths[shard]), rows[rows["shard"] == shard], labels)
            if found:
                return f"{paths[shard]}: {found}"
    return None


def _spread(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]", count: int) -> set[int]:
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(np.int64)
    return set(numbers[places].tolist())


def _doubt(path: str, rows: IndexRows, numbers: Sequence[int], place: LabelNumbers) -> bool:
    """Whether one of the rows `numbers` does not find its header, or its label beside it, in the usual place."""
    try:
        with Path(path).open("rb") as file:
            descriptor = file.fileno()
            end = os.fstat(descriptor).st_size

            def read_at(offset: int, count: int) -> bytes:
                return os.pread(descriptor, count, offset)

            return any(not _agrees(read_at, end, rows[number], place) for number in numbers)
    except (OSError, FormatError):
        return True


def _agrees(read_at: ReadAt, end: int, row: np.void, place: LabelNumbers) -> bool:
    offset, size, label = int(row["offset"]), int(row["size"]), int(row["label"])
    if offset < BLOCK:
        return False
    block = read_at(offset - BLOCK, BLOCK)
    if not has_checksum(block):
        return False
    header = parse_header(block, "")
    parts = key_and_suffix(header.name)
    if header.type not in REGULAR_TYPES or header.size != size or parts is None or parts[1] not in JPEG_SUFFIXES:
        return False
    after = offset + -(-size // BLOCK) * BLOCK
    beside = list(islice(walk_tar(read_at, after, end, ""), 1)) if after + BLOCK <= end else []
    before = offset - 3 * BLOCK
    if before >= 0 and has_checksum(block := read_at(before, BLOCK)):
        found = parse_header(block, "")
        beside.append(TarMember(found.name, before + BLOCK, found.size, found.type in REGULAR_TYPES))
    wanted = (parts[0], place.place.suffix)
    labels = [_label(read_at, member, place) for member in beside if key_and_suffix(member.name) == wanted]
    return all(found == NO_LABEL for found in labels) if label == NO_LABEL else label in labels


def _label(read_at: ReadAt, member: TarMember, place: LabelNumbers) -> int | None:
    """The label in a member, NO_LABEL where it says none, None where it holds no label."""
    if not member.is_file or member.size > place.max_bytes:
        return None
    try:
        label = place.read(read_member(read_at, member), member.name)
    except FormatError:
        return None
    return NO_LABEL if label is None else label


def _walk(path: Path, rows: IndexRows, place: LabelNumbers) -> str | None:
    """What is wrong with a shard's (N,) rows by all of its headers and labels, None where they agree."""
    images, labels = dict[str, tuple[int, int]](), dict[str, int | None]()
    try:
        with path.open("rb") as file:
            descriptor = file.fileno()

            def read_at(offset: int, count: int) -> bytes:
                return os.pread(descriptor, count, offset)

            for member in walk_tar(read_at, 0, os.fstat(descriptor).st_size, str(path)):
                parts = key_and_suffix(member.name)
                if not member.is_file or parts is None:
                    continue
                if parts[1] in JPEG_SUFFIXES:
                    first = member.extents[0][1:] if member.extents else (member.offset, member.size)
                    images[parts[0]] = (first[0], first[1])
                elif parts[1] == place.place.suffix:
                    labels[parts[0]] = _label(read_at, member, place)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except FormatError as error:
        return str(error).removeprefix(f"{path}: ")
    found = dict[tuple[int, int], dict[int | None, str]]()  # more than one label where a link shares an image
    for key, where in images.items():
        found.setdefault(where, {})[labels.get(key, NO_LABEL)] = key
    return _compare(found, rows)


def _compare(found: Mapping[tuple[int, int], Mapping[int | None, str]], rows: IndexRows) -> str | None:
    for row in rows:
        at = found.get((int(row["offset"]), int(row["size"])))
        if at is None:
            return f"has no image at byte {row['offset']}, where the index says one is"
        if int(row["label"]) not in at:
            label, key = next(iter(at.items()))
            return f"{key}: its label is {label}, the index says {row['label']}"
    return None
