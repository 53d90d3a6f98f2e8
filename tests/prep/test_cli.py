"""The way in to alexnet-prep: help comes before any decoder, and looks alike everywhere."""

import subprocess
import sys
from pathlib import Path
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


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--shards", "."),
        ("compute-stats", "--shards", "train-*.tar", "--out", "stats.npz"),
        ("index", "--shards", "train-*.tar"),
        ("shards", "--source", "SOURCE", "--split", "val", "--out", "out"),
        ("sample", "drawn", "--train-per-class", "1", "--val-per-class", "1"),
    ],
)
def test_modules_of_a_stranger_s_folder_are_not_run(
    words: tuple[str, ...], tmp_path: Path, make_shards: Any, small_source: Any
) -> None:
    make_shards(tmp_path)
    for name in ("pickle", "numpy", "json", "runpy", "alexnet_prep", "signal", "selectors"):
        (tmp_path / f"{name}.py").write_text("open('/proc/self/cwd/trapped', 'w').close()")
    script = "from alexnet_prep.cli import main; main()"  # as the installed command, which -P makes of it
    words = tuple(str(small_source.directory) if word == "SOURCE" else word for word in words)
    command = [sys.executable, "-P", "-c", script, *words, "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "trapped").exists()
