"""The path a user takes, as processes: real archives to shards, statistics, two epochs, ten-view errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODULES = {
    "alexnet-prep": ["alexnet_prep.cli"],
    "alexnet-train": ["alexnet_train.cli", "train"],
    "alexnet-eval": ["alexnet_train.cli", "eval"],
}


def run(command: str, *words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run one of our commands; whatever happens, no traceback."""
    line = [sys.executable, "-m", *MODULES[command], *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def last_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The last line of stdout as JSON."""
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shards(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and statistics of the real archives."""
    out = tmp_path_factory.mktemp("end_to_end") / "shards"
    run(
        "alexnet-prep", "shards", "--source", data_dir / "ilsvrc2010", "--split", "all", "--out", out, "--num-shards", 2
    )
    run("alexnet-prep", "compute-stats", "--shards", out / "train-*.tar", "--out", out / "stats.npz")
    return out


SMALL = ("--set", "width=0.0625", "--set", "batch_size=64", "--set", "epochs=2", "--device", "cpu", "--json")


@pytest.fixture(scope="module")
def trained(shards: Path) -> tuple[Path, dict[str, Any]]:
    """The run directory and the last line of two epochs."""
    run_directory = shards.parent / "run"
    done = run("alexnet-train", "--shards", shards / "train-<000..001>.tar", *SMALL, "--out", run_directory)
    return run_directory, last_json(done)


def test_two_epochs_on_real_archives(trained: tuple[Path, dict[str, Any]]) -> None:
    run_directory, result = trained
    assert result["epoch"] == 2
    assert result["step"] == 2 * (398 // 64)
    assert 0 < result["train_loss"] < 10
    assert 0 <= result["val_top5_error"] <= result["val_top1_error"] <= 1
    assert 0 <= result["data_wait_fraction"] <= 1
    assert result["images_per_second"] > 0
    assert Path(result["checkpoint"]).is_file()
    lines = [json.loads(line) for line in (run_directory / "metrics.jsonl").read_text().splitlines()]
    assert lines


@pytest.mark.parametrize("views", [1, 10])
def test_evaluation_counts_every_image_once(shards: Path, trained: tuple[Path, dict[str, Any]], views: int) -> None:
    checkpoint = trained[1]["checkpoint"]
    words = ("--checkpoint", checkpoint, "--shards", shards / "val-{000..001}.tar", "--views", views, "--json")
    result = last_json(run("alexnet-eval", *words))
    assert result["images"] == 80
    assert result["views"] == views
    assert 0 <= result["top5_error"] <= result["top1_error"] <= 1


def test_started_again_it_has_nothing_left_to_do(shards: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    run_directory, result = trained
    before = Path(result["checkpoint"]).read_bytes()
    expanded = (shards / "train-000.tar", shards / "train-001.tar")  # as the shell expands unquoted braces
    again = last_json(run("alexnet-train", "--shards", *expanded, *SMALL, "--out", run_directory))
    assert (again["epoch"], again["step"]) == (result["epoch"], result["step"])
    assert Path(result["checkpoint"]).read_bytes() == before


def test_statistics_of_other_shards_are_refused(shards: Path, tmp_path: Path) -> None:
    run("alexnet-prep", "compute-stats", "--shards", shards / "val-*.tar", "--out", tmp_path / "other.npz")
    words = ("--shards", shards / "train-*.tar", "--stats", tmp_path / "other.npz", *SMALL, "--out", tmp_path / "run")
    done = run("alexnet-train", *words, status=1)
    assert "statistics of other shards" in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_shards_that_are_not_there_are_one_line(shards: Path, tmp_path: Path) -> None:
    done = run(
        "alexnet-train", "--shards", shards / "train-{000..017}.tar", *SMALL, "--out", tmp_path / "run", status=1
    )
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").rglob("*.pt"))
