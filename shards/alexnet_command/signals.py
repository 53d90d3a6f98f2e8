"""Signals from the first moment on: while a command loads they end it at once, while it works they unwind it."""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

LEAVE = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = "interrupted; nothing half-written is left, start the same command again"
AGAIN_SECONDS = 0.05


class Terminated(SystemExit):
    """SIGTERM arrived while a command worked: what is open is closed on the way out."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Signals:
    """What SIGINT and SIGTERM do in this process; one for all, as the signals are.

    `loading`: nothing is begun or open yet, so that they end the process on the spot. An exception would do that less
    surely: it can be swallowed in the middle of an import. `status`: of a command that has said its last word, which they
    change no more.
    """

    def __init__(self) -> None:
        self.loading = True
        self.status: int | None = None

    def arm(self) -> None:
        """Take SIGINT and SIGTERM; SIGUSR1, by which a run is asked to save, means nothing before there is a run."""
        # Ignored, not handled: workers inherit that, and a signal to the whole job does not kill them. It comes first:
        # who sees the handlers of the others may send it.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for number in LEAVE:
            signal.signal(number, self._on_leave)
        sys.unraisablehook = self._on_unraisable
        atexit.register(_ignore_leave)  # the first to be registered is called last

    def _on_leave(self, number: int, _frame: FrameType | None) -> None:
        if self.status is not None:
            os._exit(self.status)
        if self.loading:
            os.write(2, f"error: {INTERRUPTED}\n".encode())
            os._exit(128 + number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _on_unraisable(self, lost: Any) -> None:
        """Python drops an exception that comes up in a destructor or a callback: ask again for one that a signal raised."""
        if issubclass(lost.exc_type, KeyboardInterrupt | Terminated):
            number = signal.SIGINT if issubclass(lost.exc_type, KeyboardInterrupt) else signal.SIGTERM
            threading.Thread(target=_send_again, args=(number,), daemon=True).start()
        else:
            sys.__unraisablehook__(lost)


SIGNALS = Signals()


@contextmanager
def loading() -> Iterator[None]:
    """While imports run and nothing is begun: a signal ends the process at once."""
    before, SIGNALS.loading = SIGNALS.loading, True
    try:
        yield
    finally:
        SIGNALS.loading = before


@contextmanager
def working() -> Iterator[None]:
    """While a command works: a signal is an exception, so that what is open is closed and what is half is removed."""
    before, SIGNALS.loading = SIGNALS.loading, False
    try:
        yield
    finally:
        SIGNALS.loading = before


def _ignore_leave() -> None:
    """What is left of the process is the interpreter's, which puts the default back in place of our handlers: death."""
    for number in LEAVE:
        signal.signal(number, signal.SIG_IGN)


def _send_again(number: int) -> None:
    time.sleep(AGAIN_SECONDS)
    os.kill(os.getpid(), number)
