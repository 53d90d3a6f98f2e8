"""One shard: its members read, converted and written, then the sidecar that says it is done."""

import base64
import hashlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from alexnet_pixels import BadImage, convert
from alexnet_prep.archive import Names
from alexnet_prep.job import AT_IMAGE, AT_OUTPUT, NO_IMAGE, READING, BuildSetup, OnSign, Seconds
from alexnet_prep.moments import MomentSums
from alexnet_prep.reader import SourceReader
from alexnet_prep.samples import decode_jpeg
from alexnet_prep.shardsums import has_sums, save_sums, sum_written, sums_path
from alexnet_prep.sidecar import Sidecar, save_sidecar, sidecar_json, written_shard
from alexnet_prep.sourcesizes import SOURCE_DTYPE, count_sizes
from alexnet_shards.files import atomic_file
from alexnet_shards.index import INDEX_DTYPE, NO_LABEL
from alexnet_shards.manifest import JPEG_SUFFIX, LABEL_SUFFIX
from alexnet_shards.tar import BLOCK, END_OF_TAR, member_bytes

# Members are read in offset order within a window of this many, whose finished JPEGs wait in memory for their place in
# the shard: at about 31 KiB each a worker holds at most some 130 MB, however many members a shard has.
WINDOW_MEMBERS = 4096


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One shard to build: (M,) members in their order in the shard, and `quarantined` positions with the reason: images
    given up for workers that were lost at them."""

    number: int
    name: str
    keys: Names
    file_names: Names
    locations: npt.NDArray[np.void]
    labels: npt.NDArray[np.int32]
    patched: npt.NDArray[np.bool_]
    quarantined: dict[int, str] = field(default_factory=dict)

    def key(self, position: int) -> str:
        """Key of the member at `position`."""
        return bytes(self.keys[position]).decode("utf-8", "surrogateescape")

    @property
    def images(self) -> int:
        """How many members it has."""
        return len(self.keys)

    def without(self, position: int, reason: str) -> "ShardJob":
        """The same with one position more in quarantine."""
        return replace(self, quarantined={**self.quarantined, position: reason})

    def finished(self, setup: BuildSetup, on_sign: OnSign) -> "Sidecar | None":
        """As `finished_shard`; the sums of a whole shard that has none are made of it."""
        sidecar = finished_shard(self, setup, on_sign)
        if sidecar is not None and setup.moments and not has_sums(sums_path(setup, self.name), sidecar.sha256):
            moments = sum_written(setup, sidecar, lambda: on_sign(AT_OUTPUT, NO_IMAGE, 0))
            save_sums(sums_path(setup, self.name), moments, sidecar.sha256)
        return sidecar

    def run(self, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> "tuple[Sidecar, Seconds]":
        """As `build_shard`."""
        return build_shard(self, setup, reader, on_sign)


class Sample(Protocol):
    """A finished sample: JPEG bytes, what was unusual about its source, and how large that was."""

    @property
    def jpeg(self) -> bytes:
        """A 256x256 RGB JPEG."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """As `alexnet_pixels.Converted` has them."""

    @property
    def width_px(self) -> int:
        """Of the source, 0 where nobody knows, as the next two."""

    @property
    def height_px(self) -> int:
        """Of the source."""

    @property
    def source_bytes(self) -> int:
        """Of the source's file."""


Outcome = Sample | str  # or the reason why there is no sample


def build_shard(job: ShardJob, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> tuple[Sidecar, Seconds]:
    """Build one shard, a pure function of the job and the recipe; `on_sign` comes before each image is read, before it is
    decoded, and before they are written.

    Raises SourceError where the source has changed and OSError where the shard cannot be written.
    """
    seconds = Seconds()
    return write_shard(job, setup, _outcomes_in_order(job, (setup, reader, on_sign), seconds), seconds), seconds


def write_shard(job: ShardJob, setup: BuildSetup, outcomes: Iterable[Outcome], seconds: Seconds) -> Sidecar:
    """Write a shard of its members' `outcomes`, in their order, then its sums where the run wants them, then its sidecar.

    Raises OSError where it cannot be written.
    """
    writer, sums = _Writer(job), MomentSums() if setup.moments else None
    with atomic_file(setup.out / job.name) as file:
        for position, outcome in enumerate(outcomes):
            started = time.perf_counter()
            writer.write(file, position, outcome)
            if sums is not None and not isinstance(outcome, str):
                sums.add(decode_jpeg(outcome.jpeg))
            seconds.stages["write"] += time.perf_counter() - started
        started = time.perf_counter()
        writer.end(file)
    sidecar = writer.sidecar(setup.plan)
    if sums is not None:
        save_sums(sums_path(setup, job.name), sums.moments(), sidecar.sha256)
    if setup.store is not None:
        setup.store.keep(setup.sidecars.name, job.name, sidecar_json(sidecar))
    save_sidecar(setup, sidecar)
    seconds.stages["write"] += time.perf_counter() - started
    return sidecar


def _outcomes_in_order(
    job: ShardJob, means: tuple[BuildSetup, SourceReader, OnSign], seconds: Seconds
) -> Iterator[Outcome]:
    """The outcomes of a job's members, read window by window."""
    for first in range(0, len(job.keys), WINDOW_MEMBERS):
        window = range(first, min(first + WINDOW_MEMBERS, len(job.keys)))
        outcomes = dict(_convert_window(job, window, means, seconds))
        means[2](AT_OUTPUT, NO_IMAGE, 0)
        for position in window:
            yield outcomes.pop(position)


def _convert_window(
    job: ShardJob, window: range, means: tuple[BuildSetup, SourceReader, OnSign], seconds: Seconds
) -> Iterator[tuple[int, Outcome]]:
    """(position, outcome) of a window's members, in source offset order."""
    setup, reader, on_sign = means
    places = job.locations[window.start : window.stop]
    for step in np.lexsort((places["offset"], places["container"])):
        position, place = window.start + int(step), places[step]
        if position in job.quarantined:
            yield position, job.quarantined[position]
        elif place["size"] > setup.max_member_bytes:
            yield position, over_the_limit(setup)
        else:
            on_sign(READING, position, 0)
            started = time.perf_counter()
            where = int(place["offset"]), int(place["size"])
            source = reader.read(int(place["container"]), bytes(job.file_names[position]), *where)
            seconds.stages["read"] += time.perf_counter() - started
            yield position, converted(source, setup, partial(on_sign, AT_IMAGE, position), seconds)


def over_the_limit(setup: BuildSetup) -> str:
    """The reason why an image is not read."""
    return f"over the limit of {setup.max_member_bytes / (1 << 20):,.0f} MiB a file"


def converted(source: bytes, setup: BuildSetup, on_begin: Callable[[int], None], seconds: Seconds) -> Outcome:
    """The outcome of an image's bytes; `on_begin` is told how many they are before they are decoded."""
    on_begin(len(source))
    if len(source) > setup.max_member_bytes:  # of some the length was not known before
        return over_the_limit(setup)
    try:
        sample = convert(source, setup.recipe)
    except BadImage as error:
        return str(error)
    seconds.add(sample)
    return sample


class _Writer:
    """Appends samples to a shard's tar and keeps the books: index rows, hash, what was dropped or converted."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._dropped: list[tuple[str, str]] = []
        self._converted: dict[str, list[str]] = {}
        self._patched: list[str] = []
        self._given_up: list[str] = []
        self._sources: list[tuple[int, int, int]] = []

    def write(self, file: BinaryIO, position: int, outcome: Outcome) -> None:
        """Append the sample at `position`, or note why there is none."""
        key, label = self._job.key(position), int(self._job.labels[position])
        if isinstance(outcome, str):
            self._dropped.append((key, outcome))
            if position in self._job.quarantined:
                self._given_up.append(key)
            return
        header_bytes = self._append(file, key + JPEG_SUFFIX, outcome.jpeg)
        crc32 = zlib.crc32(outcome.jpeg)
        self._rows.append((self._job.number, header_bytes + BLOCK, len(outcome.jpeg), label, crc32))
        self._sources.append((outcome.width_px, outcome.height_px, outcome.source_bytes))
        if label != NO_LABEL:
            self._append(file, key + LABEL_SUFFIX, str(label).encode())
        for kind in outcome.kinds:
            self._converted.setdefault(kind, []).append(key)
        if self._job.patched[position]:
            self._patched.append(key)

    def end(self, file: BinaryIO) -> None:
        """Append the tar's end mark."""
        self._put(file, END_OF_TAR)

    def sidecar(self, plan: str) -> Sidecar:
        """The facts of the shard that was written by a plan."""
        rows = np.array(self._rows, INDEX_DTYPE)
        return Sidecar(
            number=self._job.number,
            name=self._job.name,
            samples=len(rows),
            bytes=self._bytes,
            sha256=self._hash.hexdigest(),
            rows=base64.b64encode(rows.tobytes()).decode(),
            dropped=self._dropped,
            converted=dict(sorted(self._converted.items())),
            patched=self._patched,
            given_up=self._given_up,
            sizes=count_sizes(np.array(self._sources, SOURCE_DTYPE)),
            plan=plan,
        )

    def _append(self, file: BinaryIO, name: str, content: bytes) -> int:
        """Where the member's header starts; a long name's extra header comes before it."""
        member = member_bytes(name, content)
        padded = -(-len(content) // BLOCK) * BLOCK
        start = self._bytes + len(member) - padded - BLOCK
        self._put(file, member)
        return start

    def _put(self, file: BinaryIO, content: bytes) -> None:
        file.write(content)
        self._hash.update(content)
        self._bytes += len(content)


def finished_shard(job: ShardJob, setup: BuildSetup, on_sign: OnSign) -> Sidecar | None:
    """The sidecar of a shard that is there and has its bytes; None where it has to be built, as it has for images that
    were given up for lost workers.

    `on_sign` comes with every chunk that was hashed, as a sign of life.
    """
    sidecar = written_shard(setup, job.name, lambda: on_sign(AT_OUTPUT, NO_IMAGE, 0))
    return None if sidecar is None or sidecar.given_up else sidecar
