"""The loader's threads in one process of their own, which fills a ring in shared memory.

For GPUs whose kernel launches suffer when decoding threads share the interpreter with them. The memory is an anonymous
file (memfd) and the child watches its parent: whichever of the two is killed, nothing is left behind.
"""

import mmap
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np

from alexnet_shards.errors import AlexnetError
from alexnet_stream.loader import Job, JobReport, LoaderConfig, Slots, ThreadLoader
from alexnet_stream.reader import raise_open_files
from alexnet_stream.stop import POLL_SECONDS, Stop

PATIENCE_SECONDS = 0.5


class ChildLoader:
    """ThreadLoader's interface with the threads in a child process."""

    def __init__(self, config: LoaderConfig) -> None:
        """Start the child; its slots are shared with this process."""
        descriptor = os.memfd_create("alexnet-stream", os.MFD_CLOEXEC)
        ours, theirs = Pipe(duplex=True)
        try:
            os.ftruncate(descriptor, config.ring_bytes)
            self.slots: Slots = _map_slots(descriptor, config)
            arguments = [str(descriptor), str(theirs.fileno()), str(os.getpid())]
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=(descriptor, theirs.fileno()),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        finally:
            os.close(descriptor)
            theirs.close()
        self._connection = ours
        self._under_way: set[int] = set()
        self._stop = config.stop
        self._told_to_stop: float | None = None
        self._send(config)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def submit(self, slot: int, job: Job) -> None:
        """Begin to load `job` to the first places of a free slot."""
        self._send((slot, job))
        self._under_way.add(slot)

    def wait(self, slot: int) -> JobReport:
        """Wait for the job of a slot; jobs end in the order of submission. Raises AlexnetError if the child has died."""
        while True:
            report: JobReport | AlexnetError
            try:
                while not self._connection.poll(POLL_SECONDS):
                    self._pass_on_stop()
                ended, report = self._connection.recv()
            except (EOFError, OSError) as error:
                raise self._death() from error
            self._under_way.discard(ended)
            if isinstance(report, AlexnetError):
                raise report
            if ended == slot:
                return report

    def cancel(self, slot: int) -> None:
        """Drop the job of a slot; when this returns, nothing writes to the slot."""
        while slot in self._under_way and not self._connection.closed:
            with suppress(AlexnetError):  # the job that failed has been reported, or the child has died
                self.wait(slot)

    def close(self) -> None:
        """End the child; it holds nothing that must be saved."""
        self._under_way.clear()
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _pass_on_stop(self) -> None:
        """Tell the child, once, that its waits are to end, and end one that does not hear it, as it may still be starting.

        Not in a signal handler, which may interrupt a message.
        """
        if not self._stop.requested:
            return
        if self._told_to_stop is None:
            self._told_to_stop = time.monotonic()
            self._send(None)
        elif time.monotonic() - self._told_to_stop > PATIENCE_SECONDS:
            self._under_way.clear()
            self._process.kill()
            self._stop.check()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._death() from error

    def _death(self) -> AlexnetError:
        self._under_way.clear()
        self._process.kill()
        status = self._process.wait()
        cause = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return AlexnetError(
            f"the loader process {self._process.pid} ended ({cause}; 9 is often a lack of memory); "
            "start again, the run continues where its checkpoint stands"
        )


def _map_slots(descriptor: int, config: LoaderConfig) -> Slots:
    ring = np.frombuffer(mmap.mmap(descriptor, config.ring_bytes), np.uint8)
    return tuple(ring.reshape(config.num_slots, *config.slot_shape))


def _watch(parent: int) -> None:
    """End this process at once when its parent has ended, whoever else holds the pipe open."""
    descriptor = os.pidfd_open(parent)
    if os.getppid() == parent:
        select.select([descriptor], [], [])
    os._exit(0)


def _receive(connection: Connection, loader: ThreadLoader, submitted: "queue.SimpleQueue[int]", stop: Stop) -> None:
    """Begin the jobs that come; None asks for the end of all waits."""
    try:
        while True:
            message = connection.recv()
            if message is None:
                stop.request()
                continue
            slot, job = message
            loader.submit(slot, job)
            submitted.put(slot)
    except (EOFError, OSError):
        os._exit(0)


def _fail(failure: threading.ExceptHookArgs) -> None:
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


def main(arguments: Sequence[str]) -> None:
    """The child: load jobs from the pipe into the shared ring and report them, in their order, until the parent ends."""
    descriptor, pipe, parent = (int(argument) for argument in arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    threading.excepthook = _fail
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    connection = Connection(pipe)
    try:
        config: LoaderConfig = connection.recv()
    except (EOFError, OSError):
        return
    raise_open_files()
    loader = ThreadLoader(config, _map_slots(descriptor, config))
    submitted: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, loader, submitted, config.stop), daemon=True).start()
    while True:
        slot = submitted.get()
        try:
            report: JobReport | AlexnetError = loader.wait(slot)
        except AlexnetError as error:
            report = error
        connection.send((slot, report))


if __name__ == "__main__":
    main(sys.argv[1:])
