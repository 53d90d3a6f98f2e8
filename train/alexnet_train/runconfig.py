"""What a command says of a run: its recipe and files, and how this machine reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_stream import StreamConfig
from alexnet_train.distributed import World
from alexnet_train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How this machine reads (see StreamConfig); which samples a step sees does not depend on it."""

    threads: int = 0
    child_process: bool = False
    quarantine: int = 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: the recipe and its files. Empty `val_shards` and `stats` None: the files beside the shards.

    `init` is a checkpoint whose weights a run that begins starts from. `fresh` moves what an earlier run left in
    `out_dir` aside; `trackers` (names of trackers.TRACKERS) get the metrics too; `profile_steps` of the first steps are
    traced.
    """

    recipe: Recipe
    shards: Sequence[str]
    val_shards: Sequence[str]
    stats: Path | None
    out_dir: Path
    world: World
    loader: LoaderOptions = LoaderOptions()
    init: Path | None = None
    fresh: bool = False
    trackers: Sequence[str] = ()
    profile_steps: int = 0


def stream_config(recipe: Recipe, run: RunConfig) -> StreamConfig:
    """How the recipe's training shards are streamed to one of the processes: every batch is whole, as an update's rate is
    one for whole batches."""
    return StreamConfig(
        batch_size=recipe.train.batch_size,
        seed=recipe.train.seed,
        crop=recipe.input.crop,
        flip=recipe.input.flip,
        flip_once=recipe.input.flip_once,
        last="drop",
        rank=run.world.rank,
        world_size=run.world.size,
        pin_memory=run.world.device.type == "cuda",
        threads=run.loader.threads,
        child_process=run.loader.child_process,
        quarantine=run.loader.quarantine,
    )
