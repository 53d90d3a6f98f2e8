"""alexnet-prep: official ImageNet archives to shards and statistics."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console

from alexnet_drawn import SampleRequest, draw_source
from alexnet_pixels import FILTERS, PixelRecipe, decoder_facts, decoder_warning
from alexnet_prep import statistics
from alexnet_prep.errors import RunError
from alexnet_prep.pipeline import ShardsRequest, make_shards, repair_requests
from alexnet_prep.progress import RunProgress, counting
from alexnet_prep.report import manifest_reports, report_lines, report_table, statistics_table, verify_table
from alexnet_prep.verify import splits_in
from alexnet_prep.verify import verify as verify_splits
from alexnet_shards.adopt import adopt_shards, read_classes
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.manifest import load_manifest, manifest_path, shards_of, split_of
from alexnet_shards.pattern import expand_patterns
from alexnet_shards.stats import Stats

STATUS_INTERRUPTED = 130
STATUS_TERMINATED = 143

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object to stdout instead of a table."
)
workers_option = click.option(
    "--workers", type=click.IntRange(1, 1024), default=None, help="Worker processes; default: one a processor."
)


def main() -> NoReturn:
    """Run the command line; a failure a user can act on is one line and status 1."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        commands.main(standalone_mode=False)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("error: interrupted; start the same command again and it goes on from here", err=True)
        sys.exit(STATUS_INTERRUPTED)
    except (AlexnetError, click.ClickException) as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(STATUS_TERMINATED)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def commands() -> None:
    """Official ImageNet archives to 256x256 shards and their statistics."""


@commands.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--edition", type=click.Choice(["2010", "2012"]), default="2010", help="Layout to draw.")
@click.option("--classes", type=click.IntRange(2, 10), default=10, help="Classes to draw.")
@click.option("--train-per-class", type=click.IntRange(1), default=130, help="Training photos a class.")
@click.option("--val-per-class", type=click.IntRange(1), default=20, help="Validation photos a class.")
@click.option("--test-per-class", type=click.IntRange(1), default=5, help="Test photos a class.")
@click.option("--seed", type=int, default=0, help="Another seed draws other photos.")
@workers_option
@json_option
def sample(directory: Path, workers: int | None, as_json: bool, **options: Any) -> None:
    """Draw a small, learnable source in the exact layout of the official archives into DIRECTORY."""
    request = SampleRequest(directory=directory, workers=workers or available_cpus(), **options)
    with counting("draw", Console(stderr=True)) as progress:
        facts = draw_source(request, progress)
    images = ", ".join(f"{split} {count:,}" for split, count in facts.members.items())
    words = "there already" if facts.reused else "drawn"
    _print(as_json, facts.as_json(), [f"{directory}: ILSVRC-{request.edition} archives, {words}: {images} images"])


@commands.command()
@click.option("--source", required=True, type=click.Path(path_type=Path), help="Folder with the official archives.")
@click.option("--out", default="shards", type=click.Path(path_type=Path), help="Folder for the shards.")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="all", help="Split to make.")
@click.option(
    "--edition", type=click.Choice(["auto", "2010", "2012", "folder"]), default="auto", help="Which archives to expect."
)
@click.option(
    "--num-shards",
    type=click.IntRange(1),
    default=None,
    help="Shards a split; default: 1000 for an official training set, else one for every 1,260 images.",
)
@workers_option
@click.option("--seed", type=int, default=0, help="Seed of the global shuffle.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, help="JPEG quality of the 256x256 images.")
@click.option("--filter", "filter_name", type=click.Choice(FILTERS), default=FILTERS[0], help="Resampling filter.")
@click.option("--subsampling", type=click.Choice(["4:2:0", "4:2:2", "4:4:4"]), default="4:2:0", help="JPEG chroma.")
@click.option("--keep-truncated", is_flag=True, help="Keep JPEGs of which a part is missing, grey where it is.")
@click.option(
    "--labels",
    type=click.Choice(["devkit", "wnid"]),
    default=None,
    help="Label order: devkit (the paper's: ID - 1) or wnid (sorted WNIDs, torchvision's and timm's).  [default: devkit]",
)
@click.option("--hang-seconds", type=click.FloatRange(1), default=120.0, help="A worker this long at one image hangs.")
@click.option("--checksum", is_flag=True, help="First compare the archives with the published MD5 sums.")
@json_option
def shards(**options: Any) -> None:
    """Make shards of the official archives in --source, read in place; run again, it goes on where it stopped."""
    console = Console(stderr=True)
    console.print(decoder_line(), highlight=False)
    as_json = options.pop("as_json")
    names = {
        "filter_name": "filter",
        "quality": "quality",
        "subsampling": "subsampling",
        "keep_truncated": "keep_truncated",
    }
    recipe = PixelRecipe(**{name: options.pop(option) for option, name in names.items()})
    options["workers"] = options["workers"] or available_cpus()
    options["label_order"] = options.pop("labels")
    reports = make_shards(ShardsRequest(recipe=recipe, **options), RunProgress(console))
    if not as_json:
        for report in reports:
            for line in report_lines(report):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
    _print(as_json, reports, [report_table(reports)])


@commands.command("compute-stats")
@click.option("--shards", "patterns", multiple=True, help="Training shards.  [default: shards/train-*.tar]")
@click.argument("more", nargs=-1)
@click.option("--out", default=None, type=click.Path(path_type=Path), help="[default: stats.npz beside the shards]")
@workers_option
@json_option
def compute_stats(patterns: tuple[str, ...], more: tuple[str, ...], out: Path | None, **options: Any) -> None:
    """Compute the mean image and the eigenvectors of the RGB covariance of training shards, exactly."""
    chosen = (*patterns, *more) or ("shards/train-*.tar",)
    out = out or Path(chosen[0]).parent / "stats.npz"
    started = time.monotonic()
    with counting("statistics", Console(stderr=True)) as progress:
        stats = statistics.compute_stats(chosen, out, options["workers"] or available_cpus(), progress)
    facts = {
        "images": stats.images,
        "rgb_mean": stats.rgb_mean.tolist(),
        "rgb_std": stats.rgb_std.tolist(),
        "covariance": stats.covariance.tolist(),
        "eigenvalues": stats.eigenvalues.tolist(),
        "eigenvectors": stats.eigenvectors.tolist(),
        "out": str(out),
        "images_per_second": round(stats.images / (time.monotonic() - started), 1),
    }
    rows = statistics.comparison(stats)
    _print(
        options["as_json"],
        {**facts, "published": rows[1:]},
        [statistics_table(rows), deviation_line(stats), f"written: {out}"],
    )


@commands.command()
@click.option("--shards", "directory", default="shards", type=click.Path(path_type=Path), help="Folder of the shards.")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="all", help="Split to verify.")
@click.option("--repair", is_flag=True, help="Rebuild the bad shards, and only those, from --source.")
@click.option("--source", type=click.Path(path_type=Path), default=None, help="Folder with the archives, for --repair.")
@workers_option
@json_option
def verify(directory: Path, split: str, repair: bool, source: Path | None, **options: Any) -> None:
    """Hash every shard and decode every sample; status 1 and the names of what is wrong where anything is."""
    console = Console(stderr=True)
    workers = options["workers"] or available_cpus()
    splits = splits_in(directory) if split == "all" else (split,)
    with counting("verify", console) as progress:
        report = verify_splits(directory, splits, workers, progress)
    if report.bad and repair:
        if source is None:
            raise click.UsageError("--repair needs --source, the folder with the archives")
        for request in repair_requests(directory, splits, source, workers):
            make_shards(request, RunProgress(console))
        with counting("verify", console) as progress:
            report = verify_splits(directory, splits, workers, progress)
    line = f"{directory}: {report.samples:,} samples in {report.shards:,} shards"
    tables = [verify_table(report)] if report.bad else [f"{line}, every byte as it was written"]
    _print(options["as_json"], report.as_json(), tables)
    if report.bad:
        raise RunError(f"{line}: {len(report.bad)} findings; rebuild with alexnet-prep verify --repair --source DIR")


@commands.command()
@click.option("--shards", "patterns", multiple=True, required=True, help="Shards of one split, made elsewhere.")
@click.argument("more", nargs=-1)
@click.option("--classes", type=click.Path(path_type=Path), default=None, help="Text file, `WNID words` a label.")
@workers_option
@json_option
def index(patterns: tuple[str, ...], more: tuple[str, ...], classes: Path | None, **options: Any) -> None:
    """Write index and manifest for shards made elsewhere, beside them."""
    places = sorted({split_of(path) for path in expand_patterns((*patterns, *more))})
    if len(places) != 1:
        raise FormatError(f"{patterns[0]}: the pattern names {len(places)} splits or directories; index one at a time")
    directory, split = Path(places[0][0]), places[0][1]
    facts = read_classes(classes) if classes is not None else None
    total, done = len(shards_of(directory, split)), count(1)
    with counting("index", Console(stderr=True)) as progress:
        workers = options["workers"] or available_cpus()
        manifest = adopt_shards(directory, split, workers, lambda _: progress(next(done), total), facts)
    found = {
        "split": manifest.split,
        "shards": len(manifest.shards),
        "samples": manifest.samples,
        "classes": len(manifest.classes),
    }
    _print(options["as_json"], found, [", ".join(f"{name} {value}" for name, value in found.items())])


@commands.command()
@click.option("--shards", "directory", default="shards", type=click.Path(path_type=Path), help="Folder of the shards.")
@json_option
def report(directory: Path, as_json: bool) -> None:
    """Show what became of every source file, from the manifests of finished splits."""
    manifests = [load_manifest(manifest_path(directory, split)) for split in splits_in(directory)]
    reports = manifest_reports(manifests)
    _print(as_json, reports, [report_table(reports), *(line for entry in reports for line in report_lines(entry))])


def deviation_line(stats: Stats) -> str:
    """Mean and standard deviation of each channel over all pixels."""
    pairs = zip("RGB", stats.rgb_mean, stats.rgb_std, strict=True)
    return "a channel: " + ", ".join(f"{name} {mean:.3f} ± {std:.3f}" for name, mean, std in pairs)


def decoder_line() -> str:
    """Which Pillow decodes, and a warning where it is not the one that was installed."""
    facts = ", ".join(f"{name} {value}" for name, value in decoder_facts().items())
    warning = decoder_warning()
    return f"decoder: {facts}" + (f"\nwarning: {warning}" if warning else "")


def available_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(as_json: bool, content: Any, tables: Sequence[Any]) -> None:
    """Results to stdout: the JSON object, or the tables."""
    if as_json:
        click.echo(json.dumps(content))
        return
    console = Console()
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
