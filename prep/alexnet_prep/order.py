"""The source in its own order: the stretches that it is cut into, and the images of each as they follow each other there."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_prep.archive import Names
from alexnet_prep.blocks import BlockNotes
from alexnet_prep.entries import HEAD_BYTES, PICTURE_ENDINGS, is_dotfile, is_picture, is_rubbish
from alexnet_prep.errors import SourceError
from alexnet_prep.forward import ArchiveFacts, ForwardReader, PiecedFile, ReadAt, facts_of
from alexnet_prep.job import BuildSetup, OnSign, Seconds
from alexnet_prep.reader import SourceReader
from alexnet_prep.split import SplitSource
from alexnet_prep.stretch import (
    MAX_SIZE,
    NO_CONTAINER,
    SourceImage,
    StretchFacts,
    finished_stretch,
    identity_of,
    notes_path,
    stretch_name,
    write_stretch,
    written_stretch,
)
from alexnet_shards.tarblocks import StretchFile, files_between

# A kill costs at most one stretch a worker, and the shards are read back from all stretches: neither many nor large.
STRETCHES, SMALLEST_BYTES, LARGEST_BYTES = 32, 8 << 20, 512 << 20
STEP_BYTES = 64 << 10  # blocks of a tar are whole in a stretch
# Whole files that are no pictures and this small may say something of one: labels, captions.
SMALL_FILE_BYTES = 64 << 10


def stretch_bytes(source_bytes: int) -> int:
    """How long the stretches of so many bytes are."""
    wanted = max(SMALLEST_BYTES, min(LARGEST_BYTES, source_bytes // STRETCHES))
    return -(-wanted // STEP_BYTES) * STEP_BYTES


@dataclass(frozen=True, kw_only=True)
class ArchiveStretch:
    """Bytes [start, end) of an archive, read forward once: the images whose headers begin there.

    A position is where an image's bytes begin. `state` says which archive it is. `pieces` are files that hold it, each with
    where it begins, where the archive itself can only be read from its beginning.
    """

    number: int
    container: int
    path: Path
    state: tuple[str, ...]
    start: int
    end: int
    pieces: tuple[tuple[int, Path], ...] = ()
    quarantined: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As its files are called."""
        return stretch_name(self.number)

    @property
    def images(self) -> int:
        """Its bytes: nobody knows yet how many images they are."""
        return self.end - self.start

    def key(self, position: int) -> str:
        """Where an image lies."""
        return f"{self.path.name}, byte {position:,}"

    def without(self, position: int, reason: str) -> "ArchiveStretch":
        """The same with one position more in quarantine."""
        return replace(self, quarantined={**self.quarantined, position: reason})

    def identity(self, setup: BuildSetup) -> str:
        """What its bytes depend on."""
        return identity_of(setup, self.state, self.container, self.start, self.end)

    def is_written(self, setup: BuildSetup) -> bool:
        """Whether it is there, images that were given up or not."""
        return written_stretch(setup, self.name, self.identity(setup)) is not None

    def finished(self, setup: BuildSetup, on_sign: OnSign) -> StretchFacts | None:
        """Its facts where it is there."""
        return finished_stretch(setup, self.name, self.identity(setup))

    def run(self, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> tuple[StretchFacts, Seconds]:
        """Read, convert and write it."""
        identity = self.identity(setup)
        try:
            file = PiecedFile(self.pieces or ((0, self.path),))
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            forward = ForwardReader(self._worded(file.read_at), min(self.end, file.size))
            known = {"number": self.number, "container": self.container, "start": self.start, "is_noted": True}
            images = self._images(forward, file.size, notes_path(setup, self.name))
            return write_stretch(setup, images, self.quarantined, on_sign, identity=identity, **known)
        finally:
            file.close()

    def _images(self, forward: ForwardReader, size: int, notes_file: Path) -> Iterator[SourceImage]:
        notes = BlockNotes()
        for found in files_between(forward.read_at, self.start, self.end, notes.note):
            if found.offset + found.size <= size and _is_image(found, forward, notes):
                load = partial(forward.read_at, found.offset, found.size)
                yield SourceImage(position=found.offset, image=found.offset, size=min(found.size, MAX_SIZE), load=load)
        notes.save(notes_file)

    def _worded(self, read_at: ReadAt) -> ReadAt:
        def read(offset: int, size: int) -> bytes:
            try:
                return read_at(offset, size)
            except OSError as error:
                raise self._unreadable(error) from error

        return read

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(
            f"{self.path}: cannot be read ({error.strerror}); check the source and its disk, then start again: "
            "it goes on from here"
        )


def _is_image(found: StretchFile, forward: ForwardReader, notes: BlockNotes) -> bool:
    """Whether a file of a tar is converted; what is none is taken down as far as a walk may want it."""
    if is_dotfile(found.name) or is_rubbish(found.name):
        return False
    ending = found.name.rpartition(".")[2].lower()
    if ending in PICTURE_ENDINGS:
        return True
    wanted = found.size if found.size <= SMALL_FILE_BYTES else HEAD_BYTES
    content = forward.read_at(found.offset, wanted)
    notes.note(found.offset, content)
    return is_picture(found.name, lambda: content[:HEAD_BYTES])


@dataclass(frozen=True)
class SpooledArchive:
    """An archive that can only be read forward: its first stretch, whose length all have, and its stored bytes."""

    first: ArchiveStretch
    stored_bytes: int

    @property
    def step(self) -> int:
        """The length of its stretches."""
        return self.first.end - self.first.start

    def stretch(self, count: int) -> ArchiveStretch:
        """Stretch number `count` of it."""
        start = count * self.step
        return replace(self.first, number=self.first.number + count, start=start, end=start + self.step)


@dataclass(frozen=True, kw_only=True)
class ListedStretch:
    """Images that the index names, in the order in which they lie: (M,) `rows` of it, and what is read for each.

    A position counts them.
    """

    number: int
    rows: npt.NDArray[np.int64]
    keys: Names
    file_names: Names
    locations: npt.NDArray[np.void]
    quarantined: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As its files are called."""
        return stretch_name(self.number)

    @property
    def images(self) -> int:
        """About how many bytes its images are."""
        return int(self.locations["size"].sum(dtype=np.int64))

    def key(self, position: int) -> str:
        """Key of the image at `position`."""
        return bytes(self.keys[position]).decode("utf-8", "surrogateescape")

    def without(self, position: int, reason: str) -> "ListedStretch":
        """The same with one position more in quarantine."""
        return replace(self, quarantined={**self.quarantined, position: reason})

    def identity(self, setup: BuildSetup) -> str:
        """What its bytes depend on."""
        digest = hashlib.sha256()
        for array in (self.rows, self.file_names, self.locations):
            digest.update(np.ascontiguousarray(array).tobytes())
        return identity_of(setup, [path.name for path in setup.containers], digest.hexdigest())

    def is_written(self, setup: BuildSetup) -> bool:
        """Whether it is there, images that were given up or not."""
        return written_stretch(setup, self.name, self.identity(setup)) is not None

    def finished(self, setup: BuildSetup, on_sign: OnSign) -> StretchFacts | None:
        """Its facts where it is there."""
        return finished_stretch(setup, self.name, self.identity(setup))

    def run(self, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> tuple[StretchFacts, Seconds]:
        """Read, convert and write it."""
        known = {"number": self.number, "container": NO_CONTAINER, "start": 0, "is_noted": False}
        identity = self.identity(setup)
        return write_stretch(setup, self._images(reader), self.quarantined, on_sign, identity=identity, **known)

    def _images(self, reader: SourceReader) -> Iterator[SourceImage]:
        for position, place in enumerate(self.locations):
            where = int(place["container"]), bytes(self.file_names[position]), int(place["offset"]), int(place["size"])
            load = partial(reader.read, *where)
            yield SourceImage(position=position, image=int(self.rows[position]), size=int(place["size"]), load=load)


# Numbers of the stretches of one archive: nobody knows how many those are that can only be read forward.
NUMBERS_AN_ARCHIVE = 100_000


def stretches_of(
    paths: Sequence[Path], facts: Sequence[ArchiveFacts] | None = None
) -> tuple[list[ArchiveStretch], list[SpooledArchive]]:
    """The stretches of a split's archives, and the archives that can only be read forward; `facts` where they are known.

    Raises SourceError where one is not there.
    """
    found, spooled = list[ArchiveStretch](), list[SpooledArchive]()
    facts = facts_of(paths) if facts is None else facts
    step = stretch_bytes(sum(each.stored_bytes for each in facts))
    for container, (path, each) in enumerate(zip(paths, facts, strict=True)):
        known = {"container": container, "path": path, "state": each.state}
        first = container * NUMBERS_AN_ARCHIVE
        if each.is_streamed:
            stretch = ArchiveStretch(number=first, start=0, end=step, **known)  # type: ignore[arg-type]
            spooled.append(SpooledArchive(stretch, each.stored_bytes))
            continue
        for count, start in enumerate(range(0, each.stored_bytes, step)):
            end = min(start + step, each.stored_bytes)
            found.append(ArchiveStretch(number=first + count, start=start, end=end, **known))  # type: ignore[arg-type]
    return found, spooled


def listed_stretches(images: SplitSource, rows: npt.NDArray[np.int64], first_number: int) -> list[ListedStretch]:
    """Stretches of the images `rows` of an index, as they lie in their containers, numbered from `first_number` on."""
    if not len(rows):
        return []
    places = images.locations[rows]
    rows = rows[np.lexsort((images.names[rows], places["offset"], places["container"]))]
    sizes = np.cumsum(images.locations["size"][rows].astype(np.int64))
    step = stretch_bytes(int(sizes[-1]))
    borders = np.unique([0, *(np.searchsorted(sizes, np.arange(step, int(sizes[-1]), step)) + 1), len(rows)])
    return [
        ListedStretch(
            number=first_number + count,
            rows=rows[begin:end],
            keys=images.keys[rows[begin:end]],
            file_names=images.names[rows[begin:end]],
            locations=images.locations[rows[begin:end]],
        )
        for count, (begin, end) in enumerate(pairwise(borders))
    ]
