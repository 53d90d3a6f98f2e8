"""The trap of two Pillows that are installed over each other, and none at all."""

import copy
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet_command import pillow
from alexnet_command.options import Command
from alexnet_command.pillow import overwritten, pillow_warning
from alexnet_prep.commands import commands as prep_commands
from alexnet_train.commands import commands as train_commands

SHARDS = ("alexnet_prep.cli", "shards", "--source", "{tmp}/none")
PREDICT = ("alexnet_train.cli", "predict", "--checkpoint", "{tmp}/none.pt", "{tmp}/none.jpg")


@pytest.mark.parametrize(
    ("stock", "simd", "running", "words"),
    [
        (None, "12.1.1.post0", "12.1.1.post0", None),
        ("12.1.1", None, "12.1.1", None),
        ("13.0.0", "12.1.1.post0", "13.0.0", "are both installed, PIL is 13.0.0"),
        ("13.0.0", "12.1.1.post0", "12.1.1.post0", "are both installed"),
        (None, "12.1.1.post0", "13.0.0", "it was overwritten"),
    ],
)
def test_two_installed_over_each_other_are_told(
    stock: str | None, simd: str | None, running: str, words: str | None
) -> None:
    warning = overwritten(stock, simd, running)
    assert (warning is None) == (words is None)
    if warning is not None and words is not None:
        assert words in warning
        assert "pip uninstall -y pillow pillow-simd" in warning


def test_here_is_one() -> None:
    assert pillow_warning() is None


def run(folder: Path, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """A command with `folder` before everything else that Python imports from."""
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    command = [sys.executable, "-m", *(word.format(tmp=folder) for word in words)]
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_every_command_warns_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "_installed", {"pillow-simd": "12.1.1.post0", "pillow": "99.0"}.get)
    every = {**prep_commands.commands, **train_commands.commands}
    warned = set()
    for name, command in every.items():
        assert isinstance(command, Command)
        command = copy.copy(command)
        command.callback, command.params = lambda: None, []
        if "pillow 99.0 and pillow-simd 12.1.1.post0 are both installed" in CliRunner().invoke(command).stderr:
            warned.add(name)
    assert warned == set(every) >= {"sample", "shards", "compute-stats", "verify", "train", "eval", "predict"}
    monkeypatch.setenv("RANK", "1")
    assert CliRunner().invoke(command).stderr == ""


@pytest.mark.parametrize("words", [SHARDS, PREDICT], ids=" ".join)
def test_without_any_one_line_names_both_extras(tmp_path: Path, words: Sequence[str]) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text("raise ModuleNotFoundError('No module named PIL', name='PIL')")
    done = run(tmp_path, words)
    line = "error: Pillow is not installed; pip install '.[simd]' or '.[pillow]' in the checkout\n"
    assert (done.returncode, done.stderr.endswith(line), "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_half_of_each_is_told(tmp_path: Path) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text("__version__ = '13'")
    (tmp_path / "PIL" / "Image.py").write_text("raise ImportError('The _imaging extension was built for another one')")
    done = run(tmp_path, SHARDS)
    assert done.returncode == 1
    assert "error: Pillow does not load (The _imaging extension was built for another one); pip install" in done.stderr
