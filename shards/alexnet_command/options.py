"""How every command looks: -h, --version, defaults that are shown, examples at the end of its help, and the options that
mean the same wherever they stand."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from alexnet_command.pillow import warn_of_two_pillows
from alexnet_command.signals import working

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
PATH = click.Path(path_type=Path)

Work = Callable[..., Any]
Decorator = Callable[[Work], Work]

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout instead of text.")
WORKERS = click.option(
    "--workers", metavar="N", type=click.IntRange(1, 1024), help="Worker processes.  [default: one a processor]"
)
THREADS = click.option(
    "--threads", metavar="N", type=click.IntRange(0), help="Threads that decode.  [default: a share of the cores]"
)
QUARANTINE = click.option(
    "--quarantine",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    help="Go on without up to N bad samples; one more ends the command.",
)
CLASSES = click.option("--classes", metavar="FILE", type=PATH, help="The class list, a line `WNID words` a label.")
DEVICE = click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or cuda:N.")


def place(text: str | Path) -> Path | str:
    """A path, or an address (s3://, gs://, https://) as it was typed: a type of options."""
    return str(text) if "://" in str(text) else Path(text)


def takes_shards(what: str, default: str | None = None) -> Decorator:
    """--shards and the words after the options as one tuple `shards`: the shell makes many words of unquoted globs.

    `what`: which shards, for the help. `default` None: they must be named.
    """

    def decorate(work: Work) -> Work:
        @functools.wraps(work)
        def call(*, shards: tuple[str, ...], more_shards: tuple[str, ...], **options: Any) -> Any:
            return work(shards=(*shards, *more_shards) or (default,), **options)

        named = click.option(
            "--shards",
            metavar="SHARDS",
            multiple=True,
            required=default is None,
            help=f"{what}: a folder, 'train-*.tar' or 'train-<000..999>.tar'."
            + (f"  [default: {default}]" if default else ""),
        )
        return named(click.argument("more_shards", nargs=-1, metavar="[SHARDS]...")(call))

    return decorate


class Renamed(click.Option):
    """An option whose later spellings are its old names: taken as before, and no more shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The help of the first spelling."""
        spellings, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = spellings


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
            try:
                warn_of_two_pillows()
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
