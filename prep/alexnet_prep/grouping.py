"""Where every image's picture lies among the stretches, and a stretch's pictures put into the order of the shards."""

import hashlib
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alexnet_prep.forward import LocalFile, read_fully
from alexnet_prep.job import AT_OUTPUT, NO_IMAGE, BuildSetup, OnSign, Seconds
from alexnet_prep.reader import SourceReader
from alexnet_prep.sourcesizes import SOURCE_DTYPE
from alexnet_prep.split import SplitSource
from alexnet_prep.stretch import (
    NO_CONTAINER,
    StretchFacts,
    grouped_path,
    is_grouped,
    layout_path,
    pictures_path,
    save_checked,
    stretch_name,
)
from alexnet_shards.files import atomic_file

# Of each image of a split: the stretch that has it (-1: none), where its picture lies there, its length, its checksum, and
# how large its source was.
PICTURE_DTYPE = np.dtype(
    [("stretch", "<i8"), ("place", "<u8"), ("length", "<u4"), ("crc32", "<u4"), ("source", SOURCE_DTYPE)]
)
OFFSET_BITS = 44  # of a key that has container and offset: tars of up to 17 TB, a million of them
PICTURES_A_SIGN = 256


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the stretches have of a split's images: (N,) PICTURE_DTYPE, (N,) V32 sha256 of their bytes, and by row the
    reasons why there is no picture, the kinds of unusual ones, and those that were given up."""

    table: npt.NDArray[np.void]
    digests: npt.NDArray[np.void]
    reasons: Mapping[int, str]
    kinds: Mapping[int, tuple[str, ...]]
    given_up: frozenset[int]

    def missing(self) -> npt.NDArray[np.int64]:
        """Rows that no stretch has."""
        return np.flatnonzero(self.table["stretch"] < 0)

    def digest(self, row: int) -> bytes | None:
        """The sha256 of an image's bytes, None where no stretch has it."""
        found = self.digests[row].tobytes()
        return found if any(found) else None


def find_pictures(images: SplitSource, stretches: Sequence[StretchFacts]) -> Pictures:
    """Look up every image of a split among what the stretches have, by its place in the source.

    An image that is stored with holes is in no archive's stretch, nor is one of another length than the index says.
    """
    table = np.zeros(len(images), PICTURE_DTYPE)
    table["stretch"] = -1
    digests = np.zeros(len(images), "V32")
    reasons: dict[int, str] = {}
    kinds: dict[int, tuple[str, ...]] = {}
    given_up: set[int] = set()
    rows_at = _rows_by_place(images)
    for facts in stretches:
        found = facts.images()
        rows, places = rows_at(facts, found)
        for name in ("place", "length", "crc32"):
            table[name][rows] = found[name][places]
        table["source"][rows] = facts.sizes()[places]
        table["stretch"][rows], digests[rows] = facts.number, found["digest"][places]
        wanted: dict[int, list[int]] = {}
        odd = {number for number, _ in (*facts.reasons, *facts.kinds)}
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            if place in odd:
                wanted.setdefault(place, []).append(row)
        reasons.update((row, text) for number, text in facts.reasons for row in wanted.get(number, ()))
        kinds.update((row, tuple(names)) for number, names in facts.kinds for row in wanted.get(number, ()))
        given_up.update(row for number in facts.given_up for row in wanted.get(number, ()))
    return Pictures(table=table, digests=digests, reasons=reasons, kinds=kinds, given_up=frozenset(given_up))


Rows = npt.NDArray[np.int64]


def _rows_by_place(images: SplitSource) -> Callable[[StretchFacts, npt.NDArray[np.void]], tuple[Rows, Rows]]:
    """A function that gives (rows of the index, places in a stretch) of the images that a stretch has."""
    places = images.locations
    keys = places["container"].astype(np.uint64) << np.uint64(OFFSET_BITS) | places["offset"]
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    holes = np.array([container << OFFSET_BITS | offset for container, offset in images.sparse], np.uint64)

    def rows_at(facts: StretchFacts, found: npt.NDArray[np.void]) -> tuple[Rows, Rows]:
        if facts.container == NO_CONTAINER:
            return found["image"].astype(np.int64), np.arange(len(found))
        wanted = np.uint64(facts.container) << np.uint64(OFFSET_BITS) | found["image"]
        first, end = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
        counts = end - first  # several where links give one file several names
        at = np.repeat(np.arange(len(found)), counts)
        begins = np.repeat(first - np.cumsum(counts) + counts, counts)
        rows = order[begins + np.arange(int(counts.sum()))]
        whole = (places["size"][rows] == found["size"][at]) & ~np.isin(keys[rows], holes)
        return rows[whole], at[whole]

    return rows_at


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """What became of a stretch that was to be put in order; `is_damaged`: it has to be read again."""

    name: str
    number: int
    is_damaged: bool
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GroupJob:
    """Puts a stretch's pictures into the order of the shards: (M,) PICTURE_DTYPE in that order, as they lie now."""

    number: int
    pictures: npt.NDArray[np.void]
    quarantined: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the stretch is called."""
        return f"{stretch_name(self.number)}, grouping"

    @property
    def images(self) -> int:
        """One stretch."""
        return 1

    def key(self, position: int) -> str:
        """None is looked at by itself."""
        return f"picture {position}"

    def without(self, position: int, reason: str) -> "GroupJob":
        """The same: no picture is decoded here."""
        return self

    def layout(self) -> dict[str, object]:
        """What the grouped file is to hold."""
        digest = hashlib.sha256(self.pictures["length"].tobytes() + self.pictures["crc32"].tobytes())
        return {"pictures": digest.hexdigest(), "bytes": int(self.pictures["length"].sum(dtype=np.int64))}

    def finished(self, setup: BuildSetup, on_sign: OnSign) -> Grouped | None:
        """Whether the grouped file is there."""
        stretch = stretch_name(self.number)
        if not is_grouped(setup, stretch, self.layout()):
            return None
        pictures_path(setup, stretch).unlink(missing_ok=True)
        return Grouped(name=self.name, number=self.number, is_damaged=False)

    def run(self, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> tuple[Grouped, Seconds]:
        """Copy the pictures in their new order, each compared with its checksum, and remove the old file."""
        stretch, seconds, started = stretch_name(self.number), Seconds(), time.perf_counter()
        grouped_path(setup, stretch).unlink(missing_ok=True)
        is_damaged = not self._copy(setup, stretch, on_sign)
        if is_damaged:
            grouped_path(setup, stretch).unlink(missing_ok=True)
        else:
            save_checked(layout_path(setup, stretch), self.layout())
        pictures_path(setup, stretch).unlink(missing_ok=True)
        seconds.stages["write"] += time.perf_counter() - started
        return Grouped(name=self.name, number=self.number, is_damaged=is_damaged), seconds

    def _copy(self, setup: BuildSetup, stretch: str, on_sign: OnSign) -> bool:
        """Whether all pictures were as they were written."""
        try:
            source = LocalFile(pictures_path(setup, stretch))
        except FileNotFoundError:
            return False
        try:
            with atomic_file(grouped_path(setup, stretch)) as file:
                for number, picture in enumerate(self.pictures):
                    if number % PICTURES_A_SIGN == 0:
                        on_sign(AT_OUTPUT, NO_IMAGE, 0)
                    jpeg = read_fully(source.read_at, int(picture["place"]), int(picture["length"]))
                    if zlib.crc32(jpeg) != picture["crc32"]:
                        return False
                    file.write(jpeg)
        finally:
            source.close()
        return True


def group_jobs(pictures: Pictures, rank: npt.NDArray[np.int64]) -> tuple[list[GroupJob], npt.NDArray[np.uint64]]:
    """A job a stretch that puts its pictures in the order of `rank`, (N,) places in the split's order, and (N,) where
    each picture then lies in its stretch."""
    table = pictures.table
    order = np.lexsort((rank, table["stretch"]))
    order = order[(table["stretch"][order] >= 0) & (table["length"][order] > 0)]
    lengths = table["length"][order].astype(np.int64)
    numbers, first = np.unique(table["stretch"][order], return_index=True)
    starts = np.cumsum(lengths) - lengths
    begins = np.repeat(starts[first], np.diff(np.r_[first, len(order)])) if len(order) else starts
    grouped = np.zeros(len(table), np.uint64)
    grouped[order] = (starts - begins).astype(np.uint64)
    ends = np.r_[first[1:], len(order)]
    jobs = [
        GroupJob(number=int(number), pictures=np.array(table[order[begin:end]]))
        for number, begin, end in zip(numbers, first, ends, strict=True)
    ]
    return jobs, grouped
