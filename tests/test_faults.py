"""The n-th call of a class fails on a run's paths: success or one line, and a clean second start gives the same bytes."""

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Every class of calls with what a file system may answer.
ANSWERS = {
    "open": (errno.EACCES, errno.EMFILE, errno.EIO),
    "opendir": (errno.EACCES, errno.EIO),
    "read": (errno.EIO, errno.ESTALE),
    "pread": (errno.EIO, errno.ESTALE),
    "write": (errno.ENOSPC, errno.EDQUOT, errno.EIO),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EINVAL),
    "rename": (errno.EACCES, errno.ENOSPC, errno.EIO),
    "close": (errno.EIO, errno.ENOSPC),
    "mkdir": (errno.EACCES, errno.ENOSPC),
    "unlink": (errno.EACCES, errno.EIO),
    "flock": (errno.ENOLCK, errno.EIO),
}
TRAIN = (
    *("--set", "width=0.0625", "--set", "batch_size=8", "--set", "epochs=1", "--set", "checkpoint_every_steps=1"),
    *("--recipe", "demo", "--device", "cpu", "--threads", "1", "--json"),
)


@dataclass(frozen=True)
class Command:
    """A command on a copy of `start`, a folder; its promise are the bytes of `files` below it, by glob: those of `end`."""

    name: str
    start: Path
    end: Path
    words: Callable[[Path], Sequence[object]]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """The n-th call of a class is answered with an errno."""

    kind: str
    number: int
    answer: int


def run(words: Sequence[object], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command of ours as a process."""
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, **(env or {})}
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("calls are made to fail by a library that gcc builds for Linux")
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True)
    return path


@pytest.fixture(scope="module")
def commands(
    tmp_path_factory: pytest.TempPathFactory, photo_bytes: Callable[..., bytes], make_shards: Callable[..., str]
) -> dict[str, Command]:
    """Every command with the folder that it starts from."""
    root = tmp_path_factory.mktemp("starts")
    for split, count in (("train", 8), ("val", 2)):
        for number in range(2 * count):
            path = root / "empty" / "source" / split / f"c{number % 2}" / f"{split}{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo_bytes(number, 64, 60))
    shards = ("alexnet_prep.cli", "shards", "--workers", 2, "--num-shards", 2, "--json")
    shutil.copytree(root / "empty", root / "made")
    assert run([*shards, "--source", root / "made/source", "--out", root / "made/out"]).returncode == 0
    shutil.copytree(root / "made", root / "bare")
    for name in ("train.index.npy", "train.manifest.json", ".build"):
        path = root / "bare/out" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(root / "bare", root / "indexed")
    index = ("alexnet_prep.cli", "index", "--shards")
    assert run([*index, root / "indexed/out/train-*.tar"]).returncode == 0
    shutil.copytree(root / "made", root / "counted")
    assert run(["alexnet_prep.cli", "compute-stats", "--shards", root / "counted/out/train-*.tar"]).returncode == 0
    shutil.copytree(root / "counted", root / "whole")

    def train(base: Path) -> Sequence[object]:
        return ("alexnet_train.cli", "--shards", base / "out/train-*.tar", *TRAIN, "--out", base / "run")

    assert run(train(root / "whole")).returncode == 0
    shutil.copytree(root / "whole", root / "trained")
    checkpoints = sorted((root / "trained/run/checkpoints").glob("step-*.pt"))
    assert len(checkpoints) > 1
    for path in (checkpoints[-1], root / "trained/run/checkpoints/best.pt"):
        path.unlink(missing_ok=True)
    stored, prep = ("out/*.tar", "out/*.npy", "out/*.json"), "alexnet_prep.cli"
    empty, made, bare, indexed, counted, trained, whole = map(
        root.joinpath, ("empty", "made", "bare", "indexed", "counted", "trained", "whole")
    )

    def shard(base: Path) -> Sequence[object]:
        return (*shards, "--source", base / "source", "--out", base / "out")

    def statistics(base: Path) -> Sequence[object]:
        return (prep, "compute-stats", "--shards", base / "out/train-*.tar", "--workers", 2)

    every = (
        Command("shards", empty, made, shard, stored),
        Command("again", made, made, shard, stored),
        Command("verify", made, made, lambda base: (prep, "verify", "--shards", base / "out", "--workers", 2), stored),
        Command("index", bare, indexed, lambda base: (*index, base / "out/train-*.tar"), ("out/train*",)),
        Command("compute-stats", made, counted, statistics, ("out/*.npz",)),
        Command("train", counted, whole, train, ("weights",)),
        Command("resume", trained, whole, train, ("weights",)),
    )
    return {command.name: command for command in every}


def promised(command: Command, base: Path) -> dict[str, str]:
    """What the command promises to be the same: hashes of its files, or of the last checkpoint's weights."""
    if command.files == ("weights",):
        import torch

        last = sorted((base / "run/checkpoints").glob("step-*.pt"))[-1]
        model = torch.load(last, weights_only=True)["model"]
        return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in model.items()}
    paths = [path for pattern in command.files for path in sorted(base.glob(pattern)) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def strike(library: Path, commands: dict[str, Command], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a command with a fault, then without; returns what came of it: "unmet", "success" or "one line"."""
    work = tmp_path_factory.mktemp("struck")

    def fresh(command: Command) -> Path:
        base = work / "base"
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(command.start, base)
        return base

    def run_struck(name: str, fault: Fault) -> str:
        command = commands[name]
        base, counter = fresh(command), work / "counter"
        counter.write_bytes(bytes(8))
        environment = {
            "LD_PRELOAD": str(library),
            "FAULT_CLASS": fault.kind,
            "FAULT_N": str(fault.number),
            "FAULT_ERRNO": str(fault.answer),
            "FAULT_PATHS": f"{base / 'source'}:{base / 'out'}:{base / 'run'}",
            "FAULT_COUNTER": str(counter),
        }
        done = run(command.words(base), environment)
        what = f"{name}, {fault}:\n{done.stdout}\n{done.stderr}"
        met = int.from_bytes(counter.read_bytes(), "little") >= fault.number
        assert done.returncode in (0, 1), what
        assert "Traceback" not in done.stderr, what
        assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == done.returncode, what
        if not met:
            return "unmet"
        again = run(command.words(base))
        assert again.returncode == 0, f"{what}\nthen:\n{again.stderr}"
        expected = promised(command, command.end)
        assert expected
        assert promised(command, base) == expected, what
        return "one line" if done.returncode else "success"

    return run_struck


SHORT = [
    *(("shards", kind) for kind in ANSWERS),
    *(("again", "open"), ("again", "rename"), ("verify", "read"), ("index", "write")),
    *(("compute-stats", "fsync"), ("train", "rename"), ("resume", "open")),
]


@pytest.mark.parametrize(("name", "kind"), SHORT)
def test_one_call_fails(strike: Callable[..., str], name: str, kind: str) -> None:
    rng = random.Random(f"{name} {kind}")
    number = 1 if kind in ("flock", "mkdir", "opendir", "unlink") else rng.randint(1, 2)
    strike(
        name, Fault(kind, number, rng.choice(ANSWERS[kind]))
    )  # asserts; some classes are not called where all goes well


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["shards", "again", "verify", "index", "compute-stats", "train", "resume"])
def test_many_calls_fail(strike: Callable[..., str], name: str, record_property: Any) -> None:
    rng, outcomes = random.Random(name), Counter[str]()
    started = time.monotonic()
    for kind, answers in ANSWERS.items():
        # Every one of the first calls, then some of the many.
        for number in (*range(1, 13), *sorted(rng.sample(range(13, 200), 8))):
            try:
                outcome = strike(name, Fault(kind, number, answers[number % len(answers)]))
            except (AssertionError, subprocess.TimeoutExpired) as error:
                outcome = "wrong"
                sys.stdout.write(f"{error}\n")
            outcomes[outcome] += 1
            if outcome == "unmet":
                break
    summary = {"command": name, **outcomes, "seconds": round(time.monotonic() - started)}
    sys.stdout.write(f"{json.dumps(summary)}\n")
    record_property("outcomes", dict(outcomes))
    assert outcomes["one line"]
    assert not outcomes["wrong"]
