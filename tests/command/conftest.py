"""Small commands of ours in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from alexnet_command.entry import run_command
def load():
    import click
    from alexnet_command.options import Command
    from alexnet_command.printing import say, show, show_json
    from alexnet_command.signals import loading
{body}
    with_count = click.option("--count", metavar="N", default=3, help="How many.")(work)
    return click.command("tool", cls=Command, examples=["tool --go"])(with_count)
run_command(load)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a command whose work is the given body (lines of a function `work(count)`) and returns its path."""

    def write(body: str) -> Path:
        path = tmp_path / "tool.py"
        lines = "".join(f"        {line}\n" for line in body.strip().split("\n"))
        path.write_text(SCRIPT.format(folder=str(tmp_path), body=f"    def work(count):\n{lines}"))
        return path

    return write


@pytest.fixture
def tool(script: Callable[[str], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command whose work is the given body."""

    def run(body: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **more.pop("env", {})}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        command = [sys.executable, str(script(body)), *words]
        return subprocess.run(command, text=True, timeout=120, check=False, env=env, **streams)

    return run
