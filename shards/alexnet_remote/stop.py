"""Stop: one request to end, at which every wait for the network, for a lock or for room looks."""

import functools
import threading
import time
import weakref

from alexnet_shards.errors import AlexnetError

POLL_SECONDS = 0.1


_OPEN: "weakref.WeakSet[Stop]" = weakref.WeakSet()


class StoppedError(AlexnetError):
    """A wait that Stop.request ended; nothing is broken."""


class Stop:
    """A request to end. A plain flag that waits poll, so that a signal handler may set it; picklable.

    One that is made with `parent` is also requested when its parent is.
    """

    def __init__(self, parent: "Stop | None" = None) -> None:
        self._requested, self._parent = False, parent

    def request(self) -> None:
        """Have every wait end in StoppedError within a second; safe in signal handlers and from any thread."""
        self._requested = True

    @property
    def requested(self) -> bool:
        """Whether an end was asked for."""
        return self._requested or (self._parent is not None and self._parent.requested)

    def check(self) -> None:
        """Raise StoppedError where an end was asked for."""
        if self.requested:
            raise StoppedError("stopped while waiting for a remote file")

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise StoppedError as soon as an end is asked for."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))
            self.check()

    def request_at_exit(self) -> None:
        """Have an end asked for when the program ends, before Python waits for the threads of its pools."""
        _OPEN.add(self)
        _watch_the_end()


@functools.cache
def _watch_the_end() -> None:
    # atexit's turn comes after that wait; the call before it, by which concurrent.futures does the waiting, has no name
    # for others. Where it should go, a program that has not closed its streams waits for their downloads as before.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(_request_all)


def _request_all() -> None:
    for stop in list(_OPEN):
        stop.request()
