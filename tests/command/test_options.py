"""How every command looks."""

import click
from click.testing import CliRunner

from alexnet_command.options import Command, Group


def test_groups_make_commands_of_ours() -> None:
    @click.group(cls=Group)
    def tools() -> None:
        """Tools."""

    @tools.command(examples=["tools cut --deep   x"])
    @click.option("--depth", metavar="N", type=int, default=7, help="How deep.")
    def cut(depth: int) -> None:
        """Cut."""

    assert isinstance(cut, Command)
    for words in (["-h"], ["cut", "-h"], ["cut", "--help"]):
        assert CliRunner().invoke(tools, words).exit_code == 0
    text = CliRunner().invoke(tools, ["cut", "-h"]).output
    assert "--depth N" in text
    assert "[default: 7]" in text
    assert text.endswith("Examples:\n  tools cut --deep   x\n")
    assert CliRunner().invoke(tools, ["cut", "--version"]).output.startswith("tools ")
