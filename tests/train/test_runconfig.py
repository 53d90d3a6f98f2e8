"""A run's options become the stream's."""

from pathlib import Path

import torch

from alexnet_train.distributed import World
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import LoaderOptions, RunConfig, stream_config


def test_stream_config() -> None:
    recipe = load_recipe("demo", ["batch_size=6", "seed=9", "flip=false", "crop=centre"])
    run = RunConfig(
        recipe=recipe,
        shards=["train-*.tar"],
        val_shards=(),
        stats=None,
        out_dir=Path("run"),
        world=World(rank=1, size=2, device=torch.device("cpu")),
        loader=LoaderOptions(threads=3, child_process=True, quarantine=7),
    )
    found = stream_config(recipe, run)
    assert (found.batch_size, found.seed, found.flip, found.crop) == (6, 9, False, "centre")
    assert found.last == "drop"  # an update of a short batch would count as much as one of a whole one
    assert (found.rank, found.world_size, found.threads) == (1, 2, 3)
    assert (found.child_process, found.quarantine, found.pin_memory) == (True, 7, False)
