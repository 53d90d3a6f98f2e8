"""How every command looks."""

import click
import pytest
from click.testing import CliRunner

from alexnet_command.entry import finish
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


def test_a_group_shows_whole_sentences_and_asks_for_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    @click.group(cls=Group)
    def tools() -> None:
        """Tools."""

    @tools.command()
    def cut() -> None:
        """Cut whatever lies there into as many pieces as were asked for, and not one more than that."""

    assert finish(tools, ["-h"]) == 0
    assert "not one more than" in " ".join(capsys.readouterr().out.split())
    assert finish(tools, []) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: Missing command. Usage: ")
    assert "Options:" not in line
    assert len(line.splitlines()) == 1
