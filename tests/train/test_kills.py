"""A run that is killed again and again ends with the bytes of one that was not; a run that is asked to stop saves first."""

import json
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_train.checkpoint import list_checkpoints, load_checkpoint
from alexnet_train.metrics import read_metrics

SETTINGS = ("width=0.03125", "batch_size=5", "log_every_steps=1", "checkpoint_every_steps=4", "keep_checkpoints=3")
TIMES = {"images_per_second", "data_wait_fraction", "checkpoint", "memory_bytes", "bound_by"}
STEPS = 3  # of an epoch
ENDLESS = "epochs=100000"  # it cannot end before it is killed, however late that is
# Imports torch once for all the processes of this file.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["alexnet_train.loop"])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start `python -m alexnet_train.cli train …` as a process of its own."""

    def begin(pattern: str, out: Path, *settings: str) -> Any:
        sets = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
        words = ["train", "--shards", pattern, "--recipe", "demo", *sets, "--out", str(out), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["alexnet_train.cli", *words])
        process = PROCESSES.Process(
            target=runpy.run_module, args=("alexnet_train.cli",), kwargs={"run_name": "__main__", "alter_sys": True}
        )
        process.start()
        return process

    return begin


def wait_for_lines(out: Path, process: Any, lines: int) -> None:
    """Until metrics.jsonl has grown by so many lines, or the process has ended."""
    path = out / "metrics.jsonl"

    def written() -> int:
        return path.read_bytes().count(b"\n") if path.exists() else 0

    before = written()
    while process.is_alive() and written() < before + lines:
        before = min(before, written())  # a continued run drops lines behind its checkpoint
        time.sleep(0.002)


def end_of(out: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights and velocities of the last checkpoint, and the metrics without times."""
    content = load_checkpoint(list_checkpoints(out / "checkpoints")[-1])
    velocities = {f"velocity {key}": state["velocity"] for key, state in content["optimizer"]["state"].items()}
    records = read_metrics(out / "metrics.jsonl")
    timeless = [{key: value for key, value in record.items() if key not in TIMES} for record in records]
    return {**content["model"], **velocities}, timeless


def assert_equal_ends(one: Path, other: Path) -> None:
    (tensors, records), (other_tensors, other_records) = end_of(one), end_of(other)
    assert records == other_records
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_at_random_moments(
    make_run: Callable[..., str], start: Callable[..., Any], tmp_path: Path, kills: int
) -> None:
    pattern = make_run(tmp_path / "shards", val_sizes=(3,))
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    chance = random.Random(0)
    for _ in range(kills):
        process = start(pattern, killed, ENDLESS)
        wait_for_lines(killed, process, chance.randint(1, 14))
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    epochs = f"epochs={read_metrics(killed / 'metrics.jsonl')[-1]['step'] // STEPS + 2}"
    for process in (start(pattern, straight, epochs), start(pattern, killed, epochs)):
        process.join()
        assert process.exitcode == 0
    assert_equal_ends(straight, killed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_leaves(
    number: signal.Signals, make_run: Callable[..., str], start: Callable[..., Any], tmp_path: Path
) -> None:
    pattern, out = make_run(tmp_path / "shards", val_sizes=(3,)), tmp_path / "run"
    process = start(pattern, out, ENDLESS, "checkpoint_every_steps=0")
    wait_for_lines(out, process, 7)
    signal_process(process, number)
    process.join()
    assert process.exitcode == 128 + number
    saved = load_checkpoint(list_checkpoints(out / "checkpoints")[-1])["step"]
    assert saved == read_metrics(out / "metrics.jsonl")[-1]["step"] >= 6
    (out / "metrics.jsonl").write_text((out / "metrics.jsonl").read_text() + json.dumps({"step": 0})[:5])
    stopped_at = saved // STEPS + 2
    process = start(pattern, out, f"epochs={stopped_at}", "checkpoint_every_steps=0")
    process.join()
    assert process.exitcode == 0
    start(pattern, tmp_path / "straight", f"epochs={stopped_at}", "checkpoint_every_steps=0").join()
    assert_equal_ends(out, tmp_path / "straight")


def test_asked_to_save_it_saves_and_goes_on(
    make_run: Callable[..., str], start: Callable[..., Any], tmp_path: Path
) -> None:
    pattern, out = make_run(tmp_path / "shards", val_sizes=()), tmp_path / "run"
    process = start(pattern, out, ENDLESS, "checkpoint_every_steps=0", "keep_checkpoints=100000")
    wait_for_lines(out, process, 5)
    signal_process(process, signal.SIGUSR1)
    wait_for_lines(out, process, 2 * STEPS)
    signal_process(process, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    *steps, last = (int(path.stem.removeprefix("step-")) for path in list_checkpoints(out / "checkpoints"))
    assert last == read_metrics(out / "metrics.jsonl")[-1]["step"]
    # At most one between the ends of epochs; none where the signal came during a validation or an epoch's last step.
    assert len([step for step in steps if step % STEPS]) <= 1


def test_a_full_disk_ends_the_run_with_the_checkpoint_before(
    make_run: Callable[..., str], mount_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    """Room for one checkpoint of 2.4 MB and not for the second; with room again the run goes on to the same end."""
    pattern, disk = make_run(tmp_path / "shards", val_sizes=()), mount_disk(4 << 20)
    sets = [
        word for setting in (*SETTINGS, "width=0.0625", "epochs=4", "keep_checkpoints=1") for word in ("--set", setting)
    ]
    words = ["train", "--shards", pattern, "--recipe", "demo", *sets, "--device", "cpu", "--out"]

    def run(out: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "alexnet_train.cli", *words, str(out)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    full = run(disk / "run")
    assert full.returncode == 1
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("error:")]
    (whole,) = list_checkpoints(disk / "run" / "checkpoints")
    assert "cannot be written (the disk is full)" in line
    assert f"{whole} is whole" in line
    assert load_checkpoint(whole)["step"] == 3
    assert not list(disk.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    assert run(disk / "run").returncode == 0
    assert run(tmp_path / "roomy").returncode == 0
    assert_equal_ends(disk / "run", tmp_path / "roomy")


def signal_process(process: Any, number: signal.Signals) -> None:
    """Send a signal to a process that is running."""
    assert process.is_alive()
    os.kill(process.pid, number)
