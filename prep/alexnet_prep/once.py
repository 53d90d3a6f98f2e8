"""A split whose source is read once, in its own order: stretches, then each in the order of the shards, then the shards."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from alexnet_prep.archive import Tick, open_tar
from alexnet_prep.blocks import NotedArchive, NotedStretch
from alexnet_prep.build import ShardJob
from alexnet_prep.choice import AUTO, IN_PLACE_UNLESS, ONCE, choose_reading, expected_of_archives, reading_line
from alexnet_prep.errors import RunError, SourceError
from alexnet_prep.forward import ArchiveFacts, LocalFile, OpenArchive, facts_of, opened_forward
from alexnet_prep.grouping import Pictures, find_pictures, group_jobs
from alexnet_prep.job import BuildSetup, Job, Result
from alexnet_prep.nodes import JobEngine
from alexnet_prep.order import (
    NUMBERS_AN_ARCHIVE,
    ArchiveStretch,
    ListedStretch,
    SpooledArchive,
    listed_stretches,
    stretches_of,
)
from alexnet_prep.part import PartJob, PartResult, part_jobs
from alexnet_prep.progress import RunProgress
from alexnet_prep.request import ShardsRequest
from alexnet_prep.restore import share_to_make
from alexnet_prep.rundir import check_space, refuse_early
from alexnet_prep.share import parts_line, shares_of
from alexnet_prep.sidecar import Sidecar, seems_there
from alexnet_prep.source import ArchivedSource, Source
from alexnet_prep.split import SplitSource
from alexnet_prep.spool import Spool, finished_stretches, known_size
from alexnet_prep.stagetimes import TIMES_NAME
from alexnet_prep.stretch import StretchFacts, grouped_path, layout_path, notes_path, stretch_name
from alexnet_shards.errors import FormatError
from alexnet_shards.files import own_directory
from alexnet_shards.manifest import BUILD_DIRECTORY

# Stretches whose pictures are not what was written are read again; a disk that damages them every time is given up.
MAX_ROUNDS = 4
PIECES_OF_A_CREW = 16  # of an archive that can only be read forward
R = TypeVar("R", bound=Result)
Rows = npt.NDArray[np.int64]


class OncePass:
    """One split that is read once.

    `setup` is of its stretches; its containers are the split's archives, () where the index has to be known first; `facts`
    are theirs. Of a request for a part only the part's stretches are made, and none of one that joins parts.
    """

    def __init__(
        self,
        split: str,
        setup: BuildSetup,
        facts: Sequence[ArchiveFacts],
        request: ShardsRequest,
        progress: RunProgress,
    ) -> None:
        self._split, self._setup, self._facts, self._progress = split, setup, facts, progress
        self._workers, self._engine_for = request.workers, request.engine_for
        self._share, self._joins = request.share, request.finish
        self._found: list[StretchFacts] | None = None  # of the archives, once they were read

    @cached_property
    def _cut(self) -> tuple[list[ArchiveStretch], list[SpooledArchive]]:
        """The archives' stretches, and those archives that can only be read forward."""
        return stretches_of(self.archives, self._facts)

    @property
    def archives(self) -> tuple[Path, ...]:
        """What is walked forward before anybody knows what is in it."""
        return self._setup.containers

    def index(self, source: ArchivedSource, label_order: str | None, begin: Callable[[], Tick]) -> SplitSource:
        """Convert the archives in stretches, and index the split by what the stretches took down of them; `begin` begins
        the count of that.

        Raises SourceError for archives that cannot be used.
        """
        source.check(self._split)
        if self._joins:
            self._refuse_missing()
        self._found = self._of_archives(self._engine_for(self._setup))
        noted = [(path, self._noted(container)) for container, path in enumerate(self.archives)]

        def opened(path: Path) -> OpenArchive:
            return next((archive for known, archive in noted if known == path), None) or open_tar(path)

        try:
            return source.through(opened).read(self._split, label_order, begin())
        except FormatError as error:
            raise SourceError(str(error)) from error

    def _noted(self, container: int) -> NotedArchive:
        """An archive as its stretches took it down."""
        path = self.archives[container]
        mine = [facts for facts in self._found or () if facts.container == container]
        spooled = [each for each in self._cut[1] if each.first.container == container]
        size = known_size(spooled[0], self._setup) if spooled else path.stat().st_size
        noted = [NotedStretch(facts.start, notes_path(self._setup, facts.name)) for facts in mine]
        return NotedArchive(path, noted, size or 0, partial(_read_once_more, path, bool(spooled)))

    def convert_share(self, setup: BuildSetup | None = None, images: SplitSource | None = None) -> list[StretchFacts]:
        """Make the stretches of a part: of the archives, or, of `images` that the index has, by `setup`, as they lie."""
        engine = self._engine_for(setup or self._setup)
        if images is None:
            return self._of_archives(engine)
        listed = listed_stretches(images, np.arange(len(images)), len(self.archives) * NUMBERS_AN_ARCHIVE)
        return self._convert(engine, [job for place, job in enumerate(listed) if self._takes(place)])

    def _takes(self, place: int) -> bool:
        return self._share is None or self._share.takes(place)

    def _refuse_missing(self, listed: Sequence[ListedStretch] = (), setup: BuildSetup | None = None) -> None:
        """Raise RunError for stretches that parts have not made yet: of the archives, or those that are `listed`.

        One with images that were given up is there: who joins the parts tries those again, as any later run does.
        """
        plain, spooled = ([], []) if listed else self._cut
        setup = setup or self._setup
        jobs: list[ArchiveStretch | ListedStretch] = [*plain, *listed]
        missing = [place for place, job in enumerate(jobs) if not job.is_written(setup)]
        names = [jobs[place].name for place in missing]
        for each in spooled:
            size = known_size(each, setup)
            stretches = map(each.stretch, range(1 if size is None else -(-size // each.step)))
            names += [job.name for job in stretches if size is None or not job.is_written(setup)]
        if names:
            wanted = [str(share) for share in shares_of(setup.out) if not spooled and any(map(share.takes, missing))]
            raise RunError(
                f"{setup.out}: {self._split}: {len(names)} stretches of the source are not there, as {names[0]}; run "
                f"{parts_line(wanted)}, then --finish again"
            )

    def digests(self, images: SplitSource) -> Pictures:
        """What the stretches that are there have of an index's images; nothing is read for it."""
        if self._found is not None:
            return find_pictures(images, self._found)
        plain, spooled = self._cut
        found = [job.finished(self._setup, lambda *_: None) for job in plain]
        for each in spooled:
            found += finished_stretches(each, self._setup)
        return find_pictures(images, [facts for facts in found if facts is not None])

    def build(self, setup: BuildSetup, images: SplitSource, shards: Sequence[ShardJob], order: Rows) -> list[Sidecar]:
        """The sidecars of all `shards`, made where they are not there; `order` are the images as they stand in them.

        Raises RunError where a stretch is damaged again and again.
        """
        engine = self._engine_for(setup)
        sidecars = self._look(engine, setup, shards)
        if len(sidecars) == len(shards):
            return sidecars
        for _ in range(MAX_ROUNDS):
            sidecars, damaged = self._write(engine, setup, images, shards, order)
            if not damaged:
                return sidecars
            self._found = None
            for name in map(stretch_name, damaged):
                self._progress.say(f"{self._split}: {name} is not what was written; it is read again")
                for path in (grouped_path(setup, name), layout_path(setup, name)):
                    path.unlink(missing_ok=True)
        raise RunError(f"{setup.out}: what was written there is damaged again and again; check its disk")

    def _look(self, engine: JobEngine, setup: BuildSetup, shards: Sequence[ShardJob]) -> list[Sidecar]:
        """The sidecars of all shards where none seems to be missing, else none."""
        if not all(seems_there(setup, job.name) for job in shards):
            return []
        jobs = [PartJob(number=job.number, shards=(job,)) for job in shards]
        return _in_order(self._run(engine, jobs, ("", sum(job.images for job in jobs), "images", "shards")))

    def _write(
        self, engine: JobEngine, setup: BuildSetup, images: SplitSource, shards: Sequence[ShardJob], order: Rows
    ) -> tuple[list[Sidecar], set[int]]:
        """(sidecars, damaged stretches): all three passes, each of which keeps what is there."""
        if self._found is None:
            self._found = self._of_archives(engine)
        missing = find_pictures(images, self._found).missing()
        rest = listed_stretches(images, missing, len(self.archives) * NUMBERS_AN_ARCHIVE)
        if self._joins and not self.archives:
            self._refuse_missing(rest, setup)
        listed = self._convert(engine, rest)
        pictures = find_pictures(images, [*self._found, *listed])
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        jobs, places = group_jobs(pictures, rank)
        grouped = self._run(engine, jobs, (": grouping", len(jobs), "stretches", "stretches"))
        damaged = {each.number for each in grouped if each.is_damaged}
        if damaged:
            return [], damaged
        pictures.table["place"] = places
        ends = np.cumsum([job.images for job in shards])
        rows = [order[end - job.images : end] for job, end in zip(shards, ends, strict=True)]
        parts = self._run(engine, part_jobs(shards, rows, pictures), (": writing", len(order), "images", "parts"))
        return _in_order(parts), {number for result in parts for number in result.damaged}

    def _of_archives(self, engine: JobEngine) -> list[StretchFacts]:
        """The facts of all stretches of the archives, made where they are not there."""
        plain, spooled = self._cut
        found = self._convert(engine, [job for place, job in enumerate(plain) if self._takes(place)])
        at_once = self._workers if isinstance(self._workers, int) else PIECES_OF_A_CREW
        if spooled:
            stored, times = sum(each.stored_bytes for each in spooled), self._setup.sidecars / TIMES_NAME
            with (
                self._progress.counted(f"{self._split}: reading once", stored, "bytes", "stretches", times),
                Spool(spooled, self._setup, at_once, self._takes) as spool,
            ):
                for facts in engine.run(spool.jobs(), at_once):
                    spool.done(facts.number)
                    found.append(facts)
        return sorted(found, key=lambda facts: facts.number)

    def _convert(self, engine: JobEngine, jobs: Sequence[Job[StretchFacts]]) -> list[StretchFacts]:
        total = sum(job.images for job in jobs)
        found = self._run(engine, jobs, (": reading once", total, "bytes", "stretches"))
        return sorted(found, key=lambda facts: facts.number)

    def _run(self, engine: JobEngine, jobs: Sequence[Job[R]], counted: tuple[str, int, str, str]) -> list[R]:
        """All results; `counted` is (title, total, unit, what the jobs are called)."""
        if not jobs:
            return []
        title, total, unit, pieces = counted
        times = self._setup.sidecars / TIMES_NAME
        with self._progress.counted(f"{self._split}{title}", total, unit, pieces, times):
            return list(engine.run(jobs, len(jobs)))


def _in_order(results: Iterable[PartResult]) -> list[Sidecar]:
    return sorted((sidecar for result in results for sidecar in result.sidecars), key=lambda sidecar: sidecar.number)


def _read_once_more(path: Path, is_streamed: bool, offset: int, size: int) -> bytes:
    """What no stretch took down: rare, so the archive is opened for it."""
    if is_streamed:
        with opened_forward(path) as stream:
            return stream.read_at(offset, size)
    file = LocalFile(path)
    try:
        return file.read_at(offset, size)
    finally:
        file.close()


def once_pass(
    request: ShardsRequest, source: Source, split: str, known: dict[str, Any], progress: RunProgress
) -> OncePass | None:
    """The pass that reads a split once, None where it is read in place; what was chosen, and what it needs, is said."""
    archives, looked_at = _archives(request, source, split)
    to_make = share_to_make(request.out, split, request.store)
    reading = choose_reading(_asked(request, source, split), looked_at, to_make, source.why_once)
    if not reading.is_once:
        progress.say(reading_line(split, reading, 0))
        return None
    if request.store is not None and (request.share is not None or request.finish):
        raise RunError(
            f"{request.store.shown}: parts of a source that is read once meet in one folder; make them with an --out that "
            "all machines see and copy it there, or make the whole without --part"
        )
    facts = facts_of(archives)
    needed = expected_of_archives(archives, facts) if archives and to_make else 0
    progress.say(reading_line(split, reading, needed))
    refuse_early(request.out, split, known)
    sidecars = own_directory(own_directory(request.out / BUILD_DIRECTORY) / split)
    warning = check_space(request.out, 2 * needed - present_bytes(sidecars))
    if warning:
        progress.say(warning)
    setup = BuildSetup(
        containers=archives,
        recipe=request.recipe,
        out=request.out,
        sidecars=sidecars,
        max_member_bytes=request.max_member_bytes,
    )
    return OncePass(split, setup, facts, request, progress)


def _archives(request: ShardsRequest, source: Source, split: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The archives of a split, and the paths that say how it is read.

    A part reads all splits once where it has to read one so: what is in that is known at the end, and with it the others'
    classes.
    """
    if not isinstance(source, ArchivedSource) or not (archives := source.archives(split)):
        return (), (source.directory,)
    others = (path for other in source.splits for path in source.archives(other)) if request.share is not None else ()
    return archives, (*archives, *others)


def _asked(request: ShardsRequest, source: Source, split: str) -> str:
    """The way that was asked for. Parts read in place unless the source is made for once; what joins them goes by what they
    have left."""
    if request.finish and any((request.out / BUILD_DIRECTORY / split).glob("stretch-*.json")):
        return ONCE
    is_joined = request.finish or request.share is not None
    return IN_PLACE_UNLESS if is_joined and request.read == AUTO and not source.why_once else request.read


def present_bytes(directory: Path) -> int:
    """How much of a pass's pictures lies in a split's `.build`."""
    kinds = ("stretch-*.pictures", "stretch-*.grouped")
    return sum(path.stat().st_size for kind in kinds for path in directory.glob(kind))


def remove_stretches(directory: Path) -> None:
    """Remove what a pass left in a split's `.build`, once the split is whole."""
    for path in directory.glob("stretch-*"):
        path.unlink(missing_ok=True)
