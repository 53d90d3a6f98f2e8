"""The way in to alexnet-train, -eval, -predict, -export and -import: signals first, then the command."""

import sys
from typing import TYPE_CHECKING, NoReturn

from alexnet_command.entry import run_command

if TYPE_CHECKING:
    import click


def train_main() -> NoReturn:
    """Run alexnet-train on this process's arguments; `alexnet-train report` is a command of its own."""
    run_command(_all_commands if sys.argv[1:2] == ["report"] else lambda: _command("train"))


def eval_main() -> NoReturn:
    """Run alexnet-eval on this process's arguments."""
    run_command(lambda: _command("eval"))


def predict_main() -> NoReturn:
    """Run alexnet-predict on this process's arguments."""
    run_command(lambda: _command("predict"))


def export_main() -> NoReturn:
    """Run alexnet-export on this process's arguments."""
    run_command(lambda: _command("export"))


def import_main() -> NoReturn:
    """Run alexnet-import on this process's arguments."""
    run_command(lambda: _command("import"))


def main() -> NoReturn:
    """Run `python -m alexnet_train.cli`: the command that the first word names, or train where it names none."""
    run_command(_all_commands)


def _command(name: str) -> "click.Command":
    from alexnet_train.commands import commands

    return commands.commands[name]


def _all_commands() -> "click.Command":
    from alexnet_train.commands import commands

    return commands


if __name__ == "__main__":
    main()
