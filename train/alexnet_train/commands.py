"""The commands of a run, train and eval: each reads its options, calls one function of the package, and shows its result.

What a command works with, torch above all, is imported when it runs, so that help is printed at once.
"""

from pathlib import Path
from typing import Any

import click

from alexnet_command.options import DEVICE, JSON, PATH, QUARANTINE, THREADS, takes_shards
from alexnet_command.signals import loading
from alexnet_train.commandoptions import (
    AVERAGE,
    DEFAULT_RECIPE,
    HTML,
    TENSORBOARD,
    TRACK,
    VERIFY_CACHE,
    VIEWS,
    TrainGroup,
    chosen_trackers,
    show_result,
)
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
    recipe = load_recipe(options["recipe"], options["settings"])
    shards, val_shards = sort_paths(options["shards"], options["val_shards"])
    options["threads"] = options["threads"] or 0
    with join_world(options["device"]) as world, Progress("train", "steps", quiet=not world.is_main) as progress:
        run = RunConfig(
            recipe=recipe,
            shards=shards,
            val_shards=val_shards,
            stats=options["stats"],
            out_dir=options["out"] or Path("runs") / recipe.name,
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


@commands.command(
    "eval",
    examples=[
        "alexnet-eval --checkpoint runs/released --shards shards",
        "alexnet-eval --checkpoint a.pt --checkpoint b.pt --shards 'shards/val-*.tar' --worst 20",
    ],
)
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="FILE",
    required=True,
    multiple=True,
    type=PATH,
    help="A file of RUN/checkpoints, or RUN: its best; several times: their probabilities are averaged.",
)
@takes_shards("Shards with labels, of a folder its val-*.tar")
@VIEWS
@AVERAGE
@click.option(
    "--worst", metavar="N", type=click.IntRange(0), default=0, help="List the N classes with the highest error."
)
@HTML
@QUARANTINE
@THREADS
@click.option(
    "--batch-size", metavar="N", type=click.IntRange(1), default=100, help="Images at once; no effect on the errors."
)
@click.option("--again", is_flag=True, help="Compute also what is kept beside the checkpoint, of just this evaluation.")
@VERIFY_CACHE
@DEVICE
@JSON
def evaluate(**options: Any) -> None:
    """Top-1 and top-5 errors, each image once, probabilities averaged over views and checkpoints."""
    with loading():
        from alexnet_command.progress import Progress
        from alexnet_stream import open_shards
        from alexnet_train.distributed import join_world
        from alexnet_train.evalfigures import eval_figures
        from alexnet_train.evaluate import EvalConfig, evaluate, identity, load_classifier, output_orders
        from alexnet_train.kepteval import KeptEvaluation
        from alexnet_train.results import worst_classes
        from alexnet_train.rundir import chosen_checkpoint
    shards = open_shards(options["shards"], split="val")
    checkpoints = [chosen_checkpoint(path) for path in options["checkpoints"]]
    page = None
    if options["html"] is not None:
        from alexnet_train.evalpage import page_path, write_eval_page  # which need Pillow and an extra

        page = page_path(options["html"], checkpoints[0])
    with join_world(options["device"]) as world, Progress("evaluate", "images", quiet=not world.is_main) as progress:
        named = {name: options[name] for name in ("views", "average", "worst")} | {"device": world.device.type}
        kept = KeptEvaluation(checkpoints, shards, named)
        classifiers = [load_classifier(path, world.device) for path in checkpoints]
        for path, order in zip(checkpoints, output_orders(classifiers, shards), strict=True):
            if order is not None:
                progress.say(
                    f"{path}: the shards list the same classes in another order, so its outputs are put in theirs"
                )
        how = EvalConfig(
            views=int(options["views"]),
            world=world,
            confusions=options["worst"] > 0,
            answers=page is not None,
            threads=options["threads"] or 0,
            **{name: options[name] for name in ("average", "batch_size", "quarantine")},
        )

        results = []

        def compute() -> dict[str, Any]:
            progress.start(shards.num_samples)
            results.append(evaluate(classifiers, shards, how, progress.advance))
            worst = worst_classes(results[0], shards.classes, options["worst"])
            return results[0].as_dict() | ({"worst": worst} if options["worst"] else {})

        again = options["again"] or page is not None  # what each image is taken for is not kept
        found = kept.found_or_computed(compute, world, again, progress.say)
    if world.is_main:
        found |= identity(checkpoints, options["shards"], shards)
        if page is None or not results or results[0].answers is None:
            show_result(options, found)
            return
        figures = {
            "page": str(page),
            "figures": eval_figures(results[0].answers, shards.classes, "top5_wrong" in found),
        }
        show_result(options, found | (figures if options["as_json"] else {"page": str(page)}))
        write_eval_page(page, found | figures, shards)


for command in (report, predict, export, import_):
    commands.add_command(command)
