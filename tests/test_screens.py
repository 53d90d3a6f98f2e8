"""Every command on odd screens, in odd locales and with odd names, as a stranger would run it."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.commands import commands as prep_commands
from alexnet_train.commands import commands as train_commands

DOCS = Path(__file__).parents[1]
HELPS = [["alexnet_prep.cli", name] for name in prep_commands.commands] + [
    ["alexnet_train.cli", name] for name in train_commands.commands
]
LOCALES = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "latin-1"},
    {"COLUMNS": "50"},
]


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, **more.pop("env", {})}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=240, check=False, env=env, **more)


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_help_fits_the_screen(columns: int) -> None:
    for words in (HELPS[1], HELPS[6]):
        text = run(*words, "--help", env={"COLUMNS": str(columns)}).stdout.decode()
        options = text.partition("Options:")[2].partition("Examples:")[0]
        assert options
        assert all(len(line) <= columns for line in options.splitlines())


def test_every_number_has_a_short_metavar_and_every_path_a_word() -> None:
    for group in (prep_commands, train_commands):
        for command in group.commands.values():
            for parameter in command.params:
                if parameter.param_type_name == "option" and parameter.type.name in (
                    "integer",
                    "integer range",
                    "path",
                ):
                    assert parameter.metavar in ("N", "FILE", "DIR"), (command.name, parameter.name)


def test_the_docs_name_every_variable_of_ours() -> None:
    code = "".join(path.read_text() for room in ("shards", "prep", "train") for path in (DOCS / room).glob("*/*.py"))
    named = set(re.findall(r"environ(?:\.get)?[\[(]\"(ALEXNET_\w+)\"", code))
    assert named
    text = (DOCS / "docs" / "commands.md").read_text()
    assert all(f"`{name}" in text for name in named)


def photo_tar(path: Path, keys: list[bytes], photo: bytes) -> None:
    """A shard of `photo` under each key."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for key in keys:
            for suffix, content in ((".jpg", photo), (".cls", b"0")):
                info = tarfile.TarInfo(os.fsdecode(key) + suffix)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("env", LOCALES)
def test_findings_name_odd_keys_on_every_screen(env: dict[str, str], tmp_path: Path, photo_bytes: Any) -> None:
    keys = [b"a[/bold]", b"[red]b[/]", b"y[ok]", b"c\x1b]0;pwned\x07", "d\u202egpj".encode(), b"caf\xe9"]
    photo_tar(tmp_path / "train-000.tar", keys, photo_bytes(1))  # 300x280, expected 256x256
    assert run("alexnet_prep.cli", "index", "--shards", tmp_path / "train-*.tar", env=env).returncode == 0
    done = run("alexnet_prep.cli", "verify", "--shards", tmp_path, env=env)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    for shown in (rb"a[/bold]", rb"[red]b[/]", rb"y[ok]", rb"c\x1b]0;pwned\x07", rb"d\u202egpj", rb"caf\xe9"):
        assert shown in done.stdout, done.stdout
    found = json.loads(run("alexnet_prep.cli", "verify", "--shards", tmp_path, "--json", env=env).stdout)
    assert {os.fsencode(entry["key"]) for entry in found["bad"]} == set(keys)


@pytest.mark.parametrize("env", LOCALES)
def test_a_forged_line_in_a_source_stays_a_name(env: dict[str, str], tmp_path: Path, photo_bytes: Any) -> None:
    for name in (
        b"cat/a.jpg",
        b"cat/b.jpg",
        b"cat/x\ndropped y: all is well.JPEG",
        b"ni\xf1o/c.jpg",
        b"ni\xf1o/\xe9.jpg",
    ):
        path = tmp_path / "source" / "train" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image" if b"\n" in name else photo_bytes(len(name)))
    done = run("alexnet_prep.cli", "shards", "--source", tmp_path / "source", "--out", tmp_path / "out", env=env)
    assert done.returncode == 0, done.stderr
    dropped = [line for line in done.stderr.splitlines() if line.startswith(b"dropped ")]
    assert len(dropped) == 1
    assert rb"x\ndropped y: all is well" in dropped[0]
    for words in (["report"], ["verify"]):
        assert run("alexnet_prep.cli", *words, "--shards", tmp_path / "out", env=env).returncode == 0
