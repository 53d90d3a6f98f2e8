"""`make gpu-check` where there is no GPU: it says what it would do, and nothing passes. And its checks, on the CPU."""

import json
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


def test_the_benchmark_runs_small_on_the_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--quick", "--seconds", "1000"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (path,) = tmp_path.glob("????-??-??-gpu.json")
    assert json.loads(path.read_text()) == result
    assert result["date"] == path.name[:10]
    # The network's operations from its published counts: three products of all layers, but no gradient of the pixels.
    assert result["floors"]["operations_an_image"] == 6 * 724_406_816 - 2 * 105_415_200
    rows = {row["name"]: row for row in result["steps"]}
    assert list(rows) == ["released", "paper", "fast", "stock", "torchvision"]
    assert all(row["images_per_second"] > 0 for row in rows.values()), rows
    for name in ("stream", "both"):
        assert 0 <= result[name]["waiting_share"] <= 1
    ours = max(rows[name]["images_per_second"] for name in ("released", "paper", "fast"))
    expected = 93 * 1_261_406 / ours / 3600
    assert result["hours_of_93_epochs"]["best step alone"] == pytest.approx(expected)


def test_the_benchmark_says_where_there_is_no_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--out", str(tmp_path)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no CUDA device: nothing was measured\n")
    assert list(tmp_path.iterdir()) == []
