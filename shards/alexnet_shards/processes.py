"""Worker processes that leave no orphan behind and whose death is told in one line."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from alexnet_shards.errors import WorkerError

PR_SET_PDEATHSIG = 1


@contextmanager
def worker_pool(workers: int, num_jobs: int, where: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes for jobs that need no retry, at most one process a job; they die with this one.

    A body that raises leaves jobs that have not begun undone. Raises WorkerError, which begins with `where`, where a
    process is killed.
    """
    size = max(1, min(workers, num_jobs))
    try:
        with ProcessPoolExecutor(size, get_context("spawn"), _start_worker, (os.getpid(),)) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise WorkerError(
            f"{where}: a worker was killed (out of memory?); start again, with fewer --workers"
        ) from error


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, so that no orphan writes beside the next run."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


def _start_worker(parent_pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its pool itself
    die_with_parent(parent_pid)
