"""A part of the output, which is a run of shards: its pictures read back from the stretches, and its shards written."""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alexnet_prep.build import Outcome, ShardJob, write_shard
from alexnet_prep.forward import LocalFile, read_fully
from alexnet_prep.grouping import Pictures
from alexnet_prep.job import AT_OUTPUT, NO_IMAGE, BuildSetup, OnSign, Seconds
from alexnet_prep.reader import SourceReader
from alexnet_prep.sidecar import Sidecar
from alexnet_prep.stretch import grouped_path, stretch_name

# What a worker holds of a part's pictures; a part is one shard at least.
PART_BYTES = 256 << 20


@dataclass(frozen=True)
class Picture:
    """A finished sample that was read back, and how large its source was, 0 where nobody knows."""

    jpeg: bytes
    kinds: tuple[str, ...]
    width_px: int
    height_px: int
    source_bytes: int


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """The sidecars of a part's shards; of those that could not be made, `damaged` are the stretches to read again."""

    name: str
    sidecars: tuple[Sidecar, ...]
    damaged: tuple[int, ...]

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """Keys and reasons of all its shards."""
        return tuple(entry for sidecar in self.sidecars for entry in sidecar.dropped)


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """Consecutive shards, and for their images in order: (M,) PICTURE_DTYPE as they lie in the grouped stretches, and the
    reasons and kinds of single ones by place. Without `pictures` it only looks whether the shards are there."""

    number: int
    shards: tuple[ShardJob, ...]
    pictures: npt.NDArray[np.void] | None = None
    reasons: Mapping[int, str] = field(default_factory=dict)
    kinds: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its shards."""
        first, last = self.shards[0].name, self.shards[-1].name
        return first if len(self.shards) == 1 else f"{first} to {last}"

    @property
    def images(self) -> int:
        """How many members its shards have."""
        return sum(shard.images for shard in self.shards)

    def key(self, position: int) -> str:
        """None is looked at by itself."""
        return f"image {position}"

    def without(self, position: int, reason: str) -> "PartJob":
        """The same: no source image is decoded here."""
        return self

    def finished(self, setup: BuildSetup, on_sign: OnSign) -> PartResult | None:
        """Its sidecars where all of its shards are there."""
        found = [shard.finished(setup, on_sign) for shard in self.shards]
        there = tuple(sidecar for sidecar in found if sidecar is not None)
        if len(there) == len(found) or self.pictures is None:
            return PartResult(name=self.name, sidecars=there, damaged=())
        return None

    def run(self, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> tuple[PartResult, Seconds]:
        """Read its pictures, each compared with its checksum, and write the shards that are not there."""
        seconds, started = Seconds(), time.perf_counter()
        there = {shard.number: shard.finished(setup, on_sign) for shard in self.shards}
        found = self._read(setup, on_sign)
        seconds.stages["read"] += time.perf_counter() - started
        damaged = [number for number, content in found.items() if content is None]
        if damaged:
            sidecars = [sidecar for sidecar in there.values() if sidecar is not None]
            return PartResult(name=self.name, sidecars=tuple(sidecars), damaged=tuple(damaged)), seconds
        whole = {number: content for number, content in found.items() if content is not None}
        sidecars, first = [], 0
        for shard in self.shards:
            on_sign(AT_OUTPUT, NO_IMAGE, 0)
            sidecar = there[shard.number]
            if sidecar is None:
                sidecar = write_shard(shard, setup, self._outcomes(range(first, first + shard.images), whole), seconds)
            sidecars.append(sidecar)
            first += shard.images
        return PartResult(name=self.name, sidecars=tuple(sidecars), damaged=()), seconds

    def _read(self, setup: BuildSetup, on_sign: OnSign) -> dict[int, tuple[int, bytes] | None]:
        """By stretch: where in it the part's pictures begin, and their bytes; None where they are not what was written."""
        table = self._table()
        found: dict[int, tuple[int, bytes] | None] = {}
        for number in np.unique(table["stretch"][table["length"] > 0]).tolist():
            on_sign(AT_OUTPUT, NO_IMAGE, 0)
            mine = table[(table["stretch"] == number) & (table["length"] > 0)]
            start = int(mine["place"].min())
            content = _range(setup, number, start, int((mine["place"] + mine["length"]).max()) - start)
            found[number] = (start, content) if _is_whole(content, start, mine) else None
        return found

    def _outcomes(self, places: range, found: Mapping[int, tuple[int, bytes]]) -> Iterator[Outcome]:
        table = self._table()
        for place in places:
            reason = self.reasons.get(place)
            if reason is not None:
                yield reason
                continue
            picture = table[place]
            start, content = found[int(picture["stretch"])]
            begin = int(picture["place"]) - start
            jpeg = content[begin : begin + int(picture["length"])]
            yield Picture(jpeg, self.kinds.get(place, ()), *picture["source"].tolist())

    def _table(self) -> npt.NDArray[np.void]:
        if self.pictures is None:
            raise ValueError("a part without pictures only looks whether its shards are there")
        return self.pictures


def _range(setup: BuildSetup, number: int, start: int, size: int) -> bytes:
    """Bytes of a grouped stretch, fewer where it has not so many."""
    try:
        file = LocalFile(grouped_path(setup, stretch_name(number)))
    except FileNotFoundError:
        return b""
    try:
        return read_fully(file.read_at, start, size)
    finally:
        file.close()


def _is_whole(content: bytes, start: int, pictures: npt.NDArray[np.void]) -> bool:
    view = memoryview(content)
    for picture in pictures:
        begin = int(picture["place"]) - start
        if zlib.crc32(view[begin : begin + int(picture["length"])]) != picture["crc32"]:
            return False
    return True


def part_jobs(shards: Sequence[ShardJob], rows: Sequence[npt.NDArray[np.int64]], pictures: Pictures) -> list[PartJob]:
    """Parts of as many shards each, a power of two, as PART_BYTES have room for; `rows` are the shards' in the index.

    Where the pictures lie is as the grouped stretches have them.
    """
    largest = max(int(pictures.table["length"][each].sum(dtype=np.int64)) for each in rows)
    count = 1
    while 2 * count * largest <= PART_BYTES and count < len(shards):
        count *= 2
    return [
        _part(number, shards[first : first + count], np.concatenate(rows[first : first + count]), pictures)
        for number, first in enumerate(range(0, len(shards), count))
    ]


def _part(number: int, shards: Sequence[ShardJob], rows: npt.NDArray[np.int64], pictures: Pictures) -> PartJob:
    reasons = {place: pictures.reasons[row] for place, row in enumerate(rows.tolist()) if row in pictures.reasons}
    kinds = {place: pictures.kinds[row] for place, row in enumerate(rows.tolist()) if row in pictures.kinds}
    given_up = [place for place, row in enumerate(rows.tolist()) if row in pictures.given_up]
    marked, first = [], 0
    for shard in shards:
        for place in given_up:
            if first <= place < first + shard.images:
                shard = shard.without(place - first, reasons[place])
        marked.append(shard)
        first += shard.images
    return PartJob(
        number=number, shards=tuple(marked), pictures=np.array(pictures.table[rows]), reasons=reasons, kinds=kinds
    )
