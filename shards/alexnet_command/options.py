"""How every command looks: -h, --version, defaults that are shown, and examples at the end of its help."""

from collections.abc import Sequence
from typing import Any, NoReturn

import click

from alexnet_command.pillow import warn_of_two_pillows
from alexnet_command.signals import working

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


class Command(click.Command):
    """A command of ours. `examples`: lines as a user types them, shown at the end of the help as they are."""

    def __init__(self, name: str | None, *, examples: Sequence[str] = (), **attributes: Any) -> None:
        attributes["context_settings"] = {**SETTINGS, **(attributes.get("context_settings") or {})}
        super().__init__(name, **attributes)
        self.examples = tuple(examples)
        self.params.append(version_option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the work, during which signals are exceptions; click's own handling would print a blank line for them."""
        with working():
            warn_of_two_pillows()
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as error:
                raise click.Abort from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, unwrapped."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Group(click.Group):
    """A group of commands of ours."""

    command_class = Command

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        attributes["context_settings"] = {**SETTINGS, **(attributes.get("context_settings") or {})}
        super().__init__(name, **attributes)
        self.params.append(version_option())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with its whole first sentence: click would cut it."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def version_option() -> click.Option:
    """--version: the command's name and the project's version."""
    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_version,
        help="Show the version and exit.",
    )


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        _show_version(ctx)


def _show_version(ctx: click.Context) -> NoReturn:
    from alexnet_command.printing import show
    from alexnet_shards import __version__

    show([f"{ctx.find_root().info_name} {__version__}"])
    raise click.exceptions.Exit(0)
