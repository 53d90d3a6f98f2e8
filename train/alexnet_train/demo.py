"""The whole job on a drawn sample: every command as a user would type it, then one table of what came out."""

from pathlib import Path

import click

from alexnet_command.entry import run_command
from alexnet_command.options import Command
from alexnet_command.printing import show
from alexnet_command.tables import table_lines
from alexnet_command.units import duration_text, share_text
from alexnet_pages import can_draw
from alexnet_shards.extras import how_to_install
from alexnet_train.chain import Step, run_step

PAGE_NAME, EVALUATION_NAME = "report.html", "evaluation.html"


def run_demo(directory: Path, train_per_class: int, settings: tuple[str, ...]) -> list[Step]:
    """Draw, shard, compute statistics, train and evaluate with ten views, all below `directory`."""
    source, shards, run = (str(directory / name) for name in ("source", "shards", "run"))
    sizes = () if train_per_class == 0 else ("--train-per-class", str(train_per_class))
    steps = [
        run_step(("alexnet-prep", "sample", source, *sizes)),
        run_step(("alexnet-prep", "shards", "--source", source, "--out", shards)),
        run_step(("alexnet-prep", "compute-stats", "--shards", shards)),
    ]
    sets = tuple(word for setting in settings for word in ("--set", setting))
    steps.append(run_step(("alexnet-train", "--shards", shards, "--recipe", "demo", *sets, "--out", run)))
    checkpoint = str(steps[-1].result["checkpoint"])
    evaluate = ("alexnet-eval", "--checkpoint", checkpoint, "--shards", shards, "--views", "10")
    page = directory / "run" / EVALUATION_NAME
    steps.append(
        run_step((*evaluate, "--html", str(page)) if can_draw() and not is_kept(page, checkpoint) else evaluate)
    )
    if can_draw():
        run_step(("alexnet-prep", "report", "--shards", shards, "--html", "--source", source))
    return steps


def is_kept(page: Path, checkpoint: str) -> bool:
    """Whether the page is there and no older than the checkpoint that it is of: without a page an evaluation is kept."""
    return page.is_file() and page.stat().st_mtime >= Path(checkpoint).stat().st_mtime


def summary_lines(directory: Path, steps: list[Step]) -> list[str]:
    """What each step did and how long it took, then where its results lie."""
    _, sharded, stats, trained, evaluated = (step.result for step in steps)
    splits = [f"{split['split']} {split['written']:,} ({len(split['dropped'])} dropped)" for split in sharded]
    red, green, blue = (f"{value:.0f}" for value in stats["rgb_mean"])
    top1, top5 = (share_text(evaluated[name]) for name in ("top1_error", "top5_error"))
    told = [
        ("draw the source", f"{sum(split['members'] for split in sharded):,} photos in official archives"),
        ("make shards", f"photos of 256x256: {', '.join(splits)}"),
        ("statistics", f"mean colour of 0..255: red {red}, green {green}, blue {blue}"),
        ("train", f"{trained['epoch']} epochs, {trained['step']:,} steps, loss {trained['train_loss']:.2f}"),
        (
            "evaluate",
            f"{evaluated['images']:,} images, {evaluated['views']} views each: {top1} wrong at the first guess "
            f"(top-1 error), {top5} in five guesses (top-5 error)",
        ),
    ]
    rows = [(name, duration_text(step.seconds), outcome) for (name, outcome), step in zip(told, steps, strict=True)]
    rows.append(("in all", duration_text(sum(step.seconds for step in steps)), ""))
    names = (Path("shards") / PAGE_NAME, Path("run") / PAGE_NAME, Path("run") / EVALUATION_NAME)
    pages = [directory / name for name in names if (directory / name).is_file()]
    no_pages = f"pages to look at need an extra: {how_to_install('report')}, then run again"
    return [
        *table_lines(f"AlexNet, end to end, in {directory}", ("step", "took", "what came out"), rows),
        "",
        f"the trained network: {trained['checkpoint']}",
        f"the figures of each step: {directory / 'run' / 'metrics.jsonl'}",
        *([f"a page to look at: {path.resolve().as_uri()}" for path in pages] if can_draw() else [no_pages]),
        f"Run again, all is kept as it is; remove {directory} to start afresh.",
    ]


@click.command(cls=Command, examples=["python -m alexnet_train.demo demo", "make demo"])
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--train-per-class",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    help="Training photos to draw a class; 0: as many as alexnet-prep sample.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A number of the recipe for alexnet-train.")
def demo(directory: Path, train_per_class: int, settings: tuple[str, ...]) -> None:
    """Run the whole job on a drawn sample below DIR; run again, every step goes on where it stopped."""
    show(summary_lines(directory, run_demo(directory, train_per_class, settings)))


if __name__ == "__main__":
    run_command(lambda: demo)
