"""What a walk over an archive reads of it, kept while its stretches were read, so that the walk needs no second pass."""

import hashlib
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from alexnet_prep.forward import ReadAt
from alexnet_shards.files import write_atomic
from alexnet_shards.parsing import Where, read_bounded

SPAN_DTYPE = np.dtype([("offset", "<u8"), ("size", "<u4")])
DIGEST_BYTES = 32
HELD_STRETCHES = 2


class BlockNotes:
    """Takes down bytes of a tar and where they lie; those that follow each other become one span."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._spans: list[bytearray] = []
        self._end = -1

    def note(self, offset: int, content: bytes) -> None:
        """Take down bytes; those that come later lie further back."""
        if offset != self._end:
            self._offsets.append(offset)
            self._spans.append(bytearray())
        self._spans[-1] += content
        self._end = offset + len(content)

    def save(self, path: Path) -> None:
        """Write them to `path`, compressed, with a checksum."""
        spans = np.array([(o, len(s)) for o, s in zip(self._offsets, self._spans, strict=True)], SPAN_DTYPE)
        content = len(spans).to_bytes(8, "little") + spans.tobytes() + b"".join(self._spans)
        packed = zlib.compress(content, 1)
        write_atomic(path, hashlib.sha256(packed).digest() + packed)


def notes_content(path: Path) -> bytes:
    """What BlockNotes saved at `path`; raises FileNotFoundError, and FormatError where its bytes are others."""
    where = Where(path=path, what="notes of a stretch", remedy="start again: the stretch is read again")
    packed = read_bounded(where, path.stat().st_size)
    if hashlib.sha256(packed[DIGEST_BYTES:]).digest() != packed[:DIGEST_BYTES]:
        raise where.wrong("its checksum")
    return zlib.decompress(memoryview(packed)[DIGEST_BYTES:])


class _Blocks:
    """Notes as they were saved."""

    def __init__(self, path: Path) -> None:
        content = notes_content(path)
        count = int.from_bytes(content[:8], "little")
        spans = np.frombuffer(content, SPAN_DTYPE, count, 8)
        self._offsets = spans["offset"].tolist()
        sizes = spans["size"].astype(np.int64)
        self._ends = (spans["offset"].astype(np.int64) + sizes).tolist()
        self._places = (8 + spans.nbytes + np.cumsum(sizes) - sizes).tolist()
        self._content = content

    def read(self, offset: int, size: int) -> bytes | None:
        """`size` bytes at `offset`, None where not all of them were taken down."""
        number = bisect_right(self._offsets, offset) - 1
        if number < 0 or offset + size > self._ends[number]:
            return None
        place = self._places[number] + offset - self._offsets[number]
        return self._content[place : place + size]


@dataclass(frozen=True)
class NotedStretch:
    """Where a stretch of an archive begins, and the file with its notes."""

    start: int
    path: Path


class NotedArchive:
    """An archive as its stretches' notes have it; what they do not have is read by `read_at`. `stretches` are by start.

    Raises FormatError where notes were damaged since their stretch was found whole.
    """

    def __init__(self, path: Path, stretches: Sequence[NotedStretch], size: int, read_at: ReadAt) -> None:
        self.path, self.size = path, size
        self._stretches, self._read_at = stretches, read_at
        self._starts = [stretch.start for stretch in stretches]
        self._held: OrderedDict[int, _Blocks] = OrderedDict()

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end of the archive."""
        size = max(0, min(size, self.size - offset))
        number = bisect_right(self._starts, offset) - 1
        for place in (number, number - 1):  # an extension may lie beyond the border of its stretch
            if place >= 0:
                found = self._blocks(place).read(offset, size)
                if found is not None:
                    return found
        return self._read_at(offset, size)

    def _blocks(self, number: int) -> _Blocks:
        if number not in self._held:
            self._held[number] = _Blocks(self._stretches[number].path)
            if len(self._held) > HELD_STRETCHES:
                self._held.popitem(last=False)
        return self._held[number]

    def __enter__(self) -> "NotedArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
