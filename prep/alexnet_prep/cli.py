"""The way in to alexnet-prep: signals first, then its commands."""

from typing import TYPE_CHECKING, NoReturn

from alexnet_command.entry import run_command

if TYPE_CHECKING:
    import click


def main() -> NoReturn:
    """Run alexnet-prep on this process's arguments."""
    run_command(_load)


def _load() -> "click.Command":
    from alexnet_prep.commands import commands

    return commands


if __name__ == "__main__":
    main()
