"""Overfitting: a process that learns two batches by heart until it is asked to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_train.metrics import read_metrics

# Deviations and biases at which even six conv1 filters pass signal.
SETTINGS = (
    "width=0.0625", "batch_size=4", "log_every_steps=10", "noise=off", "learning_rate=0.003", "dropout=0.0",
    "init_std=[0.01, 0.1, 0.1, 0.12, 0.12, 0.05, 0.1, 0.01]", "init_bias=[0, 0, 0, 0, 0, 0, 0, 0]",
)  # fmt: skip


def command(pattern: str, out: Path, batches: int) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ["train", "--shards", pattern, "--recipe", "demo", *sets, "--out", str(out), "--device", "cpu", "--json"]
    return [sys.executable, "-m", "alexnet_train.cli", *words, "--overfit", str(batches)]


@pytest.mark.parametrize("processes", [1, 2])
def test_it_learns_until_it_is_stopped(make_run: Callable[..., str], tmp_path: Path, processes: int) -> None:
    words, out = command(make_run(tmp_path / "shards"), tmp_path / "run", 2), tmp_path / "run"
    if processes == 2:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        words = [*launcher, *words[1:]]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while run.poll() is None:
        records = read_metrics(out / "overfit.jsonl")
        if records and records[-1]["train_loss"] < 0.5:
            break
        time.sleep(0.05)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate()
    if processes == 1:
        assert run.returncode == 0, stderr
        assert json.loads(stdout)["train_loss"] < 0.8
    losses = [record["train_loss"] for record in read_metrics(out / "overfit.jsonl")]
    assert losses[0] > 1.5  # log(7) is 1.95
    assert all(record["images_per_second"] > 0 for record in read_metrics(out / "overfit.jsonl"))
    assert "loss" in stderr
    assert sorted(path.name for path in out.iterdir()) == ["overfit.jsonl"]


def test_more_batches_than_there_are(run: Callable[..., Any], make_run: Callable[..., str], tmp_path: Path) -> None:
    done = run(*command(make_run(tmp_path / "shards"), tmp_path / "run", 99)[3:])
    assert done.exit_code == 1
    assert "--overfit 99: an epoch has 4 batches" in done.stderr
