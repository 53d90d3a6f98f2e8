"""The group of commands, and train: it reads its options, calls one function of the package, and shows its result.

What a command works with, torch above all, is imported when it runs, so that help is printed at once.
"""

from pathlib import Path
from typing import Any

import click

from alexnet_command.options import DEVICE, JSON, PATH, QUARANTINE, THREADS, takes_shards
from alexnet_command.signals import loading
from alexnet_train.commandoptions import (
    DEFAULT_RECIPE,
    SERVE,
    SERVE_HOST,
    TENSORBOARD,
    TRACK,
    VERIFY_CACHE,
    TrainGroup,
    chosen_trackers,
    show_result,
)
from alexnet_train.evalcommand import evaluate
from alexnet_train.usecommands import export, import_, predict, report


@click.group(cls=TrainGroup)
def commands() -> None:
    """Train, evaluate and use AlexNet."""


@commands.command(
    "train",
    examples=[
        "alexnet-train --shards shards",
        "alexnet-train --shards 'shards/train-*.tar' --recipe small --set epochs=5 --out runs/try",
    ],
)
@takes_shards("Training shards")
@click.option(
    "--val-shards",
    metavar="SHARDS",
    help="Validation shards.  [default: val-*.tar or validation-*.tar beside the training shards]",
)
@click.option(
    "--stats",
    metavar="FILE",
    type=PATH,
    help="Statistics.  [default: stats.npz beside the shards]",
)
@click.option("--recipe", metavar="NAME|FILE", default=DEFAULT_RECIPE, help="Recipe name or TOML file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a number of the recipe.")
@click.option("--out", metavar="DIR", type=PATH, help="Run directory.  [default: runs/RECIPE]")
@click.option(
    "--init",
    metavar="FILE",
    type=PATH,
    help="Start from the weights of a checkpoint, as alexnet-import writes one; other classes get a new last layer.",
)
@click.option("--fresh", is_flag=True, help="Move an earlier run in the run directory aside, and begin anew.")
@click.option("--dry-run", is_flag=True, help="Build everything, try a few steps, print sizes, memory and times.")
@click.option(
    "--overfit",
    "overfit_batches",
    metavar="N",
    type=click.IntRange(1),
    help="Train on N batches again and again, till Ctrl-C.",
)
@click.option(
    "--profile",
    "profile_steps",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    help="Trace N steps by torch's profiler.",
)
@SERVE
@SERVE_HOST
@TRACK
@TENSORBOARD
@QUARANTINE
@THREADS
@click.option("--child-process", is_flag=True, help="Decode in a process of its own, for GPUs that wait for launches.")
@VERIFY_CACHE
@DEVICE
@JSON
def train(**options: Any) -> None:
    """Train AlexNet on shards; started again with the same --out, it goes on where it stopped."""
    with loading():
        from alexnet_command.progress import Progress
        from alexnet_train.distributed import join_world
        from alexnet_train.dryrun import dry_run
        from alexnet_train.loop import fit
        from alexnet_train.overfit import overfit
        from alexnet_train.recipe import load_recipe
        from alexnet_train.runconfig import LoaderOptions, RunConfig
        from alexnet_train.rundata import sort_paths
        from alexnet_train.serve import serving
    if options["serve"] is not None and (options["dry_run"] or options["overfit_batches"]):
        raise click.UsageError("--serve shows a run; --dry-run and --overfit are none")
    recipe = load_recipe(options["recipe"], options["settings"])
    shards, val_shards = sort_paths(options["shards"], options["val_shards"])
    options["threads"] = options["threads"] or 0
    out_dir = options["out"] or Path("runs") / recipe.name
    with (
        serving(out_dir, options["serve"], options["serve_host"]),
        join_world(options["device"]) as world,
        Progress("train", "steps", quiet=not world.is_main) as progress,
    ):
        run = RunConfig(
            recipe=recipe,
            shards=shards,
            val_shards=val_shards,
            stats=options["stats"],
            out_dir=out_dir,
            world=world,
            loader=LoaderOptions(**{name: options[name] for name in ("quarantine", "threads", "child_process")}),
            trackers=chosen_trackers(options),
            **{name: options[name] for name in ("init", "fresh", "profile_steps")},
        )
        if options["dry_run"]:
            result = dry_run(run, progress)
        elif options["overfit_batches"]:
            result = overfit(run, progress, options["overfit_batches"])
        else:
            result = fit(run, progress)
    if world.is_main:
        show_result(options, result)


for command in (evaluate, report, predict, export, import_):
    commands.add_command(command)
