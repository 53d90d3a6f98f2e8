"""The process that builds shards: takes jobs from a pipe, says which image it is at, answers with the sidecar."""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from alexnet_prep.archive import SourceReader
from alexnet_prep.build import NO_IMAGE, BuildSetup, ShardJob, build_shard, finished_shard
from alexnet_prep.errors import RunError
from alexnet_shards.errors import AlexnetError

PR_SET_PDEATHSIG = 1


def worker_main(connection: Connection, setup: BuildSetup, parent_pid: int) -> None:
    """Serve jobs until the pipe ends.

    Messages to the parent: ("at", position, source_bytes) before each image, with position -1 at other work;
    ("done", sidecar, seconds or None where the shard was there) or ("failed", line) after a job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent_pid)
    reader = SourceReader(setup.containers)
    try:
        while True:
            job: ShardJob = connection.recv()
            connection.send(_answer(job, setup, reader, connection, parent_pid))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        reader.close()


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, so that no orphan writes beside the next run."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


@contextmanager
def worker_pool(workers: int, num_jobs: int, where: str) -> Iterator[ProcessPoolExecutor]:
    """A pool for jobs that need no retry, at most one process a job; its processes die with this one.

    Raises RunError, which begins with `where`, where one of them is killed.
    """
    size = max(1, min(workers, num_jobs))
    try:
        with ProcessPoolExecutor(size, get_context("spawn"), die_with_parent, (os.getpid(),)) as pool:
            yield pool
    except BrokenProcessPool as error:
        raise RunError(f"{where}a worker was killed (out of memory?); start again, with fewer --workers") from error


def _answer(
    job: ShardJob, setup: BuildSetup, reader: SourceReader, connection: Connection, parent_pid: int
) -> tuple[object, ...]:
    def on_image(position: int, source_bytes: int) -> None:
        if os.getppid() != parent_pid:  # where there is no parent-death signal
            os._exit(1)
        connection.send(("at", position, source_bytes))

    on_image(NO_IMAGE, 0)
    try:
        sidecar = finished_shard(job, setup, on_image)
        if sidecar is not None:
            return ("done", sidecar, None)
        sidecar, seconds = build_shard(job, setup, reader, on_image)
        return ("done", sidecar, seconds)
    except BrokenPipeError:
        raise
    except AlexnetError as error:
        return ("failed", str(error))
    except OSError as error:
        return ("failed", str(write_failure(error, setup)))


def write_failure(error: OSError, setup: BuildSetup) -> RunError:
    """The line for an output that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"{setup.out}: the disk is full; free space and start the same command again, it goes on from here"
        )
    return RunError(f"{setup.out}: cannot be written ({error.strerror}); check the directory, then start again")
