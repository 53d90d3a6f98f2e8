"""The way in to alexnet-prep: help comes before any decoder, and looks alike everywhere."""

import subprocess
import sys
from typing import Any

import pytest

COMMANDS = ("sample", "shards", "compute-stats", "verify", "index", "report")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version(command: str, prep: Any) -> None:
    shown = prep(command, "--help").stdout
    assert shown == prep(command, "-h").stdout
    assert len(prep(command, "--version").stdout.splitlines()) == 1
    text, _, examples = shown.partition("Examples:\n")
    assert len(examples.splitlines()) == 2
    assert all(line.startswith(f"  alexnet-prep {command}") for line in examples.splitlines())
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "INTEGER" not in text


def test_help_loads_no_decoder() -> None:
    code = "import sys, alexnet_prep.cli, alexnet_prep.commands; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "scipy", "PIL", "simplejpeg", "rich"} & set(loaded)
