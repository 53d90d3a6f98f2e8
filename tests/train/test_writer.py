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
from alexnet_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from alexnet_train.writer import CheckpointWriter, link_best, snapshot

PLAIN: dict[str, Any] = {"recipe": {}, "stats": {}, "classes": [], "words": [], "epoch": 0}


def content(step: int, weights: torch.Tensor) -> dict[str, Any]:
    return {**PLAIN, "step": step, "model": {"w": weights}, "nested": [{"w": weights}]}


def test_it_holds_the_weights_of_the_moment_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, weights = threading.Event(), torch.zeros(5)

    def wait_then_save(path: Path, values: dict[str, Any]) -> None:
        assert may_write.wait(60)
        save_checkpoint(path, values)

    monkeypatch.setattr(module, "save_checkpoint", wait_then_save)
    with CheckpointWriter(tmp_path, 3) as writer:
        writer.save(content(1, weights))
        weights += 1  # training goes on
        writer.check()
        assert not list_checkpoints(tmp_path)
        may_write.set()
        writer.wait()
    (path,) = list_checkpoints(tmp_path)
    saved = load_checkpoint(path)
    assert saved["model"]["w"].tolist() == saved["nested"][0]["w"].tolist() == [0.0] * 5


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path, 2) as writer:
        for step in range(1, 6):
            writer.save(content(step, torch.full((3,), float(step))), best=step == 2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000004.pt", "step-00000005.pt"]
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_failure_is_told_with_the_checkpoint_that_is_left(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, values: dict[str, Any]) -> None:
        raise error

    with CheckpointWriter(tmp_path, 2) as writer:
        writer.save(content(1, torch.ones(3)))
        writer.wait()
        monkeypatch.setattr(module, "save_checkpoint", fail)
        writer.save(content(2, torch.ones(3)))
        with pytest.raises(AlexnetError, match=r"cannot be written \(.*\).*; .*step-00000001.pt is whole"):
            writer.wait()
        writer.wait()  # told once
    assert load_checkpoint(tmp_path / "step-00000001.pt")["step"] == 1


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to("elsewhere")
    writer = CheckpointWriter(tmp_path / "checkpoints", 2)
    with pytest.raises(FileError, match="checkpoints: is a link to elsewhere"), writer:
        pass


def test_without_hard_links_best_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with CheckpointWriter(tmp_path, 2) as writer:
        for step in range(1, 6):
            writer.save(content(step, torch.full((3,), float(step))), best=step in (2, 3))
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "step-00000004.pt", "step-00000005.pt"]


def test_best_is_linked_where_a_kill_came_between(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path, 5) as writer:
        writer.save(content(1, torch.ones(3)), best=True)
        writer.save(content(2, torch.ones(3)))
    link_best(tmp_path, 2)
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 2
    link_best(tmp_path, 77)  # removed meanwhile
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 2


def test_snapshot_keeps_kinds() -> None:
    value: dict[str, Any] = {"a": [torch.ones(2), 3], "b": (1.5, "x"), "c": None}
    copy = snapshot(value)
    assert copy["b"] == (1.5, "x")
    assert copy["c"] is None
    value["a"][0] += 1
    assert copy["a"][0].tolist() == [1.0, 1.0]
