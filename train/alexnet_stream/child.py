"""The loader's threads in one process of their own, which fills a ring in shared memory.

For GPUs whose kernel launches suffer when decoding threads share the interpreter with them. The memory is an anonymous
file (memfd) and the child watches its parent: whichever of the two is killed, nothing is left behind.
"""

import mmap
import os
import queue
import threading
import time
import traceback
from multiprocessing.connection import Connection

import numpy as np

from alexnet_remote import POLL_SECONDS, Stop
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import worded
from alexnet_shards.processes import start_child
from alexnet_stream.loader import Job, JobReport, LoaderConfig, Slots, ThreadLoader
from alexnet_stream.reader import raise_open_files

PATIENCE_SECONDS = 0.5


class ChildLoader:
    """ThreadLoader's interface with the threads in a child process."""

    def __init__(self, config: LoaderConfig) -> None:
        """Start the child; its slots are shared with this process."""
        descriptor = os.memfd_create("alexnet-stream", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, config.ring_bytes)
            self.slots: Slots = _map_slots(descriptor, config)
            with worded("the loader process", "started"):
                self._child = start_child(child_main, (descriptor, config), extra_bytes=None, descriptors=(descriptor,))
        finally:
            os.close(descriptor)
        self._under_way: set[int] = set()
        self._dropped: set[int] = set()
        self._stop = config.stop
        self._told_to_stop: float | None = None

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def submit(self, slot: int, job: Job) -> None:
        """Begin to load `job` to the first places of a free slot, once nothing of a dropped job writes there."""
        while slot in self._dropped:
            self._dropped.discard(self._next_report()[0])
        self._send((slot, job))
        self._under_way.add(slot)

    def wait(self, slot: int) -> JobReport:
        """Wait for the job of a slot; jobs end in the order of submission. Raises AlexnetError if the child has died."""
        while True:
            ended, report = self._next_report()
            if ended in self._dropped:
                self._dropped.discard(ended)
                continue
            if isinstance(report, AlexnetError):
                raise report
            if ended == slot:
                return report

    def cancel(self, slot: int) -> None:
        """Drop the job of a slot without a wait for it, which may be one for a stalled download."""
        if slot in self._under_way:
            self._dropped.add(slot)

    def _next_report(self) -> tuple[int, JobReport | AlexnetError]:
        """The slot of the job that has ended next, and its report."""
        try:
            while not self._child.connection.poll(POLL_SECONDS):
                self._pass_on_stop()
            ended: int
            report: JobReport | AlexnetError
            ended, report = self._child.connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        self._under_way.discard(ended)
        return ended, report

    def close(self) -> None:
        """End the child; it holds nothing that must be saved."""
        self._under_way.clear()
        self._dropped.clear()
        self._child.close()

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
            self._dropped.clear()
            self._child.kill()
            self._stop.check()

    def _send(self, message: object) -> None:
        try:
            self._child.connection.send(message)
        except OSError as error:
            raise self._death() from error

    def _death(self) -> AlexnetError:
        self._under_way.clear()
        self._dropped.clear()
        self._child.kill()
        self._child.join()
        status = self._child.exitcode or 0
        cause = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return AlexnetError(
            f"the loader process {self.pid} ended ({cause}; 9 is often a lack of memory); "
            "start again, the run continues where its checkpoint stands"
        )


def _map_slots(descriptor: int, config: LoaderConfig) -> Slots:
    ring = np.frombuffer(mmap.mmap(descriptor, config.ring_bytes), np.uint8)
    return tuple(ring.reshape(config.num_slots, *config.slot_shape))


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


def child_main(connection: Connection, descriptor: int, config: LoaderConfig) -> None:
    """The child: load jobs from the pipe into the shared ring and report them, in their order, until the parent ends."""
    threading.excepthook = _fail
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
