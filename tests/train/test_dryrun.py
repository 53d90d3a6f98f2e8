"""A dry run says the sizes that the network has, and writes nothing."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_train.distributed import World
from alexnet_train.dryrun import dry_run
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig


def test_figures(make_run: Callable[..., str], tmp_path: Path) -> None:
    recipe = load_recipe("released", ["batch_size=4", "num_classes=1000"])
    run = RunConfig(
        recipe=recipe,
        shards=[make_run(tmp_path)],
        val_shards=(),
        stats=None,
        out_dir=tmp_path / "run",
        world=World(device=torch.device("cpu")),
    )
    with Progress("train", "steps", quiet=True) as progress:
        found = dry_run(run, progress)
    assert (found["parameters"], found["multiply_adds"]) == (60_965_224, 724_406_816)
    assert (found["batch_shape"], found["steps_per_epoch"]) == ([4, 3, 224, 224], 4)
    assert 0 < found["seconds_per_epoch"] < 3600
    assert (found["train_images"], found["val_images"], found["classes"]) == (17, 11, 1000)
    assert found["checkpoint_bytes"] == 60_965_224 * 2 * 4
    # Weights, velocities and gradients are in memory.
    assert found["memory_bytes"] > 3 * 60_965_224 * 4
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_there_is_said(
    make_run: Callable[..., str], small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run = small_run(make_run(tmp_path), tmp_path / "run", trackers=["tensorboard"])
    with Progress("train", "steps", quiet=True) as progress, pytest.raises(AlexnetError, match="is not installed"):
        dry_run(run, progress)


def test_a_divergence_writes_nothing_either(make_run: Callable[..., str], tmp_path: Path) -> None:
    run = RunConfig(
        recipe=load_recipe("demo", ["batch_size=4", "width=0.0625", "learning_rate=1e30"]),
        shards=[make_run(tmp_path)],
        val_shards=(),
        stats=None,
        out_dir=tmp_path / "run",
        world=World(device=torch.device("cpu")),
    )
    before = sorted(tmp_path.rglob("*"))
    with Progress("train", "steps", quiet=True) as progress, pytest.raises(AlexnetError, match="diverged"):
        dry_run(run, progress)
    assert sorted(tmp_path.rglob("*")) == before
