"""A failure as its status and one line."""

import errno
import os

import click
import pytest

from alexnet_command.failures import FAILURES, Stop, outcome
from alexnet_command.printing import OutputGone
from alexnet_command.signals import Terminated


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_answer_of_the_system_is_a_line(number: int) -> None:
    status, line = outcome(OSError(number, os.strerror(number), "/data/a.tar"))
    assert status == 1
    assert line is not None
    assert line.startswith(f"error: /data/a.tar: {os.strerror(number)}")


def test_statuses() -> None:
    assert outcome(KeyboardInterrupt())[0] == 130
    assert outcome(click.Abort())[0] == 130
    assert outcome(Terminated())[0] == 143
    assert outcome(click.UsageError("no"))[0] == 2
    assert outcome(Stop("saved")) == (0, "saved")
    assert outcome(OutputGone()) == (1, None)
    assert outcome(click.exceptions.Exit(3)) == (3, None)


def test_memory_of_torch_is_a_line() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    status, line = outcome(OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"))
    assert status == 1
    assert line is not None
    assert "out of memory (CUDA out of memory. Tried to allocate 2 GiB.)" in line
    assert isinstance(OutOfMemoryError(), FAILURES)


def test_a_bug_is_raised() -> None:
    with pytest.raises(RuntimeError, match="bug"):
        outcome(RuntimeError("bug"))
