"""The whole job on a drawn sample: every command as a user would type it, then one table of what came out."""

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

MODULES = {
    "alexnet-prep": ("alexnet_prep.cli", ()),
    "alexnet-train": ("alexnet_train.cli", ("train",)),
    "alexnet-eval": ("alexnet_train.cli", ("eval",)),
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command that was run: its words, the JSON it printed, and its wall seconds."""

    words: tuple[str, ...]
    result: Any
    seconds: float


def run_step(words: tuple[str, ...], console: Console) -> Step:
    """Run one of our commands with --json; its progress goes to our stderr. Exits with its status where it fails."""
    console.print(f"\n$ {shlex.join(words)}", style="bold", highlight=False, markup=False, soft_wrap=True)
    module, arguments = MODULES[words[0]]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, *words[1:], "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    return Step(words=words, result=json.loads(done.stdout.splitlines()[-1]), seconds=time.monotonic() - started)


def run_demo(directory: Path, train_per_class: int, settings: tuple[str, ...], console: Console) -> list[Step]:
    """Draw, shard, compute statistics, train and evaluate with ten views, all below `directory`."""
    source, shards, run = (str(directory / name) for name in ("source", "shards", "run"))
    sizes = () if train_per_class == 0 else ("--train-per-class", str(train_per_class))
    steps = [
        run_step(("alexnet-prep", "sample", source, *sizes), console),
        run_step(("alexnet-prep", "shards", "--source", source, "--out", shards), console),
        run_step(
            ("alexnet-prep", "compute-stats", "--shards", f"{shards}/train-*.tar", "--out", f"{shards}/stats.npz"),
            console,
        ),
    ]
    sets = tuple(word for setting in settings for word in ("--set", setting))
    train = ("alexnet-train", "--shards", f"{shards}/train-*.tar", "--recipe", "demo", *sets, "--out", run)
    steps.append(run_step(train, console))
    checkpoint = str(steps[-1].result["checkpoint"])
    evaluate = ("alexnet-eval", "--checkpoint", checkpoint, "--shards", f"{shards}/val-*.tar", "--views", "10")
    return [*steps, run_step(evaluate, console)]


def summary_table(directory: Path, steps: list[Step]) -> Table:
    """What each step did, how long it took and where its results lie."""
    _, sharded, stats, trained, evaluated = (step.result for step in steps)
    told = [
        ("draw the source", f"{sum(split['members'] for split in sharded)} photos in official archives", "source/"),
        (
            "make shards",
            ", ".join(f"{split['split']} {split['written']} ({len(split['dropped'])} dropped)" for split in sharded),
            "shards/*.tar, *.manifest.json",
        ),
        ("statistics", "RGB mean " + " ".join(f"{value:.1f}" for value in stats["rgb_mean"]), "shards/stats.npz"),
        (
            "train",
            f"{trained['epoch']} epochs, {trained['step']} steps, loss {trained['train_loss']:.2f}",
            "run/metrics.jsonl",
        ),
        (
            "evaluate",
            f"{evaluated['images']} images, {evaluated['views']} views: top-1 error {evaluated['top1_error']:.1%}, "
            f"top-5 {evaluated['top5_error']:.1%}",
            str(Path(str(trained["checkpoint"])).relative_to(directory)),
        ),
    ]
    table = Table(title=f"AlexNet, end to end, in {directory}", title_justify="left")
    for name in ("step", "what came out", "where"):
        table.add_column(name, overflow="fold")
    table.add_column("seconds", justify="right")
    for (name, outcome, place), step in zip(told, steps, strict=True):
        table.add_row(name, outcome, place, f"{step.seconds:.0f}")
    table.add_row("in all", "", "", f"{sum(step.seconds for step in steps):.0f}", style="bold")
    return table


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--train-per-class", type=click.IntRange(0), default=0, help="Training photos to draw a class (0: usual)."
)
@click.option("--set", "settings", multiple=True, help="Recipe key=value, passed to alexnet-train.")
def main(directory: Path, train_per_class: int, settings: tuple[str, ...]) -> None:
    """Run the whole job on a drawn sample below DIRECTORY; run again, every step goes on where it stopped."""
    steps = run_demo(directory, train_per_class, settings, Console(stderr=True))
    console = Console()
    console.print(summary_table(directory, steps))
    console.print(f"Run again, nothing is done twice; remove {directory} to start afresh.", highlight=False)


if __name__ == "__main__":
    main()
