"""The process that does jobs: takes them from a pipe, says which image it is at, answers with the result."""

import os
import signal
import time
from multiprocessing.connection import Connection

from alexnet_prep.job import AT_OUTPUT, NO_IMAGE, BuildSetup, Job, Result
from alexnet_prep.reader import SourceReader
from alexnet_shards.errors import AlexnetError, file_error
from alexnet_shards.machine import keep_freed_memory
from alexnet_shards.processes import die_with_parent


def worker_main(connection: Connection, setup: BuildSetup, parent_pid: int) -> None:
    """Serve jobs of `setup`, or of another that comes between them, until the pipe ends.

    Messages to the parent: ("at", phase, position, source_bytes) whenever it turns to other work (job.OnSign);
    ("done", result, seconds or None where all was there) or ("failed", line) after a job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent_pid)
    keep_freed_memory()
    reader = SourceReader(setup.containers, setup.sparse, setup.image_column)
    try:
        while True:
            message: BuildSetup | Job[Result] = connection.recv()
            if isinstance(message, BuildSetup):
                setup = message
                reader.close()
                reader = SourceReader(setup.containers, setup.sparse, setup.image_column)
                continue
            job = message
            connection.send(_answer(job, setup, reader, connection, parent_pid))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        reader.close()


def _answer(
    job: Job[Result], setup: BuildSetup, reader: SourceReader, connection: Connection, parent_pid: int
) -> tuple[object, ...]:
    def on_sign(phase: str, position: int, source_bytes: int) -> None:
        if os.getppid() != parent_pid:  # where there is no parent-death signal
            os._exit(1)
        connection.send(("at", phase, position, source_bytes))

    on_sign(AT_OUTPUT, NO_IMAGE, 0)
    try:
        result = job.finished(setup, on_sign)
        if result is not None:
            return ("done", result, None)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        result, seconds = job.run(setup, reader, on_sign)
        seconds.wall_s, seconds.cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        return ("done", result, seconds)
    except BrokenPipeError:
        raise
    except AlexnetError as error:
        return ("failed", str(error))
    except OSError as error:
        return ("failed", str(file_error(setup.out, error)))
