"""The commands in this process."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from alexnet_command.entry import finish
from alexnet_train.commands import commands


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def run_here(command: str, *words: object) -> Result:
    """One of the commands in this process."""
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        status = finish(commands.commands[command], [str(word) for word in words])
    return Result(exit_code=status, stdout=stdout.getvalue(), stderr=stderr.getvalue())


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Runs `alexnet-COMMAND WORDS` in this process."""
    return run_here
