"""What the options of the commands say, as the objects that the package works with.

What they are made of is imported when it is needed, so that help is printed at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Work = Callable[..., Any]
SCHEDULER = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Work on a Dask cluster: tcp://HOST:8786, slurm or slurm:FILE.yaml (then --workers are its workers).",
)
READERS = ("timm", "dali", "wids")  # alexnet_shards.sidefiles.READERS, which would import numpy
FOR_READERS = click.option(
    "--for",
    "readers",
    multiple=True,
    type=click.Choice(READERS),
    help="Write what these readers want beside the shards, and index only what has no manifest.",
)
HTML = click.option(
    "--html",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Also write a page of pictures (extra report).  [FILE: report.html beside the shards]",
)


def share(part: str | None, options: dict[str, Any]) -> Any:
    """The share that --part names; a usage error where another option makes no sense beside it."""
    from alexnet_prep.share import Share

    if part is None:
        return None
    if options["scheduler"]:
        raise click.UsageError("--part makes a part on this machine; --scheduler makes all of them")
    if options["finish"] or options["strict"]:
        raise click.UsageError("--part makes a part; --finish and --strict are for the whole, once all parts are made")
    try:
        return Share.parse(part)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--part") from error


FILTERS = ("area", "lanczos", "bicubic", "bilinear")  # alexnet_pixels.FILTERS, which would import a decoder


def takes_pixels(work: Work) -> Work:
    """The options that say how pictures are made."""
    options = (
        click.option(
            "--quality",
            metavar="N",
            type=click.IntRange(1, 100),
            default=95,
            help="JPEG quality of the 256x256 images.",
        ),
        click.option("--filter", "filter", type=click.Choice(FILTERS), default=FILTERS[0], help="Resampling filter."),
        click.option(
            "--subsampling", type=click.Choice(["4:2:0", "4:2:2", "4:4:4"]), default="4:2:0", help="JPEG chroma."
        ),
        click.option("--keep-truncated", is_flag=True, help="Keep JPEGs of which a part is missing, grey where it is."),
    )
    for option in reversed(options):
        work = option(work)
    return work


def pixel_recipe(options: dict[str, Any]) -> Any:
    """The recipe that the options of `takes_pixels`, which it takes out, say."""
    from alexnet_pixels import PixelRecipe

    return PixelRecipe(**{name: options.pop(name) for name in ("quality", "filter", "subsampling", "keep_truncated")})


SOURCE_HELP = "Folder with the archives or pictures, or an address; of files at addresses several."


def source(options: dict[str, Any]) -> Path | str:
    """What --source, which it takes out, names: a folder, or addresses, a line each."""
    named: tuple[Path | str, ...] = options.pop("source")
    if len(named) > 1 and any(isinstance(each, Path) for each in named):
        raise click.UsageError("--source may be given several times for files at addresses; of folders name one")
    return named[0] if len(named) == 1 else "\n".join(map(str, named))


def source_fields(options: dict[str, Any]) -> Any:
    """What --columns and --label, which it takes out, say of a source."""
    from alexnet_prep.fields import Fields

    columns, place = options.pop("columns"), options.pop("label")
    try:
        return Fields.parse(columns or "", place or "")
    except ValueError as error:
        raise click.UsageError(f"{'--columns' if 'COLUMN' in str(error) else '--label'} {error}") from error


def output(options: dict[str, Any]) -> tuple[Path, Any]:
    """(the local folder, the store or None) that --out and --work name, which it takes out."""
    from alexnet_prep.outstore import OutputStore

    out, work = options.pop("out"), options.pop("work")
    if isinstance(out, Path):
        if work is not None:
            raise click.UsageError("--work is for an --out in a store")
        return out, None
    store = OutputStore.at(out, work)
    return store.work, store


def label_place(text: str | None) -> Any:
    """What --label says; None where it says nothing."""
    from alexnet_shards.labels import LabelPlace

    try:
        return LabelPlace.parse(text) if text is not None else None
    except ValueError as error:
        raise click.UsageError(f"--label {error}") from error


def class_rules(options: dict[str, Any]) -> Any:
    """What the options, which it takes out, say of a folder source's classes."""
    from alexnet_prep.classes import ClassRules
    from alexnet_shards.adopt import read_classes

    classes, names = (
        options.pop("classes"),
        {"allow_empty": "allow_empty_classes", "allow_missing": "allow_missing_classes"},
    )
    allowed = {name: options.pop(option) for name, option in names.items()}
    return ClassRules(listed=read_classes(classes) if classes else (), **allowed)
