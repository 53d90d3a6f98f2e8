"""Signals as requests that the training loop answers between two steps: save and go on, or save and leave."""

import signal
from types import FrameType, TracebackType
from typing import Self

from alexnet_command.failures import Stop

LEAVE = (signal.SIGTERM, signal.SIGINT)


class Stopped(Stop):
    """The run was asked to stop, and has saved; `status` is what a shell expects of a process ended by that signal."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}; start again to go on")
        self.status = 128 + number


class Requests:
    """While in context: SIGTERM and SIGINT ask to save and leave, SIGUSR1 to save and go on.

    The second SIGTERM or SIGINT has its usual effect, for a loop that does not come to the end of its step.
    """

    def __init__(self) -> None:
        self.save = False
        self.leave = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in LEAVE:
            self._before[number] = signal.signal(number, self._on_leave)
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_leave(self, number: int, frame: FrameType | None) -> None:
        self.leave = number
        signal.signal(number, self._before[number])  # type: ignore[arg-type]

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True
