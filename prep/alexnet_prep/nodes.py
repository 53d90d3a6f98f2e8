"""Jobs on the workers of a cluster, each by a process of its own: what kills or hangs that is an image's reason, never
the end of the worker that Dask knows."""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from alexnet_pixels import decoder_facts
from alexnet_prep.cluster import JOBS_AHEAD_A_THREAD, Cluster, warn_without_workers
from alexnet_prep.engine import Engine, Listener
from alexnet_prep.errors import RunError
from alexnet_prep.job import BuildSetup, Job, Result, Seconds, Supply
from alexnet_shards.pool import Workers

POLL_SECONDS = 1.0
POLLS_A_LOOK = 10

R = TypeVar("R", bound=Result)


class JobEngine(Protocol):
    """What runs jobs: Engine, or ClusterEngine."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End its processes."""

    def use(self, setup: BuildSetup) -> None:
        """As Engine.use."""

    def run(self, jobs: Iterable[Job[R] | None], num_jobs: int) -> Iterator[R]:
        """As Engine.run."""


class Workshop:
    """The engine of a run, whose workers are started once for all of its splits and passes; use as a context manager."""

    def __init__(self, workers: Workers, hang_seconds: float, listener: Listener) -> None:
        self._workers, self._hang_seconds, self._listener = workers, hang_seconds, listener
        self._engine: JobEngine | None = None
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def engine(self, setup: BuildSetup) -> JobEngine:
        """The engine, for jobs of this setup from now on."""
        if self._engine is None:
            made = job_engine(self._workers, setup, self._hang_seconds, self._listener)
            self._engine = self._held.enter_context(made)
        self._engine.use(setup)
        return self._engine


def job_engine(workers: Workers, setup: BuildSetup, hang_seconds: float, listener: Listener) -> JobEngine:
    """An engine on so many processes of this machine, or on a cluster."""
    if isinstance(workers, int):
        return Engine(setup, workers, hang_seconds, listener)
    if not isinstance(workers, Cluster):
        raise TypeError(f"{type(workers).__name__} has no engine")
    return ClusterEngine(workers, setup, hang_seconds, listener)


@dataclass(kw_only=True)
class _Notes:
    """A listener that keeps what it hears, for whoever waits for the job."""

    images: list[int] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    seconds: Seconds | None = None

    def image(self, source_bytes: int) -> None:
        """Keep it."""
        self.images.append(source_bytes)

    def done(self, job: Job[Result], result: Result, seconds: Seconds | None) -> None:
        """Keep it."""
        self.seconds = seconds

    def retry(self, job: Job[Result], reason: str) -> None:
        """Keep it."""
        self.retries.append(reason)

    def waiting(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)

    def taken(self) -> "_Notes":
        """What was kept; it is empty then."""
        kept = _Notes(images=self.images, retries=self.retries, lines=self.lines, seconds=self.seconds)
        self.images, self.retries, self.lines, self.seconds = [], [], [], None
        return kept


class _Station:
    """The engine of one process that a thread of a Dask worker keeps from job to job."""

    def __init__(self, setup: BuildSetup, hang_seconds: float) -> None:
        self.setup, self.notes, self.busy = setup, _Notes(), threading.Lock()
        self.engine = Engine(setup, 1, hang_seconds, self.notes)


_STATIONS: dict[int, _Station] = {}  # by thread


def run_apart(
    job: Job[R], setup: BuildSetup, hang_seconds: float, libraries: dict[str, Any]
) -> tuple[Job[R], R, _Notes]:
    """Run one job in a process of its own beside this one: the job as it was at last, its result, and what was heard.

    Raises RunError where the decoder is not that of `libraries`, which would make other bytes.
    """
    if decoder_facts() != libraries:
        raise RunError(
            f"{socket.gethostname()}: decodes with {decoder_facts()}, expected {libraries}; install the same"
        )
    station = _STATIONS.get(threading.get_ident())
    if station is None or station.setup != setup:
        if station is not None:
            station.engine.__exit__()
        station = _STATIONS[threading.get_ident()] = _Station(setup, hang_seconds)
    with station.busy:
        try:
            (result,) = station.engine.run([job], 1)
        except BaseException:
            del _STATIONS[threading.get_ident()]
            station.engine.__exit__()
            raise
        return job, result, station.notes.taken()


def end_stations() -> None:
    """End the processes that idle on this worker."""
    for thread, station in list(_STATIONS.items()):
        if station.busy.acquire(blocking=False):
            _STATIONS.pop(thread, None)
            station.engine.__exit__()


class ClusterEngine:
    """An Engine whose jobs run on a cluster; use as a context manager."""

    def __init__(self, cluster: Cluster, setup: BuildSetup, hang_seconds: float, listener: Listener) -> None:
        self.use(setup)
        self._cluster, self._hang_seconds, self._listener = cluster, hang_seconds, listener
        self._begun: set[Any] = set()

    def __enter__(self) -> Self:
        self._cluster.check_shared(self._setup.out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.cancel(self._begun)
        if error is None:
            self._cluster.ask(end_stations, ())

    def use(self, setup: BuildSetup) -> None:
        """Go on with the jobs of another setup."""
        # a worker may stand in another folder
        containers = tuple(each.absolute() if isinstance(each, Path) else each for each in setup.containers)
        self._setup = replace(
            setup, containers=containers, out=setup.out.absolute(), sidecars=setup.sidecars.absolute()
        )

    def run(self, jobs: Iterable[Job[R] | None], num_jobs: int) -> Iterator[R]:
        """As Engine.run, on all workers of the cluster; lost ones are replaced by the scheduler."""
        supply, polls = Supply(jobs), 0
        room = self._room()
        while supply.has_more or self._begun:
            while len(self._begun) < room and (job := supply.take()) is not None:
                arguments = (job, self._setup, self._hang_seconds, decoder_facts())
                self._begun.add(self._cluster.begin(run_apart, arguments))
            done = self._cluster.wait(self._begun, POLL_SECONDS)
            for future in done:
                self._begun.discard(future)
                yield self._heard(*self._cluster.result(future, str(self._setup.out)))
            polls = 0 if done else polls + 1
            if polls % POLLS_A_LOOK == POLLS_A_LOOK - 1:  # workers come and go
                warn_without_workers(self._cluster)
                room = self._room()

    def _room(self) -> int:
        return JOBS_AHEAD_A_THREAD * max(1, self._cluster.threads())

    def _heard(self, job: Job[R], result: R, notes: _Notes) -> R:
        """Tell our own listener what was heard there."""
        for source_bytes in notes.images:
            self._listener.image(source_bytes)
        for line in notes.retries:
            self._listener.retry(job, line)
        for line in notes.lines:
            self._listener.waiting(line)
        self._listener.done(job, result, notes.seconds)
        return result
