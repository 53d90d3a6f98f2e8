"""The way into every command and out of it: signals first, then the command, then one line and an exit status."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from alexnet_command.signals import SIGNALS, loading

if TYPE_CHECKING:
    import click


def run_command(load: "Callable[[], click.Command]") -> NoReturn:
    """Run the command that `load` imports on this process's arguments, and end the process with its status."""
    SIGNALS.arm()
    from alexnet_command.printing import ready_streams

    ready_streams()
    status = finish(load(), None)
    SIGNALS.status = status  # all is said and done: a signal has nothing left to unwind
    if status > 128:  # a thread that still waits for a disk or a network must not hold up who asked us to leave
        _flush()
        os._exit(status)
    sys.exit(status)


def finish(command: "click.Command", words: Sequence[str] | None) -> int:
    """Run `command` on `words` (None: the process's) to its exit status, 0, 1, 2, 130 or 143; its failure is one line.

    Raises what only a bug of ours can cause.
    """
    try:
        status = command.main(args=None if words is None else list(words), standalone_mode=False)
        return status if isinstance(status, int) else 0
    except _failures() as error:
        from alexnet_command.failures import outcome
        from alexnet_command.printing import say

        status, line = outcome(error)
        if line is not None:
            say(line)
        return status


def _failures() -> tuple[type[BaseException], ...]:
    """Everything that a user can cause, imported when something failed: help is printed without it."""
    with loading():
        from alexnet_command.failures import FAILURES

    return FAILURES


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
