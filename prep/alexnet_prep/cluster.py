"""The workers of a Dask cluster in the place of this machine's processes: connected, checked, given jobs.

Lost workers are the scheduler's to replace: their jobs run again elsewhere, to the same bytes.
"""

import asyncio
import concurrent.futures
import importlib
import logging
import os
import platform
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from alexnet_prep.errors import RunError
from alexnet_shards import __version__
from alexnet_shards.errors import AlexnetError, WorkerError
from alexnet_shards.extras import require
from alexnet_shards.files import write_atomic
from alexnet_shards.machine import available_cpus
from alexnet_shards.pool import Workers

SLURM = "slurm"
CONNECT_SECONDS = 30
ANSWER_SECONDS = 60.0  # for a worker to say what it has; who is silent is the scheduler's to notice
POLL_SECONDS = 10.0
JOBS_AHEAD_A_THREAD = 2
CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
LOGGER = logging.getLogger(__name__)


@contextmanager
def hired(scheduler: str | None, workers: int | None, say: Callable[[str], None]) -> Iterator[Workers]:
    """Who works: the cluster of `scheduler`, or without one so many processes of this machine (None: one a processor)."""
    if scheduler is None:
        yield workers or available_cpus()
        return
    if workers is not None and scheduler.partition(":")[0] != SLURM:
        raise RunError(f"--workers {workers}: all workers of {scheduler} are taken; leave --workers out")
    with connected(scheduler, workers, say) as cluster:
        yield cluster


@contextmanager
def connected(scheduler: str, workers: int | None, say: Callable[[str], None]) -> Iterator["Cluster"]:
    """The cluster at `scheduler`: an address as tcp://HOST:8786, "slurm", or "slurm:FILE" with a file of dask-jobqueue.

    "slurm" submits jobs for `workers` workers (None: 1), which end with the block. Waits for the first worker, which is
    said. Raises RunError where there is no such scheduler, or a worker has another version of what makes the bytes.
    """
    distributed = _distributed()
    for name in ("distributed", "distributed.client", "distributed.core", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is our line to say
    with ExitStack() as held:
        kind, _, file = scheduler.partition(":")
        if kind == SLURM:
            address: Any = held.enter_context(_slurm(file, workers or 1))
        elif "://" in scheduler:
            address = scheduler
        else:
            raise RunError(f"--scheduler {scheduler}: expected tcp://HOST:8786, slurm or slurm:FILE.yaml")
        try:
            client = held.enter_context(distributed.Client(address, timeout=CONNECT_SECONDS))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{scheduler}: no Dask scheduler answers there; start one with: dask scheduler") from error
        cluster = Cluster(client, scheduler)
        cluster.wait_for_workers(say)
        cluster.check_workers()
        yield cluster


def _distributed() -> Any:
    """Dask's distributed; raises MissingLibraryError where it is not installed."""
    require("distributed", "dask's distributed", "cluster")
    return importlib.import_module("distributed")


@contextmanager
def _slurm(file: str, workers: int) -> Iterator[Any]:
    """A dask-jobqueue cluster of so many workers by the configuration of `file`, "" for Dask's own configuration."""
    require("dask_jobqueue", "dask-jobqueue", "cluster")
    import dask
    import yaml

    jobqueue: Any = importlib.import_module("dask_jobqueue")
    with ExitStack() as held:  # the configuration is read whenever a job is submitted
        try:
            content = yaml.safe_load(Path(file).read_text("utf-8")) if file else {}
            held.enter_context(dask.config.set(dask.config.merge(dask.config.config, content or {})))
            cluster = held.enter_context(jobqueue.SLURMCluster())
            cluster.scale(workers)
        except (OSError, ValueError, TypeError, AttributeError, RuntimeError, LookupError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())[:300]
            where = file or "jobqueue.yaml"
            raise RunError(
                f"{where}: no configuration that dask-jobqueue can use ({said}); see docs/cluster.md"
            ) from error
        yield cluster


def node_facts() -> tuple[str, str]:
    """What of a worker must be as it is here: the project's version and Python's."""
    return __version__, ".".join(platform.python_version_tuple()[:2])


def reads(path: str, content: bytes | None, size: int) -> bool:
    """Whether a file is seen by the process that calls this: with that content, or, None, of that size."""
    try:
        return Path(path).read_bytes() == content if content is not None else Path(path).stat().st_size == size
    except OSError:
        return False


class Cluster:
    """Workers of a scheduler; a Crew for `worker_pool`, and what an engine for jobs is made of."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self.name = client, name

    @contextmanager
    def pool(self, where: str) -> Iterator["ClusterPool"]:
        """A pool of all workers, for jobs that read or write in the folder `where`; raises RunError where one cannot."""
        self.check_shared(Path(where))
        yield ClusterPool(self, where)

    def threads(self) -> int:
        """How many jobs run at once, by now."""
        with self._connected():
            return sum(self._client.nthreads().values())

    def begin(self, function: Callable[..., Any], arguments: Sequence[Any], workers: Collection[str] = ()) -> Any:
        """Submit one job, to one of `workers` where any are named; a future."""
        arguments = [argument.absolute() if isinstance(argument, Path) else argument for argument in arguments]
        name = getattr(function, "__name__", type(function).__name__)
        key = f"{name}-{secrets.token_hex(8)}"  # Dask would take equal names for one job
        with self._connected():
            return self._client.submit(function, *arguments, pure=False, key=key, workers=list(workers) or None)

    def wait(self, futures: Iterable[Any], seconds: float) -> list[Any]:
        """Those of `futures` that are done, within `seconds` at least one where it can be."""
        waited = list(futures)
        with suppress(TimeoutError, *CANCELLED):
            _distributed().wait(waited, timeout=seconds, return_when="FIRST_COMPLETED")
        return [future for future in waited if future.done()]

    def result(self, future: Any, where: str) -> Any:
        """What a job that is done gave. Raises what it raised, and WorkerError where workers or scheduler were lost."""
        if future.status in ("cancelled", "lost"):
            raise WorkerError(f"{where}: {self._gone()}")
        try:
            return future.result()
        except AlexnetError:
            raise
        except _distributed().KilledWorker as error:
            raise WorkerError(
                f"{where}: {self.name} lost one worker after the other at one job (out of memory? see their logs); start "
                "again, it goes on from here"
            ) from error

    @contextmanager
    def _connected(self) -> Iterator[None]:
        if self._client.status != "running":  # Dask would wait for half a minute
            raise WorkerError(self._gone())
        try:
            yield
        except (OSError, RuntimeError, *CANCELLED) as error:  # as Dask words a closed connection
            raise WorkerError(self._gone()) from error

    def _gone(self) -> str:
        return f"the scheduler {self.name} is gone; start again, it goes on from here"

    def cancel(self, futures: Iterable[Any]) -> None:
        """Give up jobs; those that run already end by themselves."""
        waited = list(futures)
        with suppress(Exception):  # the scheduler may be gone
            if waited and self._client.status == "running":
                self._client.cancel(waited)

    def wait_for_workers(self, say: Callable[[str], None]) -> None:
        """Wait for the first worker; a line says so."""
        if not self._client.nthreads():
            say(f"{self.name}: has no worker yet; waiting for the first")
            self._client.wait_for_workers(1)

    def check_workers(self) -> None:
        """Raises RunError where a worker lacks the project or has another version of it or of Python."""
        for worker, answer in self.ask(node_facts, ()).items():
            if isinstance(answer, Exception):
                said = " ".join(str(answer).split())[:200]
                raise RunError(
                    f"{worker}: cannot run alexnet-prep ({said}); install the same version there"
                ) from answer
            if answer != node_facts():
                raise RunError(
                    f"{worker}: has alexnet-prep {answer[0]} on Python {answer[1]}, here it is {__version__} on "
                    f"{node_facts()[1]}; install the same there"
                )

    def check_shared(self, directory: Path) -> None:
        """Raises RunError where a worker does not see what this process writes, or finds, in `directory`."""
        with ExitStack() as held:
            token = directory.absolute() / f".shared-{secrets.token_hex(8)}"
            content: bytes | None = secrets.token_bytes(16)
            try:
                write_atomic(token, content or b"")
                held.callback(token.unlink, missing_ok=True)
            except AlexnetError:  # read only: what is there must do
                token = next((path for path in directory.absolute().iterdir() if path.is_file()), token)
                content = None
            size = token.stat().st_size if token.exists() else 0
            for worker, sees in self.ask(reads, (str(token), content, size)).items():
                if sees is not True:
                    raise RunError(
                        f"{directory}: worker {worker} does not see it as it is here; expected a folder of a file system "
                        "that scheduler and workers share"
                    )

    def ask(self, function: Callable[..., Any], arguments: Sequence[Any]) -> dict[str, Any]:
        """Each worker's answer, or the exception that it raised; who is silent has none."""
        asked = {worker: self.begin(function, arguments, [worker]) for worker in self._client.nthreads()}
        with suppress(TimeoutError, *CANCELLED):
            _distributed().wait(list(asked.values()), timeout=ANSWER_SECONDS)
        answers = {}
        for worker, future in asked.items():
            if future.done() and future.status in ("finished", "error"):
                answers[worker] = future.result() if future.status == "finished" else future.exception()
        self.cancel(asked.values())
        return answers


class ClusterPool:
    """A Pool whose workers are a cluster's."""

    def __init__(self, cluster: Cluster, where: str) -> None:
        self._cluster, self._where = cluster, where

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any], ahead: int | None = None) -> Iterator[Any]:
        """As Pool's."""
        jobs = zip(*arguments, strict=True)
        begun: deque[Any] = deque()
        room = ahead or JOBS_AHEAD_A_THREAD * max(1, self._cluster.threads())
        try:
            while True:
                while len(begun) < room and (job := next(jobs, None)) is not None:
                    begun.append(self._cluster.begin(function, job))
                if not begun:
                    return
                while not self._cluster.wait([begun[0]], POLL_SECONDS):
                    warn_without_workers(self._cluster)
                yield self._cluster.result(begun.popleft(), self._where)
        finally:
            self._cluster.cancel(begun)


def warn_without_workers(cluster: Cluster) -> None:
    """A line where a scheduler has no workers left."""
    if not cluster.threads():
        LOGGER.warning("%s: has no worker now; waiting for one (process %d)", cluster.name, os.getpid())
