"""Trackers hold what metrics.jsonl holds: event files by their own definition, CSV by Python, wandb by its calls."""

import csv
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_train.checkpoint import list_checkpoints
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.runconfig import RunConfig
from alexnet_train.trackers import TrackedRun, check_trackers, numbers, open_trackers

SmallRun = Callable[..., RunConfig]


def train(run: RunConfig) -> None:
    with Progress("train", "steps", quiet=True) as progress:
        fit(run, progress)


def read_events(directory: Path) -> dict[tuple[int, str], float]:
    """(step, tag) to value of all files: records of length, checksum, Event message, checksum."""
    found: dict[tuple[int, str], float] = {}
    for path in sorted(directory.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
            at += length + 16
    return found


def test_event_files_hold_the_metrics(make_run: Callable[..., str], small_run: SmallRun, tmp_path: Path) -> None:
    """An epoch's means and a step's had one tag, and stood in one curve."""
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    train(small_run(pattern, out, trackers=["tensorboard"]))
    records = read_metrics(out / "metrics.jsonl")
    scalars = read_events(out / "tensorboard")
    for kind, name in (
        ("epoch", "val_top5_error"),
        ("epoch", "val_loss"),
        ("epoch", "train_loss"),
        ("step", "train_loss"),
    ):
        expected = {record["step"]: record[name] for record in records if record["kind"] == kind}
        found = {step: value for (step, tag), value in scalars.items() if tag == f"{kind}/{name}"}
        assert found == pytest.approx(expected), (kind, name)
    rates = {record["step"]: record["rates"]["fc6.bias"] for record in records if record["kind"] == "step"}
    assert {step: scalars[step, "rates/fc6.bias"] for step in rates} == pytest.approx(rates)


def test_numbers_of_nested_records() -> None:
    record = {"kind": "step", "step": 7, "epoch": 3, "rates": {"conv1.weight": 0.5}, "bound_by": "disk", "flag": True}
    assert dict(numbers("step", record)) == {"step/epoch": 3.0, "rates/conv1.weight": 0.5}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_files_are_the_metrics_in_columns(
    make_run: Callable[..., str], small_run: SmallRun, tmp_path: Path
) -> None:
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    train(small_run(pattern, out, trackers=["csv"]))
    shutil.copytree(out, tmp_path / "stopped")
    for path in list_checkpoints(tmp_path / "stopped" / "checkpoints")[1:]:
        path.unlink()
    (tmp_path / "stopped" / "checkpoints" / "best.pt").unlink()
    (tmp_path / "stopped" / "steps.csv").write_text("step,rubbish\n8,1\n")
    train(small_run(pattern, tmp_path / "stopped", trackers=["csv"]))
    for folder in (out, tmp_path / "stopped"):
        records = read_metrics(folder / "metrics.jsonl")
        for kind in ("step", "epoch"):
            rows = read_csv(folder / f"{kind}s.csv")
            assert [int(row["step"]) for row in rows] == [r["step"] for r in records if r["kind"] == kind]
            for row, record in zip(rows, (r for r in records if r["kind"] == kind), strict=True):
                assert float(row["train_loss"]) == record["train_loss"]
        assert [row["bound_by"] for row in read_csv(folder / "epochs.csv")] == [
            r["bound_by"] for r in records if r["kind"] == "epoch"
        ]
        assert float(read_csv(folder / "steps.csv")[0]["rates/fc8.bias"]) > 0


class FakeWandb(ModuleType):
    """wandb's face as far as it is used, which keeps what it is told."""

    Error = RuntimeError
    Settings = SimpleNamespace

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[dict[str, float]] = []
        self.ended = 0

    def init(self, **options: Any) -> "FakeWandb":
        if options["project"] == "refused":
            raise RuntimeError("no key\nmore")
        self.begun.append(options)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        pass

    def log(self, row: dict[str, float]) -> None:
        self.logged.append(row)

    def finish(self) -> None:
        self.ended += 1


def test_wandb_is_one_run_over_all_starts(
    small_run: SmallRun, make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb, out = FakeWandb(), tmp_path / "run"
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    pattern = make_run(tmp_path / "shards")
    run = small_run(pattern, out, trackers=["wandb"])
    train(run)
    train(run)
    assert len({begun["id"] for begun in wandb.begun}) == 1
    assert (len(wandb.begun), wandb.ended, wandb.begun[0]["config"]["train"]["epochs"]) == (2, 2, 3)
    records = [record for record in read_metrics(out / "metrics.jsonl") if record["kind"] == "epoch"]
    losses = {row["steps"]: row["epoch/val_loss"] for row in wandb.logged if "epoch/val_loss" in row}
    assert losses == {record["step"]: record["val_loss"] for record in records}
    monkeypatch.setenv("WANDB_PROJECT", "refused")
    tracked = TrackedRun(out_dir=out, recipe={}, step=0, look=no_look, activity=no_look, say=print)
    line = r"does not begin \(no key\); run wandb login, or set WANDB_MODE=offline$"
    with pytest.raises(AlexnetError, match=line), open_trackers(["wandb"], tracked):
        pass


def no_look() -> Any:
    """Nobody asks for one."""
    pytest.fail("not asked")


@pytest.mark.parametrize(("name", "library"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_library_is_one_line_that_says_what_to_install(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_trackers(
        [], TrackedRun(out_dir=tmp_path, recipe={}, step=0, look=no_look, activity=no_look, say=print)
    ) as none:
        none.add("step", 1, {"train_loss": 2.0})
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(AlexnetError, match=rf"{library} is not installed; pip install '\.\[{name}\]' in the checkout"):
        check_trackers(["csv", name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_real_wandb_offline(make_run: Callable[..., str], tmp_path: Path) -> None:
    """Installed beside, as it is large; its file holds what it was told."""
    place = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(place), "wandb>=0.19"]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        pytest.skip("wandb cannot be installed here")
    assert not (place / "PIL").exists()
    pattern = make_run(tmp_path / "shards")
    path = os.pathsep.join([*filter(None, sys.path), str(place)])
    environment = os.environ | {"PYTHONPATH": path, "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-m", "alexnet_train.cli", "--shards", pattern, "--recipe", "demo", "--track", "wandb"]
    small = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=3")
    command += ["--out", str(tmp_path / "run"), "--json", *(word for one in small for word in ("--set", one))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    (kept,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    for word in (b"epoch/val_loss", b"step/train_loss", b"rates/fc8.bias", b"learning_rate"):
        assert word in content
