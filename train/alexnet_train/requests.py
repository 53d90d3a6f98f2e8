"""Signals as requests that the training loop answers between two steps: save and go on, or save and leave."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from alexnet_command.failures import Stop as CommandStop
from alexnet_stream import Stop

LEAVE = (signal.SIGTERM, signal.SIGINT)


class Stopped(CommandStop):
    """The run was asked to stop, and has saved; `status` is what a shell expects of a process ended by that signal."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}; start again to go on")
        self.status = 128 + number


class Impatient(Exception):
    """Asked to leave while data was waited for, and it has not come."""


class Requests:
    """While in context: SIGTERM and SIGINT ask to save and leave, SIGUSR1 to save and go on.

    The second SIGTERM or SIGINT has its usual effect, for a loop that does not come to the end of its step.
    """

    def __init__(
        self, patience_seconds: float = 0.5, stop: Stop | None = None, same_request_seconds: float = 0.0
    ) -> None:
        """Who is asked to leave while `waiting` for data goes on with that for `patience_seconds` at most.

        Then `stop` ends the waits of the threads that read. A signal that comes again within `same_request_seconds` is
        the same request.
        """
        self._same_request_seconds, self._asked_at = same_request_seconds, 0.0
        self._stop = stop or Stop()
        self.save = False
        self.leave = 0
        self._patience_seconds = patience_seconds
        self._is_waiting = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in LEAVE:
            self._before[number] = signal.signal(number, self._on_leave)
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_save)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Data is waited for. Raises Impatient where it does not come and the run was asked to leave."""
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def _on_leave(self, number: int, frame: FrameType | None) -> None:
        again = self.leave == number
        if again and time.monotonic() - self._asked_at < self._same_request_seconds:
            return
        if again or not self._same_request_seconds:
            signal.signal(number, self._before[number])  # type: ignore[arg-type]
        if again:
            os.kill(os.getpid(), number)
            return
        self.leave, self._asked_at = number, time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self._patience_seconds, self._patience_seconds)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._stop.request()
            raise Impatient
