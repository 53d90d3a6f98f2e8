"""Validation comes after the save: what ends it loses no epoch, and a start again does it again."""

import json
import os
import signal
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_train.checkpoint import list_checkpoints, load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import load_recipe
from alexnet_train.requests import Stopped
from alexnet_train.runconfig import LoaderOptions, RunConfig
from alexnet_train.validation import Validation

SMALL = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=2", "validation_batch_size=2")


def config(pattern: str, out: Path, *settings: str) -> RunConfig:
    recipe, world = load_recipe("demo", (*SMALL, *settings)), World(device=torch.device("cpu"))
    return RunConfig(recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out, world=world)


def train(run: RunConfig) -> dict[str, Any]:
    with Progress("train", "steps", quiet=True) as progress:
        return fit(run, progress)


def damage(directory: Path) -> None:
    """Flip a byte in the middle of the first validation photo."""
    path = directory / "val-000.tar"
    with tarfile.open(path) as archive:
        member = archive.getmembers()[0]
    content = bytearray(path.read_bytes())
    content[member.offset_data + member.size // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_validation_sample_loses_no_epoch(make_run: Callable[..., str], tmp_path: Path) -> None:
    run = config(make_run(tmp_path / "shards"), tmp_path / "run")
    damage(tmp_path / "shards")
    for _ in range(2):
        with pytest.raises(AlexnetError, match="val-000.tar"):
            train(run)
        (path,) = list_checkpoints(tmp_path / "run" / "checkpoints")
        assert load_checkpoint(path)["step"] == 3
    record = train(replace(run, loader=LoaderOptions(quarantine=5)))
    assert (record["epoch"], record["step"]) == (2, 6)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2]
    # 1 of 11 is left out, so the errors are tenths.
    assert all(round(line["val_top1_error"] * 10, 6).is_integer() for line in epochs)


def test_all_samples_in_quarantine_is_one_line(make_run: Callable[..., str], tmp_path: Path) -> None:
    run = config(make_run(tmp_path / "shards", val_sizes=(1,)), tmp_path / "run")
    damage(tmp_path / "shards")
    with pytest.raises(AlexnetError, match="all 1 samples are in quarantine"):
        train(replace(run, loader=LoaderOptions(quarantine=5)))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_request_is_answered_between_its_batches(
    batch: int, make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern, errors = make_run(tmp_path / "shards"), Validation.errors

    def interrupted(self: Validation, network: Any, stats: Any, between: Callable[[], None]) -> Any:
        seen = 0

        def signal_then_answer() -> None:
            nonlocal seen
            seen += 1
            assert seen <= batch, "it went on"
            if seen == batch:
                os.kill(os.getpid(), signal.SIGTERM)
            between()

        return errors(self, network, stats, signal_then_answer)

    straight = train(config(pattern, tmp_path / "straight"))
    monkeypatch.setattr(Validation, "errors", interrupted)
    with pytest.raises(Stopped, match="SIGTERM at step 3"):
        train(config(pattern, tmp_path / "run"))
    assert load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])["step"] == 3
    assert [record["kind"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")] == ["step"]
    monkeypatch.undo()
    assert train(config(pattern, tmp_path / "run"))["val_top1_error"] == straight["val_top1_error"]
    assert [r["epoch"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "epoch"] == [1, 2]


def test_another_validation_set_begins_its_own_row(
    make_run: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = config(make_run(tmp_path / "shards"), tmp_path / "run", "keep_checkpoints=9")
    train(run)
    make_run(tmp_path / "other", val_sizes=(6,))
    longer = replace(run, recipe=load_recipe("demo", (*SMALL, "epochs=3")), val_shards=[f"{tmp_path}/other/val-*.tar"])
    with Progress("train", "steps") as progress:
        fit(longer, progress)
    assert "other validation shards than before" in capfd.readouterr().err
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")["step"] == 9


def test_a_network_of_nan_is_an_error(make_run: Callable[..., str], tmp_path: Path) -> None:
    """One epoch of one step at learning rate 1e30 ended with status 0 and a best.pt of NaN."""
    pattern = make_run(tmp_path / "shards", (5,))
    with pytest.raises(AlexnetError, match="training has diverged"):
        train(config(pattern, tmp_path / "run", "learning_rate=1e30", "epochs=1"))
    assert not list((tmp_path / "run").rglob("best.pt"))
    with pytest.raises(AlexnetError, match="no numbers: its training has diverged"):
        train(config(pattern, tmp_path / "big", "learning_rate=1e12", "epochs=1"))
    assert not list((tmp_path / "big").rglob("best.pt"))
