"""The commands of alexnet-prep: each reads its options, calls one function of the package, and shows its result.

What a command works with is imported when it runs, so that help is printed at once.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from alexnet_command.options import CLASSES, JSON, PATH, WORKERS, Group, Renamed, place, takes_shards
from alexnet_command.printing import say, show, show_json
from alexnet_command.progress import Progress
from alexnet_command.signals import loading
from alexnet_prep.options import (
    FOR_READERS,
    HTML,
    SCHEDULER,
    SOURCE_HELP,
    class_rules,
    label_place,
    output,
    pixel_recipe,
    share,
    source,
    source_fields,
    takes_pixels,
)

WAYS = ("auto", "in-place", "once")  # alexnet_prep.choice, which would import numpy
EDITIONS = ("auto", "2010", "2012", "folder", "parquet", "webdataset")

SPLIT = click.option(
    "--split", type=click.Choice(["train", "val", "test", "all"]), default="all", help="The split that is meant."
)


@click.group(cls=Group)
def commands() -> None:
    """Official ImageNet archives to 256x256 shards and their statistics."""


@commands.command(
    examples=["alexnet-prep sample sample", "alexnet-prep sample small --num-classes 3 --train-per-class 20"]
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--edition", type=click.Choice(["2010", "2012"]), default="2010", help="Layout to draw.")
@click.option(
    "--num-classes",
    "--classes",
    "classes",
    cls=Renamed,
    metavar="N",
    type=click.IntRange(2, 10),
    default=10,
    help="Classes to draw.",
)
@click.option("--train-per-class", metavar="N", type=click.IntRange(1), default=130, help="Training photos a class.")
@click.option("--val-per-class", metavar="N", type=click.IntRange(1), default=20, help="Validation photos a class.")
@click.option("--test-per-class", metavar="N", type=click.IntRange(1), default=5, help="Test photos a class.")
@click.option("--seed", metavar="N", type=int, default=0, help="Another seed draws other photos.")
@WORKERS
@JSON
def sample(directory: Path, workers: int | None, as_json: bool, **options: Any) -> None:
    """Draw a small, learnable source in the exact layout of the official archives into DIR."""
    with loading():
        from alexnet_drawn import SampleRequest, draw_source
        from alexnet_shards.machine import available_cpus
    request = SampleRequest(directory=directory, workers=workers or available_cpus(), **options)
    with Progress("draw", "images") as progress:
        facts = draw_source(request, progress.at)
    images = ", ".join(f"{split} {count:,}" for split, count in facts.members.items())
    words = "there already" if facts.reused else "drawn"
    _result(as_json, facts.as_json(), [f"{directory}: ILSVRC-{request.edition} archives, {words}: {images} images"])


@commands.command(
    examples=[
        "alexnet-prep shards --source /path/to/archives --out shards",
        "alexnet-prep shards --source photos --edition folder --split val",
    ],
)
@click.option("--source", metavar="DIR", required=True, multiple=True, type=place, help=SOURCE_HELP)
@click.option("--out", metavar="DIR", default="shards", type=place, help="Folder for the shards, or s3:// or gs://.")
@click.option("--work", metavar="DIR", type=PATH, help="Local folder for what an --out in a store needs meanwhile.")
@SPLIT
@click.option(
    "--edition", metavar="KIND", type=click.Choice(EDITIONS), default="auto", help=f"Source: {', '.join(EDITIONS)}."
)
@click.option(
    "--num-shards",
    metavar="N",
    type=click.IntRange(1),
    help="Shards a split.  [default: 1000 for an official training set, else one for every 1,260 images]",
)
@WORKERS
@SCHEDULER
@click.option("--seed", metavar="N", type=int, default=0, help="Seed of the global shuffle.")
@takes_pixels
@click.option(
    "--labels",
    type=click.Choice(["devkit", "wnid"]),
    help="Label order: devkit (the paper's: ID - 1) or wnid (sorted WNIDs, torchvision's and timm's).  [default: devkit]",
)
@click.option(
    "--hang-seconds",
    metavar="S",
    type=click.FloatRange(1),
    default=120.0,
    help="A worker this long at one image hangs.",
)
@CLASSES
@click.option(
    "--columns", metavar="image=COL,label=COL", help="Columns of parquet files.  [default: by their types and names]"
)
@click.option(
    "--label", metavar="WHERE", help="Labels of webdataset tars: cls, txt, json:FIELD or json:A.B.  [default: cls]"
)
@click.option("--allow-empty-classes", is_flag=True, help="Keep class folders without images as classes.")
@click.option("--allow-missing-classes", is_flag=True, help="Go on where a listed class has no folder.")
@click.option(
    "--max-file-mib", metavar="N", type=click.IntRange(1, 2000), default=512, help="Drop source images of over N MiB."
)
@click.option(
    "--part", metavar="I/N", help="Make part I of N alone, on any machine, in any order; --finish joins them."
)
@click.option("--finish", is_flag=True, help="Join parts that were made: check them, write index and manifest.")
@click.option("--read", type=click.Choice(WAYS), default="auto", help="Read where images lie, or once, in order.")
@click.option("--stats", is_flag=True, help="Also write stats.npz, from the images as they are written.")
@click.option("--strict", is_flag=True, help="Status 1 after the work if anything was dropped, missing or off count.")
@click.option("--checksum", is_flag=True, help="First compare the archives with the published MD5 sums.")
@JSON
def shards(**options: Any) -> None:
    """Make shards of the archives, folders or files in --source; run again, it goes on where it stopped."""
    with loading():
        from alexnet_prep.cluster import hired
        from alexnet_prep.pipeline import ShardsRequest, make_shards
        from alexnet_prep.progress import RunProgress
        from alexnet_prep.report import account_line, refuse_problems, report_lines, report_table
        from alexnet_prep.share import share_lines
    options["share"] = share(options.pop("part"), options)
    _say_decoder()
    as_json, strict = options.pop("as_json"), options.pop("strict")
    options["label_order"] = options.pop("labels")
    options["max_member_bytes"] = options.pop("max_file_mib") << 20
    options["recipe"] = pixel_recipe(options)
    options["fields"], rules, options["source"] = source_fields(options), class_rules(options), source(options)
    options["out"], options["store"] = output(options)
    team = hired(options.pop("scheduler"), options.pop("workers"), say)
    with team as workers, Progress("shards", "images") as progress:
        request = ShardsRequest(rules=rules, workers=workers, **options).seen_from(workers)
        reports = make_shards(request, RunProgress(progress))
    if request.share is not None:
        _result(as_json, reports, share_lines(reports))
        return
    for report in reports:
        for line in (account_line(report), *([] if as_json else report_lines(report))):
            say(line)
    _result(as_json, reports, report_table(reports))
    if strict:
        refuse_problems(reports)


@commands.command(
    "compute-stats",
    examples=[
        "alexnet-prep compute-stats --shards shards",
        "alexnet-prep compute-stats --shards 'elsewhere/train-*.tar'",
    ],
)
@takes_shards("Training shards", "shards")
@click.option("--out", metavar="FILE", type=place, help="[default: stats.npz beside the shards]")
@click.option("--again", is_flag=True, help="Compute them also where they are there already, of these very shards.")
@WORKERS
@SCHEDULER
@JSON
def compute_stats(shards: tuple[str, ...], out: Path | str | None, again: bool, **options: Any) -> None:
    """Compute the mean image and the eigenvectors of the RGB covariance of training shards, exactly; `make stats`."""
    with loading():
        from alexnet_prep import statistics
        from alexnet_prep.cluster import hired
        from alexnet_prep.report import deviation_line, statistics_facts, statistics_table
        from alexnet_remote import open_shards
        from alexnet_shards.shown import public_address
    opened = open_shards(shards, split="train")
    out = out or statistics.beside(opened)
    seconds, stats = None, None if again else statistics.kept_stats(opened, out)
    if stats is None:
        started = time.monotonic()
        team = hired(options["scheduler"], options["workers"], say)
        with team as workers, Progress("statistics", "images") as progress:
            stats = statistics.compute_stats(opened, out, workers, progress.at)
        seconds = time.monotonic() - started
    rows = statistics.comparison(stats)
    facts = statistics_facts(stats, out, seconds) | {"published": rows[1:]}
    written = "written" if seconds is not None else "of these shards already, kept (--again computes them anew)"
    lines = [*statistics_table(rows), deviation_line(stats), f"{public_address(str(out))}: {written}"]
    _result(options["as_json"], facts, lines)


@commands.command(
    examples=[
        "alexnet-prep verify --shards shards",
        "alexnet-prep verify --shards shards --repair --source /path/to/archives",
    ],
)
@takes_shards("Shards", "shards")
@SPLIT
@click.option("--repair", is_flag=True, help="Rebuild the bad shards, and only those, from --source.")
@click.option("--source", metavar="DIR", type=place, multiple=True, help="The archives, for --repair; as of shards.")
@WORKERS
@SCHEDULER
@JSON
def verify(shards: tuple[str, ...], split: str, repair: bool, **options: Any) -> None:
    """Hash every shard and decode every sample of the splits that are named; status 1 where anything is wrong."""
    with loading():
        from alexnet_prep.cluster import hired
        from alexnet_prep.errors import RunError
        from alexnet_prep.named import named_sets
        from alexnet_prep.report import verify_table
        from alexnet_prep.verify import verify_or_repair
    if repair and not options["source"]:
        raise click.UsageError("--repair needs --source, the folder with the archives")
    with hired(options["scheduler"], options["workers"], say) as workers, named_sets(shards, split) as sets:
        report = verify_or_repair(sets, source(options) if repair else None, workers)
    line = f"{sets.shown}: {report.samples:,} samples in {report.shards:,} shards"
    lines = verify_table(report) if report.bad else [f"{line}, every byte as it was written"]
    _result(options["as_json"], report.as_json(), lines)
    if report.bad:
        raise RunError(f"{line}: {len(report.bad)} findings; rebuild with alexnet-prep verify --repair --source DIR")


@commands.command(
    examples=[
        "alexnet-prep index --shards 'elsewhere/train-*.tar' --label json:label --classes classes.txt",
        "alexnet-prep index --shards shards --for dali --for wids",
    ]
)
@takes_shards("Shards of one directory, a set or one of each split")
@CLASSES
@click.option("--label", metavar="WHERE", help="Where labels stand: cls, txt or json:FIELD.  [default: cls, numbers]")
@click.option("--no-labels", is_flag=True, help="Also index samples without a label.")
@FOR_READERS
@WORKERS
@SCHEDULER
@JSON
def index(shards: tuple[str, ...], classes: Path | None, **options: Any) -> None:
    """Write index and manifest for the shards that are named; of alexnet-prep's own, a lost index alone."""
    with loading():
        from alexnet_prep.cluster import hired
        from alexnet_prep.named import index_named, is_remote
        from alexnet_shards.adopt import LabelRules, read_classes
        from alexnet_shards.sidefiles import are_indexed, side_files
    readers, lines, content = options["readers"], list[str](), dict[str, Any]()
    if readers and is_remote(shards):
        raise click.UsageError("--for is for a folder on this machine")
    if not readers or not are_indexed(shards):
        facts = read_classes(classes) if classes is not None else None
        rules = LabelRules(place=label_place(options["label"]), classes=facts, are_needed=not options["no_labels"])
        with hired(options["scheduler"], options["workers"], say) as workers, Progress("index", "shards") as progress:
            found = index_named(shards, workers, progress.at, rules)
        lines = [line for one in found for line in one.lines()]
        content = found[0].as_json() if len(found) == 1 else {"sets": [one.as_json() for one in found]}
    if written := [str(path) for path in side_files(shards, readers)]:
        lines, content = [*lines, f"written: {', '.join(written)}"], content | {"written": written}
    _result(options["as_json"], content, lines)


@commands.command(
    examples=["alexnet-prep report --shards shards --json", "alexnet-prep report --html --source /path/to/archives"]
)
@takes_shards("Shards", "shards")
@SPLIT
@HTML
@click.option(
    "--source", metavar="DIR", type=click.Path(path_type=Path), help="Archives, for the page's pictures of odd files."
)
@JSON
def report(shards: tuple[str, ...], split: str, html: str | None, source: Path | None, as_json: bool) -> None:
    """Show what became of every source file, from the manifests of finished splits."""
    with loading():
        from alexnet_prep.named import is_remote, named_sets
        from alexnet_prep.report import account_line, manifest_reports, report_lines, report_table
        from alexnet_shards import load_manifest
        from alexnet_shards.manifest import manifest_path
    if html is not None and is_remote(shards):
        raise click.UsageError("--html is for a folder on this machine")
    with named_sets(shards, split) as sets:
        manifests = [load_manifest(manifest_path(sets.directory, name)) for name in sets.splits]
    reports = manifest_reports(manifests)
    lines = [line for entry in reports for line in (account_line(entry), *report_lines(entry))]
    if html is not None:
        with loading():
            from alexnet_prep.shardspage import PAGE_NAME, PageRequest, write_shards_page
        page = Path(html) if html else sets.directory / PAGE_NAME
        write_shards_page(PageRequest(directory=sets.directory, splits=sets.splits, source=source, out=page))
        say(f"page: {page}")
    _result(as_json, reports, [*report_table(reports), *lines])


def _say_decoder() -> None:
    """Which Pillow decodes."""
    from alexnet_pixels import decoder_facts

    say("decoder: " + ", ".join(f"{name} {value}" for name, value in decoder_facts().items()))


def _result(as_json: bool, content: Any, lines: Iterable[str]) -> None:
    """The result to stdout: as a JSON object, or as lines."""
    if as_json:
        show_json(content)
    else:
        show(lines)
