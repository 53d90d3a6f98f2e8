"""One object moves the weights: the same by hand as in a run, and on from its state."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_stream import Stream
from alexnet_train.checkpoint import checkpoint_path, load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.loop import fit
from alexnet_train.recipe import load_recipe
from alexnet_train.records import Records
from alexnet_train.runconfig import RunConfig, stream_config
from alexnet_train.rundata import open_run_data, with_classes
from alexnet_train.stepper import Schedule, Stepper

SETTINGS = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=1")


def parts(pattern: str, out: Path, *settings: str) -> tuple[RunConfig, Stream, Stepper]:
    recipe = load_recipe("demo", (*SETTINGS, *settings))
    world = World(device=torch.device("cpu"))
    data = open_run_data([pattern], (), None)
    recipe = with_classes(recipe, data.train)
    run = RunConfig(recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out, world=world)
    stream = Stream(data.train, stream_config(recipe, run))
    schedule = Schedule(optim=recipe.optim, steps_per_epoch=stream.steps_per_epoch, records=Records(None))
    return run, stream, Stepper(recipe, data.stats, world, schedule)


def test_steps_by_hand_are_those_of_a_run(make_run: Callable[..., str], tmp_path: Path) -> None:
    run, stream, stepper = parts(make_run(tmp_path / "shards"), tmp_path / "run")
    stepper.begin(epoch=0)
    with stream:
        for batch in stream.epoch("cpu"):
            stepper.take(batch, epoch=0)
    with Progress("train", "steps", quiet=True) as progress:
        record = fit(run, progress)
    saved = load_checkpoint(checkpoint_path(tmp_path / "run" / "checkpoints", 3))
    assert stepper.step == 3
    assert stepper.epoch_means()["train_loss"] == record["train_loss"]
    for name, tensor in stepper.state()["model"].items():
        assert torch.equal(tensor, saved["model"][name]), name
    again = Stepper(
        run.recipe, open_run_data(run.shards, (), None).stats, run.world,
        Schedule(optim=run.recipe.optim, steps_per_epoch=3, records=Records(None)), state=saved,
    )  # fmt: skip
    assert again.step == 3
    assert torch.equal(again.state()["model"]["fc8.bias"], saved["model"]["fc8.bias"])


def test_a_divergence_without_a_place_writes_nothing(make_run: Callable[..., str], tmp_path: Path) -> None:
    _, stream, stepper = parts(make_run(tmp_path / "shards"), tmp_path / "run", "learning_rate=1e30")
    before = sorted(tmp_path.rglob("*"))
    stepper.begin(epoch=0)
    with stream, pytest.raises(AlexnetError, match=r"training has diverged; begin anew with a lower learning_rate"):
        for batch in stream.epoch("cpu"):
            stepper.take(batch, epoch=0)
    assert sorted(tmp_path.rglob("*")) == before
