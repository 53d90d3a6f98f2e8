"""`make gpu-check` where there is no GPU: it says what it would do, and nothing passes. And its checks, on the CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKS = ROOT / "tests" / "gpu"


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_nothing_is_checked_and_that_is_said() -> None:
    done = make("gpu-check", f"PYTHON={sys.executable}", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    *plan, last = done.stdout.splitlines()
    count = sum(len(re.findall(r"^def test_", path.read_text(), re.MULTILINE)) for path in CHECKS.glob("test_*.py"))
    assert last == f"no CUDA device: nothing was checked ({count} skipped, 0 passed)"
    assert len([line for line in plan if line.startswith("  ")]) == count
    assert any("nccl" in line for line in plan)


def test_a_python_without_torch_is_no_error(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    done = make("gpu-check", f"PYTHON={tmp_path}/bin/python", PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("no CUDA device (this Python has no torch): nothing was checked (")


def checks(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """tests/gpu as `make gpu-check` starts it: without this suite's settings and conftest.py."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(CHECKS)]
    options = [
        "--confcutdir",
        str(CHECKS),
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-q",
        *words,
        str(CHECKS),
    ]
    settings = os.environ | {"CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run([*command, *options], env=settings, capture_output=True, text=True, check=False)


def test_the_checks_are_skipped_without_a_gpu() -> None:
    done = checks()
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ skipped in", done.stdout, re.MULTILINE), done.stdout
    assert "passed" not in done.stdout


@pytest.mark.parametrize("words", [("-k", "input or norms or rules or network")])
def test_the_checks_run(words: tuple[str, ...]) -> None:
    """The CPU in the GPU's place: that the code of the checks works; all of it in the long form."""
    done = checks(*words, ALEXNET_GPU_REHEARSAL="1")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15  # type: ignore[index]


@pytest.mark.long
def test_all_checks_run() -> None:
    done = checks(ALEXNET_GPU_REHEARSAL="1")
    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout  # what compiles
