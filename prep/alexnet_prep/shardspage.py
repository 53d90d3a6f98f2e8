"""The report of shards as a page: the account, what was odd, counts, samples, statistics, and how they were made."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_command.units import size_text
from alexnet_pages import Block, Gallery, Page, Row, Section, Table, Text, write_page
from alexnet_prep.classes import MANIFEST, ClassRules
from alexnet_prep.pagecharts import cloud_charts, count_chart, devkit_chart, size_charts, size_rows
from alexnet_prep.pagehistory import made_blocks, time_blocks
from alexnet_prep.pagepictures import (
    Sample,
    crop_pictures,
    mean_picture,
    noisy_pictures,
    sample_pictures,
    spread_samples,
)
from alexnet_prep.pagesources import check_same, odd_sources
from alexnet_prep.report import manifest_reports
from alexnet_prep.request import fields_of
from alexnet_prep.source import find_source
from alexnet_prep.statistics import comparison
from alexnet_shards import ShardSet, Stats, load_manifest, load_stats, open_shards
from alexnet_shards.manifest import Manifest, manifest_path

SAMPLES, THUMBNAIL_PX = 48, 96
CLOUD_SAMPLES = 60
SHOWN_ROWS, SHOWN_CLASSES, SHOWN_REASONS = 40, 12, 6
MIDDLE_GREY = 118
PAGE_NAME = "report.html"
ORDER = ("train", "val", "test")  # of splits; others after them


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The folder of the shards and its splits; `source`, where it is given, lets odd images be shown; `out` is where the
    page goes."""

    directory: Path
    splits: tuple[str, ...]
    source: Path | None = None
    out: Path


def shards_page(request: PageRequest) -> Page:
    """The page of finished splits. Raises FormatError or SourceError where one of the files cannot be used."""
    splits = sorted(request.splits, key=lambda split: (ORDER.index(split) if split in ORDER else len(ORDER), split))
    manifests = {split: load_manifest(manifest_path(request.directory, split)) for split in splits}
    first = splits[0]
    shards = open_shards([str(request.directory / fact.name) for fact in manifests[first].shards])
    stats_path = request.directory / "stats.npz"
    stats = load_stats(stats_path) if stats_path.is_file() else None
    samples = spread_samples(shards, CLOUD_SAMPLES)
    images = sum(manifest.samples for manifest in manifests.values())
    size = sum(fact.bytes for manifest in manifests.values() for fact in manifest.shards)
    reports = manifest_reports(list(manifests.values()))
    grid = Gallery(pictures=sample_pictures(samples[:SAMPLES], THUMBNAIL_PX), side_px=THUMBNAIL_PX)
    sections = [
        Section(title="Samples", blocks=(grid,) if samples else ()),
        Section(title="The account", blocks=tuple(_account(reports))),
        Section(title="Odd pictures", blocks=tuple(_odd(request, manifests))),
        Section(title="Sizes of the sources", blocks=tuple(_sizes(manifests))),
        Section(title="Images a class", blocks=tuple(_counts(shards, manifests[first]))),
        Section(title="Statistics", blocks=tuple(_statistics(stats, samples))),
        Section(title="What training does to a picture", blocks=tuple(_augmentation(stats, samples))),
        Section(title="Where the time went", blocks=tuple(time_blocks(request.directory, splits))),
        Section(title="Notes", blocks=tuple(_notes(reports))),
        Section(title="How they were made", blocks=tuple(made_blocks(request.directory, manifests, request.source))),
    ]
    return Page(
        title=f"Shards in {request.directory.resolve().name}",
        lead=f"{images:,} images of {len(shards.classes):,} classes in {', '.join(manifests)}: {size_text(size)}.",
        sections=tuple(section for section in sections if section.blocks),
    )


def write_shards_page(request: PageRequest) -> None:
    """Write the page, whole or not at all. Raises what shards_page and write_page do."""
    write_page(request.out, shards_page(request))


def _account(reports: Sequence[dict[str, Any]]) -> Iterator[Block]:
    header = ("split", "entries", "written", "patched", "dropped", "ignored", "missing", "shards", "size")
    rows = tuple(
        (
            report["split"],
            *(f"{report[name]:,}" for name in ("entries", "written", "patched")),
            f"{len(report['dropped']):,}",
            f"{sum(report['ignored'].values()):,}",
            f"{report['missing']:,}",
            f"{report['shards']:,}",
            size_text(report["bytes"]),
        )
        for report in reports
    )
    caption = (
        "Every entry of the source is written, dropped with a reason, or ignored for its kind: the sums are checked."
    )
    yield Table(header=header, rows=rows, caption=caption)
    dropped = [(report["split"], entry["key"], entry["reason"]) for report in reports for entry in report["dropped"]]
    if dropped:
        reasons = Counter(reason.partition(":")[0] for _, _, reason in dropped)
        words = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(SHOWN_REASONS))
        caption = f"Dropped, {min(len(dropped), SHOWN_ROWS):,} of {len(dropped):,}: {words}"
        yield Table(header=("split", "image", "reason"), rows=tuple(dropped[:SHOWN_ROWS]), caption=caption)
    ignored = _by_kind("Ignored, by kind", "entries", reports, "ignored")
    converted = _by_kind("Written, though no plain RGB JPEG", "images", reports, "converted")
    if ignored or converted:
        yield Row(blocks=(*ignored, *converted), side_px=360)


def _by_kind(caption: str, unit: str, reports: Sequence[dict[str, Any]], name: str) -> tuple[Table, ...]:
    """A table of counts, a row a kind and a column a split; none where there are no kinds."""
    kinds = sorted({kind for report in reports for kind in report[name]})
    rows = tuple(
        (kind.replace("_", " "), *(f"{report[name][kind]:,}" if kind in report[name] else "" for report in reports))
        for kind in kinds
    )
    return (Table(header=(unit, *(report["split"] for report in reports)), rows=rows, caption=caption),) if rows else ()


def _notes(reports: Sequence[dict[str, Any]]) -> Iterator[Block]:
    notes = [(note,) for report in reports for note in report["notes"]]
    if notes:
        shown = notes[:SHOWN_ROWS]
        more = [(f"… and {len(notes) - len(shown):,} more, all in the manifests",)] if len(notes) > len(shown) else []
        yield Table(header=("what was noted",), rows=(*shown, *more))


def _odd(request: PageRequest, manifests: dict[str, Manifest]) -> Iterator[Block]:
    odd = [m for m in manifests.values() if any(m.report.get(name) for name in ("patched", "dropped", "converted"))]
    if not odd:
        return
    if request.source is None:
        yield Text(text="Name the archives with --source to see damaged, patched, dropped and converted pictures here.")
        return
    for manifest in odd:
        rules = ClassRules(listed=manifest.classes, list_name=MANIFEST, allow_empty=True, allow_missing=True)
        found = find_source(request.source, "auto", rules, fields_of(manifest))
        source = found.read(manifest.split, manifest.label_order, lambda count: None)
        check_same(source, manifest, request.source)
        yield from odd_sources(source, manifest).blocks(manifest)


def _sizes(manifests: dict[str, Manifest]) -> Iterator[Block]:
    counted = {split: m.report["sizes"] for split, m in manifests.items() if m.report.get("sizes")}
    missing = [split for split in manifests if split not in counted]
    if missing:
        yield Text(text=f"Not counted when the shards were made: {', '.join(missing)}.")
    if not counted:
        return
    split, sizes = next(iter(counted.items()))
    yield Text(
        text=f"Of the images of {split} that were written, counted while they were read, in eight bins an octave."
    )
    yield Row(blocks=size_charts(sizes))
    header = ("split", "of the sources", "a twentieth ends in", "the median is in", "a twentieth begins in")
    yield Table(header=header, rows=tuple(size_rows(counted)))


def _counts(shards: ShardSet, manifest: Manifest) -> Iterator[Block]:
    labels = shards.labels[shards.labels >= 0]
    counts = np.bincount(labels, minlength=len(shards.classes)) if len(shards.classes) else np.zeros(0, np.int64)
    if not len(counts):
        return
    differences = manifest.report.get("count_differences", [])
    expected = {each["wnid"]: each["expected"] for each in differences}
    charts = [count_chart(counts, manifest.split)]
    if differences:
        wanted = [expected.get(fact.wnid, int(count)) for fact, count in zip(shards.classes, counts, strict=True)]
        charts.append(devkit_chart(counts, wanted, manifest.split))
    yield Row(blocks=tuple(charts))
    if not differences:
        return
    words = {fact.wnid: fact.words.partition(",")[0] for fact in shards.classes}
    worst = sorted(differences, key=lambda each: each["found"] - each["expected"])[:SHOWN_CLASSES]
    rows = tuple(
        (each["wnid"], words.get(each["wnid"], ""), f"{each['found']:,}", f"{each['expected']:,}") for each in worst
    )
    caption = f"Classes that have not the devkit's number of images: {len(rows):,} of {len(differences):,}"
    yield Table(header=("class", "words", "found", "devkit"), rows=rows, caption=caption)


def _statistics(stats: Stats | None, samples: Sequence[Sample]) -> Iterator[Block]:
    if stats is None:
        yield Text(text="None yet: make them with alexnet-prep compute-stats.")
        return
    yield Gallery(pictures=(mean_picture(stats),), side_px=160)
    rows = tuple(
        (
            row["source"],
            *(" ".join(f"{v:.1f}" for v in row[name]) for name in ("rgb_mean", "axis_deviations", "angles_degrees")),
        )
        for row in comparison(stats)
    )
    header = ("statistics of", "mean red, green, blue", "deviations along the axes", "degrees to our axes")
    yield Table(header=header, rows=rows, caption=f"Over {stats.images:,} images, grey levels of 0 to 255")
    yield Row(blocks=cloud_charts(stats, samples), side_px=300)


def _augmentation(stats: Stats | None, samples: Sequence[Sample]) -> Iterator[Block]:
    if not samples:
        return
    image_hwc = min(samples, key=lambda sample: abs(float(sample.image_hwc.mean()) - MIDDLE_GREY)).image_hwc
    yield Gallery(pictures=crop_pictures(image_hwc), side_px=160, caption="Crops of 224x224, mirrored half of the time")
    if stats is None:
        return
    for axis in range(3):
        caption = f"Colour noise along axis {axis + 1}, in deviations of the normal draw"
        yield Gallery(pictures=noisy_pictures(image_hwc, stats, axis, 112), side_px=112, caption=caption)
