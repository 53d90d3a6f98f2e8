"""The commands: each reads its options and calls one function of the package."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from alexnet_pixels import PixelRecipe
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import split_of
from alexnet_stream import open_shards
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.distributed import choose_device, join_world
from alexnet_train.dryrun import dry_run
from alexnet_train.evaluate import EvalConfig, classifier_of, evaluate, load_classifier
from alexnet_train.export import WRITERS, export
from alexnet_train.importer import SOURCES, import_weights
from alexnet_train.loop import LoaderOptions, RunConfig, fit
from alexnet_train.metrics import worst_classes
from alexnet_train.overfit import overfit
from alexnet_train.predict import BadFile, predict
from alexnet_train.progress import RunProgress
from alexnet_train.recipe import DEFAULT_RECIPE, load_recipe
from alexnet_train.requests import Stopped

EXTRA_PATHS = click.argument("more_shards", nargs=-1, metavar="[SHARDS]...")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


@click.command()
@click.option("--shards", required=True, help="Training shards: a path, a glob or a range as 'train-{000..999}.tar'.")
@click.option("--val-shards", help="Validation shards; val-*.tar beside the training shards where silent.")
@click.option("--stats", type=click.Path(path_type=Path), help="Statistics; stats.npz beside the shards where silent.")
@click.option("--recipe", default=DEFAULT_RECIPE, show_default=True, help="Recipe name or TOML file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a number of the recipe.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory [default: runs/RECIPE].")
@click.option("--fresh", is_flag=True, help="Remove what an earlier run left in the run directory, and begin anew.")
@click.option("--dry-run", is_flag=True, help="Build everything, try a few steps, print sizes, memory and times.")
@click.option(
    "--overfit",
    "overfit_batches",
    type=click.IntRange(1),
    help="Train on so many batches again and again, till Ctrl-C.",
)
@click.option(
    "--profile", "profile_steps", type=click.IntRange(0), default=0, help="Trace so many steps by torch's profiler."
)
@click.option("--tensorboard", is_flag=True, help="Also write the metrics as TensorBoard event files.")
@click.option(
    "--quarantine", type=click.IntRange(0), default=0, help="Replace up to so many bad samples before stopping."
)
@click.option(
    "--threads", type=click.IntRange(0), default=0, help="Threads that decode [default: a share of the cores]."
)
@click.option("--child-process", is_flag=True, help="Decode in a process of its own, for GPUs that wait for launches.")
@DEVICE
@AS_JSON
@EXTRA_PATHS
def train_main(**options: Any) -> None:
    """Train AlexNet on shards; started again with the same --out, it goes on where it stopped."""

    def work() -> dict[str, Any] | None:
        recipe = load_recipe(options["recipe"], options["settings"])
        shards, val_shards = sort_paths(options["shards"], options["val_shards"], options["more_shards"])
        with join_world(options["device"]) as world, RunProgress("train", "steps", quiet=not world.is_main) as progress:
            run = RunConfig(
                recipe=recipe,
                shards=shards,
                val_shards=val_shards,
                stats=options["stats"],
                out_dir=options["out"] or Path("runs") / recipe.name,
                world=world,
                loader=LoaderOptions(**{name: options[name] for name in ("quarantine", "threads", "child_process")}),
                **{name: options[name] for name in ("fresh", "tensorboard", "profile_steps")},
            )
            if options["dry_run"]:
                result = dry_run(run, progress)
            elif options["overfit_batches"]:
                result = overfit(run, progress, options["overfit_batches"])
            else:
                result = fit(run, progress)
        return result if world.is_main else None

    _finish(work, options["as_json"])


@click.command()
@click.option(
    "--checkpoint",
    "checkpoints",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of RUN/checkpoints; several times: their probabilities are averaged.",
)
@click.option("--shards", required=True, help="Shards to evaluate on: a path, a glob or a range.")
@click.option("--views", type=click.Choice(["1", "10"]), default="10", show_default=True, help="Crops of each image.")
@click.option("--worst", type=click.IntRange(0), default=0, help="List so many classes with the highest error.")
@click.option("--quarantine", type=click.IntRange(0), default=0, help="Leave out up to so many bad samples.")
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Images at once.")
@DEVICE
@AS_JSON
@EXTRA_PATHS
def eval_main(**options: Any) -> None:
    """Top-1 and top-5 errors, each image once, probabilities averaged over views and checkpoints."""

    def work() -> dict[str, Any] | None:
        shards = open_shards([options["shards"], *options["more_shards"]])
        with (
            join_world(options["device"]) as world,
            RunProgress("evaluate", "images", quiet=not world.is_main) as progress,
        ):
            classifiers = [load_classifier(path, world.device) for path in options["checkpoints"]]
            progress.start(shards.num_samples)
            batch_size, quarantine = options["batch_size"], options["quarantine"]
            how = EvalConfig(views=int(options["views"]), batch_size=batch_size, world=world, quarantine=quarantine)
            result = evaluate(classifiers, shards, how, progress.advance)
        if not world.is_main:
            return None
        worst = worst_classes(result, shards.classes, options["worst"])
        return result.as_dict() | ({"worst": worst} if options["worst"] else {})

    _finish(work, options["as_json"])


@click.command()
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="A file of RUN/checkpoints.")
@click.option("--views", type=click.Choice(["1", "10"]), default="10", show_default=True, help="Crops of each image.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name for each image.")
@DEVICE
@AS_JSON
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
def predict_main(**options: Any) -> None:
    """What a checkpoint sees in each of IMAGES; a bad one is a line, the others are seen, and the status is 1."""
    bad: list[BadFile] = []

    def on_bad(error: BadFile) -> None:
        bad.append(error)
        click.echo(f"error: {error}", err=True)

    def work() -> list[dict[str, Any]]:
        content = load_checkpoint(options["checkpoint"])
        classifier = classifier_of(content, str(options["checkpoint"]), choose_device(options["device"]))
        how = {"views": int(options["views"]), "top": options["top"], "on_bad": on_bad}
        return predict(classifier, options["images"], PixelRecipe.from_dict(content.get("pixels", {})), **how)

    _finish(work, options["as_json"])
    click.get_current_context().exit(1 if bad else 0)


@click.command()
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="A file of RUN/checkpoints.")
@click.option("--to", required=True, type=click.Choice(sorted(WRITERS)), help="The format.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@AS_JSON
def export_main(**options: Any) -> None:
    """Write a checkpoint's network as ONNX, safetensors or torchvision's AlexNet."""
    _finish(lambda: export(options["checkpoint"], options["to"], options["out"]), options["as_json"])


@click.command()
@click.option("--from", "kind", required=True, type=click.Choice(SOURCES), help="Whose weights they are.")
@click.option("--weights", required=True, type=click.Path(path_type=Path), help="A .pth, .caffemodel or .npy file.")
@click.option("--shards", required=True, help="Shards of ILSVRC-2012, whose class order the checkpoint gets.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The checkpoint to write.")
@AS_JSON
@EXTRA_PATHS
def import_main(**options: Any) -> None:
    """Write published weights of torchvision's AlexNet or Caffe's bvlc_alexnet as a checkpoint."""
    shards = (options["shards"], *options["more_shards"])
    _finish(lambda: import_weights(options["kind"], options["weights"], shards, options["out"]), options["as_json"])


def sort_paths(
    shards: str, val_shards: str | None, more_shards: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(training, validation) patterns. The shell expands unquoted braces and globs to many words, of which click gives
    all but the first as `more_shards`; those of the validation split belong to --val-shards."""
    if val_shards is None:
        return (shards, *more_shards), ()
    val_split = split_of(val_shards)
    val_paths = tuple(path for path in more_shards if split_of(path) == val_split)
    return (shards, *(path for path in more_shards if path not in val_paths)), (val_shards, *val_paths)


def _finish(work: Callable[[], Any], as_json: bool) -> None:
    """Run a command's work, print its result to stdout, and turn a user's error into one line and status 1."""
    try:
        result = work()
    except (AlexnetError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except Stopped as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(stopped.status)
    if result is not None:
        click.echo(json.dumps(result) if as_json else "\n".join(_lines(result)))


def _lines(result: Any) -> list[str]:
    """A result as text: a name and its value a line, lists below one another."""
    if isinstance(result, list):
        return [line for item in result for line in [*_lines(item), ""]][:-1]
    lines = []
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"{name}:", *(f"    {_row(item)}" for item in value)]
        else:
            lines.append(f"{name:20} {_text(value)}")
    return lines


def _row(item: dict[str, Any]) -> str:
    return "  ".join(_text(value) for value in item.values() if value != "")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return _row(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@click.group()
def main() -> None:
    """Train, evaluate and use AlexNet."""


main.add_command(train_main, "train")
main.add_command(eval_main, "eval")
main.add_command(predict_main, "predict")
main.add_command(export_main, "export")
main.add_command(import_main, "import")

if __name__ == "__main__":
    # `torchrun -m alexnet_train.cli --shards …` and `python -m alexnet_train.cli train --shards …` both train.
    main(
        args=sys.argv[1:]
        if len(sys.argv) > 1 and sys.argv[1] in (*main.commands, "--help")
        else ["train", *sys.argv[1:]]
    )
