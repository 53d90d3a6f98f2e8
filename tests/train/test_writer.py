"""Checkpoints in the background: whole, in order, of the moment they were asked for, and a failure is told."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_shards.errors import AlexnetError, FileError
from alexnet_train import writer as module
from alexnet_train.aside import point_to
from alexnet_train.checkpoint import checkpoint_path, list_checkpoints, load_checkpoint, save_checkpoint
from alexnet_train.writer import CheckpointWriter, snapshot

PLAIN: dict[str, Any] = {"recipe": {}, "stats": {}, "classes": [], "words": [], "epoch": 0}


def content(step: int, weights: torch.Tensor) -> dict[str, Any]:
    return {**PLAIN, "step": step, "model": {"w": weights}, "nested": [{"w": weights}]}


def taken(step: int, weights: torch.Tensor) -> dict[str, Any]:
    copy = snapshot(content(step, weights))
    assert copy is not None
    return copy


def writer_of(directory: Path, keep: int) -> CheckpointWriter:
    return CheckpointWriter(directory, keep, lambda path: point_to(path, directory / "best.pt"))


def test_it_holds_the_weights_of_the_moment_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, weights = threading.Event(), torch.zeros(5)

    def wait_then_save(path: Path, values: dict[str, Any]) -> None:
        assert may_write.wait(60)
        save_checkpoint(path, values)

    monkeypatch.setattr(module, "save_checkpoint", wait_then_save)
    with writer_of(tmp_path, 3) as writer:
        writer.save(taken(1, weights))
        weights += 1  # training goes on
        assert not writer.failed
        assert not list_checkpoints(tmp_path)
        may_write.set()
        writer.wait()
    (path,) = list_checkpoints(tmp_path)
    saved = load_checkpoint(path)
    assert saved["model"]["w"].tolist() == saved["nested"][0]["w"].tolist() == [0.0] * 5


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    with writer_of(tmp_path, 2) as writer:
        for step in range(1, 6):
            writer.save(taken(step, torch.full((3,), float(step))), best=step == 2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000004.pt", "step-00000005.pt"]
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_failure_is_told_with_the_checkpoint_that_is_left(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, values: dict[str, Any]) -> None:
        raise error

    with writer_of(tmp_path, 2) as writer:
        writer.save(taken(1, torch.ones(3)))
        writer.wait()
        monkeypatch.setattr(module, "save_checkpoint", fail)
        writer.save(taken(2, torch.ones(3)))
        with pytest.raises(AlexnetError, match=r"cannot be written \(.*\).*; .*step-00000001.pt is whole"):
            writer.wait()
        writer.wait()  # told once
    assert load_checkpoint(tmp_path / "step-00000001.pt")["step"] == 1


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to("elsewhere")
    with pytest.raises(FileError, match="checkpoints: is a link to elsewhere"), writer_of(tmp_path / "checkpoints", 2):
        pass


def test_without_hard_links_best_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with writer_of(tmp_path, 2) as writer:
        for step in range(1, 6):
            writer.save(taken(step, torch.full((3,), float(step))), best=step in (2, 3))
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "step-00000004.pt", "step-00000005.pt"]


def test_snapshot_keeps_kinds() -> None:
    value: dict[str, Any] = {"model": [torch.ones(2), 3], "b": (1.5, "x"), "c": None}
    copy = snapshot(value)
    assert copy is not None
    assert copy["b"] == (1.5, "x")
    assert copy["c"] is None
    value["model"][0] += 1
    assert copy["model"][0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("part", ["model", "optimizer", "average"])
def test_weights_of_no_use_are_not_taken(bad: float, part: str) -> None:
    weights = torch.ones(1000)
    value = {"model": {"w": torch.ones(3)}, part: {"state": {0: {"velocity": weights}}}}
    assert snapshot(value) is not None
    weights[777] = bad
    assert snapshot(value) is None


def test_only_files_of_this_run_below_the_step_are_removed(tmp_path: Path) -> None:
    """A foreign or damaged newer file once made `keep` remove each checkpoint as it was written."""
    for step in (1, 2, 7):
        save_checkpoint(checkpoint_path(tmp_path, step), content(step, torch.ones(3)))
    checkpoint_path(tmp_path, 16).touch()
    with CheckpointWriter(tmp_path, 1, lambda path: None, written=[2, 7]) as writer:
        for step in (4, 5):
            writer.save(taken(step, torch.ones(3)))
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step-00000001.pt", "step-00000005.pt", "step-00000007.pt", "step-00000016.pt",
    ]  # fmt: skip
    assert load_checkpoint(checkpoint_path(tmp_path, 5))["written"] == [4, 5]
