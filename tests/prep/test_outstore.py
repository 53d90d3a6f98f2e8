"""Shards made for a store: the bytes of a folder's, done only when they are there, gone on with after kills."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))


def in_store(s3: Any, prefix: str) -> dict[str, str]:
    """sha256 of every output by name."""
    found = s3.files.find(f"{s3.bucket}/{prefix}")
    names = {path: path.removeprefix(f"{s3.bucket}/{prefix}/") for path in found}
    return {n: hashlib.sha256(s3.files.cat_file(p)).hexdigest() for p, n in names.items() if not n.startswith(".")}


def in_folder(out: Path) -> dict[str, str]:
    files = (path for path in out.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_bytes_of_a_folder(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--num-shards", 3, "--workers", 2)
    prep(*words, "--out", tmp_path / "here")
    s3.proxy.fail("PUT */set/train-*", "503", 1)
    s3.proxy.fail("PUT */set/val-*", "reset", 1)
    prep(*words, "--out", f"{s3.url}/set", "--work", tmp_path / "work")
    assert in_store(s3, "set") == in_folder(tmp_path / "here")
    assert not list((tmp_path / "work").glob("*.tar"))  # they do not stay here
    assert not s3.files.exists(f"{s3.bucket}/set/.lock")
    puts = s3.proxy.count("PUT */set/*.tar*")
    prep(*words, "--out", f"{s3.url}/set", "--work", tmp_path / "other")  # from another machine: nothing is made twice
    assert s3.proxy.count("PUT */set/*.tar*") == puts
    s3.files.rm_file(f"{s3.bucket}/set/train-001.tar")
    s3.files.pipe_file(f"{s3.bucket}/set/train-002.tar", b"x" * s3.files.size(f"{s3.bucket}/set/train-002.tar"))
    prep(*words, "--out", f"{s3.url}/set")
    assert in_store(s3, "set") == in_folder(tmp_path / "here")
    done = prep(*words, "--seed", 5, "--out", f"{s3.url}/set", status=1)
    assert "holds a run with another seed" in done.stderr


def test_kills_during_uploads(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--split", "train", "--num-shards", 4, "--workers", 2)
    prep(*words, "--out", tmp_path / "here")
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, words), "--out", f"{s3.url}/set"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for wanted in (1, 3):
        before = s3.proxy.count("PUT */set/train-*.tar*")
        child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while s3.proxy.count("PUT */set/train-*.tar*") < before + wanted and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert "train.manifest.json" not in in_store(s3, "set")
    prep(*words, "--out", f"{s3.url}/set")
    assert in_store(s3, "set") == in_folder(tmp_path / "here")


def test_a_second_command_waits_outside(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    other = {"pid": 7, "host": "elsewhere", "boot": "b", "start": "1", "token": "t"}
    s3.files.pipe_file(f"{s3.bucket}/set/.lock", json.dumps(other).encode())
    done = prep("shards", "--source", small_source.directory, "--out", f"{s3.url}/set", status=1)
    assert "process 7 on elsewhere works there" in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--out", "https://host/set"), "a web server is read only"),
        (("--out", "s3://b/set", "--stats"), "--stats is for an --out on this machine; alexnet-prep compute-stats"),
        (("--out", "s3://b/set", "--part", "1/2"), "--part is for an --out on this machine"),
        (("--work", "w"), "--work is for an --out in a store"),
    ],
)
def test_what_cannot_be(prep: Any, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    done = prep("shards", "--source", tmp_path, *words, status=1 if "https" in words[1] else 2)
    assert line in done.stderr
