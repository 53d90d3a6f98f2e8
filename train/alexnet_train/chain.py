"""One of our commands run as a user would type it: for what chains several, the demo and studies."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_command.failures import Stop
from alexnet_command.printing import say
from alexnet_shards.parsing import Where, parse_json
from alexnet_shards.processes import run_module

MODULES = {
    "alexnet-prep": ("alexnet_prep.cli", ()),
    "alexnet-train": ("alexnet_train.cli", ("train",)),
    "alexnet-eval": ("alexnet_train.cli", ("eval",)),
}
PRINTED = Where(path=Path("stdout"), what="result", remedy="this is a bug, please report it")


class StepFailed(Stop):
    """A command of the chain failed and has said why; its status is the chain's."""

    def __init__(self, words: tuple[str, ...], status: int) -> None:
        super().__init__(f"{words[0]} ended with status {status}; start again, what is whole is kept")
        self.status = status if status > 0 else 128 - status


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command that was run: its words, the JSON it printed, and its wall seconds."""

    words: tuple[str, ...]
    result: Any
    seconds: float


def run_step(words: tuple[str, ...]) -> Step:
    """Run one of our commands with --json; its progress goes to our stderr. Raises StepFailed where it fails."""
    say("")
    say(f"$ {shlex.join(words)}")
    module, arguments = MODULES[words[0]]
    started = time.monotonic()
    status, printed = run_module(module, (*arguments, *words[1:], "--json"))
    if status:
        raise StepFailed(words, status)
    return Step(words=words, result=parse_json(printed.splitlines()[-1], PRINTED), seconds=time.monotonic() - started)
