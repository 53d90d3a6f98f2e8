"""Worker processes that may be killed or hang without harm: a death costs a retry, then one image, never the run."""

import errno
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from alexnet_prep.errors import RunError
from alexnet_prep.job import AT_IMAGE, READING, BuildSetup, Job, Result, Seconds, Supply
from alexnet_prep.worker import worker_main
from alexnet_shards.machine import affordable_workers
from alexnet_shards.processes import Child, start_child


@dataclass(frozen=True)
class _Patience:
    """How many workers may be lost in one way at one image, and at no image of one shard."""

    kind: str
    at_one_image: int
    outside_images: int


# One image that hangs its decoder is given up after two tries. A death may also be a random kill (out of memory, an
# operator), so it takes three on the same image before the image is blamed.
HUNG = _Patience("hung", 2, 3)
DIED = _Patience("died", 3, 20)
POLL_SECONDS = 0.5
START_SECONDS = 120.0  # a new process imports its libraries, from a cold disk perhaps, before it can say a word


LIMITS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


WorkerTarget = Callable[[Connection, BuildSetup, int], None]
R = TypeVar("R", bound=Result)


class Listener(Protocol):
    """Who wants to know how the run goes."""

    def image(self, source_bytes: int) -> None:
        """A worker begins an image."""

    def done(self, job: Job[Result], result: Result, seconds: Seconds | None) -> None:
        """A job is done; `seconds` is None where all that it makes was there already."""

    def retry(self, job: Job[Result], reason: str) -> None:
        """A worker was lost; its job is run again."""

    def waiting(self, line: str) -> None:
        """A disk keeps a worker waiting, or there are fewer workers than were asked for."""


@dataclass(kw_only=True)
class _Worker:
    process: Child
    connection: Connection
    job: Job[Any] | None = None
    phase: str = ""
    position: int = -1
    heard_s: float = 0.0
    told_s: float = 0.0
    ready: bool = False


class Engine:
    """Runs jobs on `workers` processes, one run after the other, of one `setup` or, by `use`, of several; use as a context
    manager, which ends them.

    `hang_seconds` without a sign of life from a worker that is at an image counts as a hang; one that reads or writes
    waits for a disk, however long, which is said. `target` is what a worker process runs.
    """

    def __init__(
        self,
        setup: BuildSetup,
        workers: int,
        hang_seconds: float,
        listener: Listener,
        target: WorkerTarget = worker_main,
    ) -> None:
        self._setup, self._hang_seconds, self._listener, self._target = setup, hang_seconds, listener, target
        self._num_workers = workers
        self._workers: list[_Worker] = []
        self._blame: Counter[tuple[str, int, str]] = Counter()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            self._end(worker)
        self._workers.clear()

    def use(self, setup: BuildSetup) -> None:
        """Go on with the jobs of another setup: the workers, of which none is at a job, stay."""
        if setup == self._setup:
            return
        self._setup = setup
        self._blame.clear()  # jobs of another setup may have the same names
        for worker in self._workers:
            with suppress(BrokenPipeError, ConnectionResetError):  # its death is noticed with its next job
                worker.connection.send(setup)

    def run(self, jobs: Iterable[Job[R] | None], num_jobs: int) -> Iterator[R]:
        """Yield the result of every job, in the order in which they are done. Raises RunError where one cannot be.

        `num_jobs` bounds the processes that are started. `jobs` is asked for one whenever a worker is free; a None says
        that none is ready by now.
        """
        waiting, supply = deque[Job[R]](), Supply(jobs)
        self._start_all(min(self._num_workers, num_jobs))
        while supply.has_more or waiting or any(worker.job is not None for worker in self._workers):
            for worker in self._workers:
                if worker.job is None and (job := waiting.popleft() if waiting else supply.take()) is not None:
                    self._give(worker, job)
            if supply.has_more or any(worker.job is not None for worker in self._workers):
                yield from self._listen(waiting)

    def _start_all(self, wanted: int) -> None:
        """Start so many workers, or as many as the system's limits allow. Raises RunError where it allows none."""
        allowed = affordable_workers(wanted)
        reason = "open files (ulimit -n)"
        while len(self._workers) < allowed:
            try:
                self._workers.append(self._start())
            except OSError as error:
                if error.errno not in LIMITS or not self._workers:
                    raise RunError(
                        f"no worker can be started ({error.strerror}); raise the limits of ulimit"
                    ) from error
                reason = error.strerror or "the system's limits"
                break
        if len(self._workers) < wanted:
            self._listener.waiting(f"{len(self._workers)} workers instead of {wanted}: {reason}")

    def _start(self) -> _Worker:
        process = start_child(self._target, (self._setup, os.getpid()))
        return _Worker(process=process, connection=process.connection)

    def _give(self, worker: _Worker, job: Job[Any]) -> None:
        worker.job, worker.phase, worker.position, worker.heard_s = job, "", -1, time.monotonic()
        with suppress(BrokenPipeError):  # its death is noticed when we listen
            worker.connection.send(job)

    def _listen(self, waiting: deque[Any]) -> Iterator[Any]:
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        ready = wait(list(busy), timeout=POLL_SECONDS)
        for connection in ready:
            worker = busy[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join()
                self._lost(worker, waiting, f"died (exit status {worker.process.exitcode})", DIED)
                continue
            worker.heard_s, worker.told_s, worker.ready = time.monotonic(), 0.0, True
            result = self._take(worker, message)
            if result is not None:
                yield result
        for worker in busy.values():
            self._look_after(worker, waiting)

    def _look_after(self, worker: _Worker, waiting: deque[Any]) -> None:
        """Give up a worker that hangs; tell of one that a disk keeps waiting."""
        patience_s = self._hang_seconds if worker.ready else max(self._hang_seconds, START_SECONDS)
        silent_s = time.monotonic() - worker.heard_s
        if worker.job is None or silent_s <= patience_s:
            return
        if worker.phase not in ("", AT_IMAGE) and not is_stopped(worker.process.pid):
            if silent_s > 2 * worker.told_s:
                worker.told_s = silent_s
                what = (
                    f"reading {worker.job.key(worker.position)}"
                    if worker.phase == READING
                    else "writing or checking it"
                )
                self._listener.waiting(
                    f"{worker.job.name}: {what} takes {silent_s:.0f} s; the disk is slow or away, and is waited for"
                )
            return
        worker.process.kill()
        worker.process.join()
        self._lost(worker, waiting, f"hung for {patience_s:.0f} s", HUNG)

    def _take(self, worker: _Worker, message: tuple[Any, ...]) -> Result | None:
        match message:
            case ("at", str(phase), int(position), int(source_bytes)):
                worker.phase, worker.position = phase, position
                if phase == AT_IMAGE:
                    self._listener.image(source_bytes)
                return None
            case ("done", result, Seconds() | None as seconds) if worker.job is not None:
                job, worker.job = worker.job, None
                self._listener.done(job, result, seconds)
                return cast(Result, result)
            case ("failed", str(line)):
                raise RunError(line)
            case _:
                raise RunError(f"a worker answered {message!r:.80}; this is a bug of alexnet-prep, please report it")

    def _lost(self, worker: _Worker, waiting: deque[Any], what: str, patience: _Patience) -> None:
        """Put a lost worker's job back, without the image it was at once that image has cost enough workers."""
        job, worker.job = worker.job, None  # it is in hand: who still holds the lost worker must not lose it again
        self._end(worker)
        self._workers[self._workers.index(worker)] = self._start()
        if job is None:
            return
        blame = (job.name, worker.position, patience.kind)
        self._blame[blame] += 1
        if worker.position < 0:
            if self._blame[blame] >= patience.outside_images:
                raise RunError(
                    f"{job.name}: {self._blame[blame]} workers {what}; check memory and disk, or take fewer --workers"
                )
        elif self._blame[blame] >= patience.at_one_image:
            reason = f"quarantined: {self._blame[blame]} workers {what} on it"
            job = job.without(worker.position, reason)
        self._listener.retry(job, f"{job.name}: a worker {what}" + _at(job, worker.position))
        waiting.append(job)

    @staticmethod
    def _end(worker: _Worker) -> None:
        worker.process.close()


def _at(job: Job[Any], position: int) -> str:
    return f" at {job.key(position)}; it is made again" if position >= 0 else "; it is made again"


def is_stopped(pid: int | None) -> bool:
    """Whether a process was stopped (SIGSTOP, a debugger); False where the system does not say."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")
