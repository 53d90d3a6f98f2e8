"""The command eval: networks opened, evaluated once, and their result shown, kept and drawn.

What it works with, torch above all, is imported when it runs, so that help is printed at once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_command.options import DEVICE, JSON, PATH, QUARANTINE, THREADS, Command, takes_shards
from alexnet_command.signals import loading
from alexnet_train.commandoptions import AVERAGE, HTML, VERIFY_CACHE, VIEWS, show_result

if TYPE_CHECKING:
    from alexnet_network import Classifier
    from alexnet_shards import ShardSet
    from alexnet_train.distributed import World
    from alexnet_train.results import EvalResult


@click.command(
    "eval",
    cls=Command,
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
        from alexnet_train import evaluate as evaluation
        from alexnet_train.distributed import join_world
        from alexnet_train.kepteval import KeptEvaluation
        from alexnet_train.results import worst_classes
        from alexnet_train.rundir import chosen_checkpoint
    shards = open_shards(options["shards"], split="val")
    checkpoints = [chosen_checkpoint(path) for path in options["checkpoints"]]
    page = None
    if options["html"] is not None:
        from alexnet_train.evalpage import page_path  # which needs Pillow and an extra

        page = page_path(options["html"], checkpoints[0])
    results: list[EvalResult] = []
    with join_world(options["device"]) as world, Progress("evaluate", "images", quiet=not world.is_main) as progress:
        named = {name: options[name] for name in ("views", "average", "worst")} | {"device": world.device.type}
        kept = KeptEvaluation(checkpoints, shards, named)
        classifiers = _classifiers(checkpoints, shards, world, progress.say)
        how = evaluation.EvalConfig(
            views=int(options["views"]),
            world=world,
            confusions=options["worst"] > 0,
            answers=page is not None,
            threads=options["threads"] or 0,
            **{name: options[name] for name in ("average", "batch_size", "quarantine")},
        )

        def compute() -> dict[str, Any]:
            progress.start(shards.num_samples)
            results.append(evaluation.evaluate(classifiers, shards, how, progress.advance))
            worst = worst_classes(results[0], shards.classes, options["worst"])
            return results[0].as_dict() | ({"worst": worst} if options["worst"] else {})

        again = options["again"] or page is not None  # what is said of each image is not kept
        found = kept.found_or_computed(compute, world, again, progress.say)
    if not world.is_main:
        return
    found |= evaluation.identity(checkpoints, options["shards"], shards)
    if page is None:
        show_result(options, found)
    else:
        _show_with_page(options, found, results[0], shards, page)


def _classifiers(
    checkpoints: Sequence[Path], shards: "ShardSet", world: "World", say: Callable[[str], None]
) -> "list[Classifier]":
    """The networks of the checkpoints; `say` hears of each whose outputs are put into another order."""
    from alexnet_train.evaluate import check_processes_agree, load_classifier, output_orders

    classifiers = [load_classifier(path, world.device) for path in checkpoints]
    check_processes_agree(classifiers, shards, world, ", ".join(map(str, checkpoints)))
    for path, order in zip(checkpoints, output_orders(classifiers, shards), strict=True):
        if order is not None:
            say(f"{path}: the shards list the same classes in another order, so its outputs are put in theirs")
    return classifiers


def _show_with_page(
    options: dict[str, Any], found: dict[str, Any], result: "EvalResult", shards: "ShardSet", page: Path
) -> None:
    """The result with the figures of its page, which is written."""
    from alexnet_train.evalfigures import eval_figures
    from alexnet_train.evalpage import write_eval_page

    if result.answers is None:
        raise TypeError("a page was asked for, and no answers were taken down")
    figures = {
        "page": str(page),
        "figures": eval_figures(result.answers, shards.classes, result.top5_wrong is not None),
    }
    show_result(options, found | (figures if options["as_json"] else {"page": str(page)}))
    write_eval_page(page, found | figures, shards)
