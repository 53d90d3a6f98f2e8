"""Every reader of a file that someone else may have made: damaged ones are read or refused in one line, in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("fuzz_child.py")
FORMATS = (
    "index",
    "manifest",
    "statistics",
    "tar",
    "sidecar",
    "recipe",
    "dump",
    "caffemodel",
    "mat",
    "checkpoint",
    "image",
    "parquet",
)
MAX_PEAK_MB = 200


def check(name: str, count: int, seed: int, timeout_s: float) -> None:
    """Throw `count` damaged files of one format at its reader, in a process of its own."""
    command = [sys.executable, str(CHILD), name, str(count), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stderr[-3000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{name} {found}\n")
    assert found["sound"] + found["refused"] == count
    assert found["refused"] > count // 20, "the damage is too small to test anything"
    assert found["peak_mb"] < MAX_PEAK_MB


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name: str) -> None:
    check(name, 60 if name == "mat" else 300, 1, 280)


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_twenty_thousand_damaged_files(name: str) -> None:
    check(name, 20_000, 2, 7000)
