"""The commands: each reads its options, calls one function of the package, and shows its result.

What a command works with, torch above all, is imported when it runs, so that help is printed at once.
"""

from pathlib import Path
from typing import Any

import click

from alexnet_command.options import DEVICE, JSON, PATH, QUARANTINE, THREADS, takes_shards
from alexnet_command.printing import say, show, show_json
from alexnet_command.signals import loading
from alexnet_train.commandoptions import (
    CHECKPOINT,
    DEFAULT_RECIPE,
    FORMATS,
    INPUT_SIDES,
    ORDERS,
    SOURCES,
    TENSORBOARD,
    TRACK,
    VERIFY_CACHE,
    VIEWS,
    TrainGroup,
    chosen_trackers,
)


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
        _result(options, result)


@commands.command(
    "report", examples=["alexnet-train report runs/released", "alexnet-train report runs/* --out side-by-side.html"]
)
@click.option("--out", metavar="FILE", type=PATH, help="[default: report.html in the run, or in the current folder]")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=PATH)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Draw a run's page again, or one of several runs side by side, from the files in their directories."""
    with loading():
        from alexnet_pages import write_page
        from alexnet_train.runpage import PAGE_NAME, read_run, runs_page
    page = runs_page([read_run(run) for run in runs])
    path = out or (runs[0] / PAGE_NAME if len(runs) == 1 else Path(PAGE_NAME))
    write_page(path, page)
    show([f"page: {path}"])


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
@click.option(
    "--worst", metavar="N", type=click.IntRange(0), default=0, help="List the N classes with the highest error."
)
@QUARANTINE
@THREADS
@click.option(
    "--batch-size", metavar="N", type=click.IntRange(1), default=100, help="Images at once; no effect on the errors."
)
@VERIFY_CACHE
@DEVICE
@JSON
def evaluate(**options: Any) -> None:
    """Top-1 and top-5 errors, each image once, probabilities averaged over views and checkpoints."""
    with loading():
        from alexnet_command.progress import Progress
        from alexnet_stream import open_shards
        from alexnet_train.distributed import join_world
        from alexnet_train.evaluate import EvalConfig, evaluate, identity, load_classifier, output_orders
        from alexnet_train.results import worst_classes
        from alexnet_train.rundir import chosen_checkpoint
    shards = open_shards(options["shards"], split="val")
    checkpoints = [chosen_checkpoint(path) for path in options["checkpoints"]]
    with join_world(options["device"]) as world, Progress("evaluate", "images", quiet=not world.is_main) as progress:
        classifiers = [load_classifier(path, world.device) for path in checkpoints]
        for path, order in zip(checkpoints, output_orders(classifiers, shards), strict=True):
            if order is not None:
                progress.say(
                    f"{path}: the shards list the same classes in another order, so its outputs are put in theirs"
                )
        progress.start(shards.num_samples)
        how = EvalConfig(
            views=int(options["views"]),
            world=world,
            confusions=options["worst"] > 0,
            threads=options["threads"] or 0,
            **{name: options[name] for name in ("batch_size", "quarantine")},
        )
        result = evaluate(classifiers, shards, how, progress.advance)
    if world.is_main:
        found = result.as_dict() | identity(checkpoints, options["shards"], shards)
        worst = worst_classes(result, shards.classes, options["worst"])
        _result(options, found | ({"worst": worst} if options["worst"] else {}))


@commands.command(
    "predict",
    examples=[
        "alexnet-predict --checkpoint runs/released photo.jpg",
        "alexnet-predict --checkpoint best.pt --views 1 --top 3 photos/*.jpg --json",
    ],
)
@CHECKPOINT
@VIEWS
@click.option("--top", metavar="N", type=click.IntRange(1), default=5, help="Classes to name for each image.")
@DEVICE
@JSON
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=PATH)
def predict(**options: Any) -> None:
    """What a checkpoint sees in each IMAGE; a bad one is a line, the others are seen, and the status is 1."""
    with loading():
        from alexnet_pixels import PixelRecipe
        from alexnet_train.checkpoint import load_checkpoint
        from alexnet_train.distributed import choose_device
        from alexnet_train.evaluate import classifier_of
        from alexnet_train.predict import BadFile, predict
        from alexnet_train.rundir import chosen_checkpoint
    bad: list[BadFile] = []

    def on_bad(error: BadFile) -> None:
        bad.append(error)
        say(f"error: {error}")

    checkpoint = chosen_checkpoint(options["checkpoint"])
    content = load_checkpoint(checkpoint)
    classifier = classifier_of(content, str(checkpoint), choose_device(options["device"]))
    pixels = PixelRecipe.from_dict(content.get("pixels", {}))
    how = {"views": int(options["views"]), "top": options["top"], "on_bad": on_bad}
    _result(options, {"images": predict(classifier, options["images"], pixels, **how)})
    click.get_current_context().exit(1 if bad else 0)


@commands.command(
    "export",
    examples=[
        "alexnet-export --checkpoint runs/released --to onnx --out alexnet.onnx --with-input",
        "alexnet-export --checkpoint best.pt --to safetensors --out alexnet.safetensors",
    ],
)
@CHECKPOINT
@click.option("--to", required=True, type=click.Choice(FORMATS), help="The format.")
@click.option("--out", metavar="FILE", required=True, type=PATH, help="The file to write.")
@click.option(
    "--with-input",
    metavar="[SIDE]",
    type=click.Choice(INPUT_SIDES),
    is_flag=False,
    flag_value=INPUT_SIDES[0],
    help="ONNX that takes uint8 RGB images (N, SIDE, SIDE, 3) to probabilities; SIDE is 256 where silent, or the crop's.",
)
@JSON
def export(**options: Any) -> None:
    """Write a checkpoint's network as ONNX, safetensors or torchvision's AlexNet, and how it is fed."""
    with loading():
        from alexnet_train.export import export
        from alexnet_train.rundir import chosen_checkpoint
    side_px = int(options["with_input"] or 0)
    checkpoint = chosen_checkpoint(options["checkpoint"])
    _result(options, export(checkpoint, options["to"], options["out"], side_px))


@commands.command(
    "import",
    examples=[
        "alexnet-import --from torchvision --weights alexnet-owt-7be5be79.pth --shards 'val-*.tar' --out tv.pt",
        "alexnet-import --from caffe --weights bvlc_alexnet.caffemodel --shards 'val-*.tar' --out caffe.pt",
    ],
)
@click.option("--from", "kind", required=True, type=click.Choice(SOURCES), help="Whose weights they are.")
@click.option(
    "--weights",
    metavar="FILE",
    required=True,
    type=PATH,
    help="A .pth, .caffemodel or .npy file.",
)
@takes_shards("Shards of ILSVRC-2012, whose class order the checkpoint gets")
@click.option("--out", metavar="FILE", required=True, type=PATH, help="The checkpoint to write.")
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    help="Of Caffe's weights, where the file does not say: lrn-pool is bvlc_alexnet, pool-lrn is CaffeNet.",
)
@JSON
def import_(**options: Any) -> None:
    """Write published weights of torchvision's AlexNet, Caffe's bvlc_alexnet or CaffeNet as a checkpoint."""
    with loading():
        from alexnet_train.importer import import_weights
    what = (options["kind"], options["weights"], options["shards"], options["out"], options["order"])
    _result(options, import_weights(*what))


def _result(options: dict[str, Any], content: Any) -> None:
    """The result to stdout: as JSON, or as lines."""
    from alexnet_train.report import result_lines

    if options["as_json"]:
        show_json(content)
    else:
        show(result_lines(content))
