"""A pool of workers for jobs that need no retry: results in order, a killed worker is one line.

They are processes of this machine, or whoever else has a pool; who gives the jobs does not know which.
"""

import errno
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from alexnet_shards.errors import AlexnetError, WorkerError, file_error
from alexnet_shards.machine import affordable_workers
from alexnet_shards.processes import WORKER_EXTRA_BYTES, Child, start_child

LOGGER = logging.getLogger(__name__)
JOBS_AHEAD_A_WORKER = 8


class Pool(Protocol):
    """Workers that wait for jobs; of one thread."""

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any], ahead: int | None = None) -> Iterator[Any]:
        """`function` of each job's arguments, in their order, lazily; at most `ahead` jobs begun and not yet yielded.

        Raises what the function raises, at that job's turn, and WorkerError where workers are lost.
        """


class Crew(Protocol):
    """Workers of other machines, in the place of a number of processes of this one."""

    def pool(self, where: str) -> AbstractContextManager[Pool]:
        """A pool of them, for jobs that read or write in the folder `where`."""


Workers = int | Crew


@contextmanager
def worker_pool(workers: Workers, num_jobs: int, where: str) -> Iterator[Pool]:
    """A pool of at most one process a job, or of a crew; its processes end with the block, and with this process.

    Raises WorkerError, which begins with `where`, where a process is killed or none can be started.
    """
    if not isinstance(workers, int):
        with workers.pool(where) as pool:
            yield pool
        return
    children = start_many(min(workers, num_jobs), lambda: start_child(_serve, ()), where)
    try:
        yield WorkerPool(children, where)
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.close()


def start_many(workers: int, start: Callable[[], Child], where: str) -> list[Child]:
    """Up to `workers` children; fewer, which is said, where open files, processes or memory run out. At least one.

    Raises WorkerError, which begins with `where`, where not even one can be started.
    """
    children: list[Child] = []
    wanted, reason = max(1, workers), "too many open files; raise ulimit -n"
    try:
        for _ in range(affordable_workers(wanted)):
            children.append(start())
    except OSError as error:
        if not children:
            raise WorkerError(f"{where}: {file_error('a worker process', error, 'started')}") from error
        if error.errno not in (errno.EMFILE, errno.ENFILE):  # those are the reason foreseen, met at a start
            reason = error.strerror or str(error)
    except BaseException:
        for child in children:
            child.close()
        raise
    if len(children) < wanted:
        LOGGER.warning("%s: %d workers instead of %d (%s)", where, len(children), wanted, reason)
    return children


class WorkerPool:
    """Processes that wait for jobs; of one thread."""

    def __init__(self, children: list[Child], where: str) -> None:
        self._children, self._where = children, where
        self._at_work: dict[Connection, int] = {}  # the job's number

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any], ahead: int | None = None) -> Iterator[Any]:
        """`function` of each job's arguments, in their order, lazily; at most `ahead` jobs begun and not yet yielded.

        Raises what the function raises, at that job's turn, and WorkerError where a process is killed.
        """
        if self._at_work:
            raise RuntimeError("a map of this pool was left before its end")
        jobs, begun, yielded = enumerate(zip(*arguments, strict=True)), 0, 0
        ahead = ahead or JOBS_AHEAD_A_WORKER * len(self._children)
        answers: dict[int, tuple[bool, Any, str]] = {}
        more = True
        while True:
            while more and begun - yielded < ahead and (idle := self._idle()):
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    begun += 1
                    self._give(idle, job[0], (function, job[1]))
            if yielded in answers:
                answers.update(self._listen(0))
                yield _result(*answers.pop(yielded))
                yielded += 1
            elif self._at_work:
                answers.update(self._listen(None))
            else:
                return

    def _idle(self) -> Child | None:
        return next((child for child in self._children if child.connection not in self._at_work), None)

    def _give(self, child: Child, number: int, job: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        self._at_work[child.connection] = number
        try:
            child.connection.send(job)
        except OSError as error:
            raise self._lost(child) from error

    def _listen(self, seconds: float | None) -> dict[int, tuple[bool, Any, str]]:
        """Answers by job number, those that are there within `seconds`."""
        answers = {}
        for connection in wait(list(self._at_work), seconds):
            (child,) = (child for child in self._children if child.connection is connection)
            try:
                answers[self._at_work.pop(child.connection)] = child.connection.recv()
            except (EOFError, OSError) as error:
                raise self._lost(child) from error
        return answers

    def _lost(self, child: Child) -> WorkerError:
        child.join()
        status = child.exitcode or 0
        if status < 0:
            return WorkerError(
                f"{self._where}: a worker was killed (out of memory?); start again, with fewer --workers"
            )
        return WorkerError(f"{self._where}: a worker ended by itself with status {status}; start again")


def _result(good: bool, answer: Any, where_raised: str) -> Any:
    if good:
        return answer
    if not isinstance(answer, AlexnetError):  # a bug of ours: show where
        answer.add_note(where_raised)
    raise answer


def _serve(connection: Connection) -> None:
    """What a worker runs: answer jobs until the pipe ends."""
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, function(*arguments), ""
        except MemoryError:
            gib = WORKER_EXTRA_BYTES >> 30
            line = f"a worker asked for more than its {gib} GiB of memory; this is no image or shard of a usual size"
            answer = False, WorkerError(line), ""
        except Exception as error:  # noqa: BLE001  whatever it is, it is the caller's
            answer = False, _portable(error), traceback.format_exc()
        connection.send(answer)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives a pipe, else one with its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return AlexnetError(str(error)) if isinstance(error, AlexnetError) else RuntimeError(repr(error))
    return error
