"""An evaluation as a page: its figures (evalfigures.py), charts of them, and the photos that they are about."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_command.units import share_text
from alexnet_pages import Block, Gallery, Page, Pairs, Picture, Section, Table, Text, check_page, write_page
from alexnet_pages.charts import bar_chart, line_chart
from alexnet_pages.pictures import array_picture
from alexnet_shards import ShardSet
from alexnet_stream import ShardDataset

PAGE_NAME = "evaluation.html"
THUMB_PX = 128
GREY = 128
Image = npt.NDArray[np.uint8]
PhotoOf = Callable[[int], Image]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """What the page of an evaluation is made of: `result` as JSON has it, with its "figures", and the photos by row."""

    result: Mapping[str, Any]
    photo_of: PhotoOf


def page_path(asked: str, checkpoint: Path) -> Path:
    """Where the page goes: the file that was `asked` for, "" for evaluation.html in the checkpoint's run, or beside it.

    Raises AlexnetError where no page can be written there, or none be drawn: before the work, not behind it.
    """
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return check_page(Path(asked) if asked else folder / PAGE_NAME)


def write_eval_page(path: Path, result: Mapping[str, Any], shards: ShardSet) -> None:
    """Write the page of an evaluation on `shards`; raises AlexnetError where a photo or the page fails."""
    rows = sorted(shown_rows(result["figures"]))
    with ShardDataset(shards) as dataset:
        photos = {row: image_hwc for row, (image_hwc, _) in zip(rows, dataset.__getitems__(rows), strict=True)}
    write_page(path, eval_page(Evaluated(result=result, photo_of=photos.__getitem__)))


def shown_rows(figures: Mapping[str, Any]) -> set[int]:
    """The index rows of the photos that the page shows: bounded, however many there are."""
    pairs = {row for pair in figures["pairs"] for row in pair["rows"] if row is not None}
    return pairs | {photo["row"] for photo in figures["always_wrong"]["photos"]}


def eval_page(evaluated: Evaluated) -> Page:
    """The page: errors, classes, confusions, calibration, views, and what no view gets right."""
    result, figures = evaluated.result, evaluated.result["figures"]
    sections = [
        Section(title="Errors", blocks=tuple(_errors(result))),
        Section(title="Classes", blocks=tuple(_classes(figures["classes"]))),
        Section(title="Taken for each other", blocks=tuple(_pairs(evaluated))),
        Section(title="Calibration", blocks=tuple(_calibration(figures["calibration"]))),
        Section(title="Views", blocks=tuple(_views(result))),
        Section(title="Wrong in every view", blocks=tuple(_always_wrong(evaluated))),
        Section(title="What was evaluated", blocks=tuple(_identity(result))),
    ]
    first = figures["errors"][0]
    return Page(
        title=f"Evaluation on {result['split']}",
        lead=f"{share_text(first['error'])} of {first['images']:,} images are wrong at the first guess "
        f"(95% interval {interval_text(first)}).",
        sections=tuple(section for section in sections if section.blocks),
    )


def interval_text(fact: Mapping[str, Any]) -> str:
    """The interval of an error: 33.1% to 41.9%."""
    return f"{share_text(fact['low'])} to {share_text(fact['high'])}"


def class_words(name: Mapping[str, Any]) -> str:
    """The first word of a class, or its WNID where it has none."""
    return str(name["words"]).partition(",")[0] or str(name["wnid"])


def _errors(result: Mapping[str, Any]) -> Iterator[Block]:
    rows = tuple(
        (
            f"top-{fact['top']}",
            share_text(fact["error"]),
            interval_text(fact),
            f"{fact['wrong']:,}",
            f"{fact['images']:,}",
        )
        for fact in result["figures"]["errors"]
    )
    yield Table(
        header=("error", "share", "95% interval", "wrong", "images"),
        rows=rows,
        caption="Intervals are Wilson's score intervals: what other images of the same kind may do by chance alone",
    )
    yield Pairs(pairs=(("loss", f"{result['loss']:.3f}"), ("in quarantine", f"{result['quarantined']:,}")))


def _classes(classes: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Block]:
    for kind, title in (("worst", "Classes with the highest error"), ("best", "Classes with the lowest error")):
        facts = classes[kind]
        if not facts:
            continue
        names = unlike([class_words(fact) for fact in facts], [fact["wnid"] for fact in facts])
        bars = [(name, 100 * fact["top1_error"]) for name, fact in zip(names, facts, strict=True)]
        alt = "; ".join(f"{name} {value:.0f}%" for name, value in bars)
        rows = tuple(
            (name, share_text(fact["top1_error"]), interval_text(fact), f"{fact['wrong']:,}", f"{fact['images']:,}")
            for name, fact in zip(names, facts, strict=True)
        )
        header = ("class", "top-1 error", "95% interval", "wrong", "images")
        yield replace(bar_chart(title, alt, bars, ("class", "top-1 error, %")), figures=Table(header=header, rows=rows))


def unlike(words: Sequence[str], wnids: Sequence[str]) -> list[str]:
    """The words of classes, with the WNID behind those that another of them has too (crane and crane)."""
    times = Counter(words)
    return [word if times[word] == 1 else f"{word} ({wnid})" for word, wnid in zip(words, wnids, strict=True)]


def _pairs(evaluated: Evaluated) -> Iterator[Block]:
    pairs = evaluated.result["figures"]["pairs"]
    if not pairs:
        yield Text(text="No image is taken for another class.")
        return
    rows = []
    for pair in pairs:
        one, other = unlike([class_words(name) for name in pair["classes"]], [name["wnid"] for name in pair["classes"]])
        rows.append((one, other, f"{pair['images']:,}", *(f"{count:,}" for count in pair["taken"])))
    yield Gallery(
        pictures=tuple(_pair_picture(evaluated, pair) for pair in pairs),
        side_px=2 * THUMB_PX,
        caption="The pairs that are confused most often, each by the photo of the one class (left) that was taken for the "
        "other with most confidence, and the other way round; grey where that never was",
    )
    header = ("class", "other class", "images", "first taken for second", "second taken for first")
    yield Table(header=header, rows=tuple(rows))


def _pair_picture(evaluated: Evaluated, pair: Mapping[str, Any]) -> Picture:
    one, other = (class_words(name) for name in pair["classes"])
    grey = np.full((2 * THUMB_PX, 2 * THUMB_PX, 3), GREY, np.uint8)
    both = [evaluated.photo_of(row) if row is not None else grey for row in pair["rows"]]
    caption = f"{one} | {other}: {pair['images']:,} images"
    alt = f"left: {one} taken for {other}; right: {other} taken for {one}"
    return array_picture(np.concatenate(both, axis=1), alt, caption, 2 * THUMB_PX)


def _calibration(facts: Mapping[str, Any]) -> Iterator[Block]:
    curve = [(100 * one["confidence"], 100 * one["right"]) for one in facts["bins"]]
    alt = f"right beside confidence in {len(curve)} bins; expected calibration error {share_text(facts['expected_error'])}"
    chart = line_chart(
        "How often the first guess is right where the network is so sure",
        alt,
        {"this network": curve, "as sure as it is right": [(0.0, 0.0), (100.0, 100.0)]},
        ("confidence, %", "right, %"),
    )
    rows = tuple(
        (
            f"{share_text(one['from'])} to {share_text(one['to'])}",
            f"{one['images']:,}",
            share_text(one["confidence"]),
            share_text(one["right"]),
        )
        for one in facts["bins"]
    )
    header = ("confidence", "images", "mean confidence", "right")
    yield replace(chart, figures=Table(header=header, rows=rows))
    yield Pairs(pairs=(("expected calibration error", share_text(facts["expected_error"])),))
    yield Text(
        text="Below the straight line it is surer than it is right. The error is the mean distance from that line."
    )


def _views(result: Mapping[str, Any]) -> Iterator[Block]:
    views, errors = result["figures"]["views"], result["figures"]["errors"]
    if len(views) < 2:
        return
    names = [f"top{fact['top']}_error" for fact in errors]
    rows = [(one["view"], *(share_text(one[name]) for name in names)) for one in views]
    rows.append((f"all {len(views)}, averaged", *(share_text(fact["error"]) for fact in errors)))
    header = ("view", *(f"top-{fact['top']} error" for fact in errors))
    yield Table(
        header=header, rows=tuple(rows), caption="Errors of each view alone, and of the mean of their probabilities"
    )


def _always_wrong(evaluated: Evaluated) -> Iterator[Block]:
    facts = evaluated.result["figures"]["always_wrong"]
    views = len(evaluated.result["figures"]["views"])
    words = "view" if views == 1 else f"of the {views} views"
    yield Text(
        text=f"{facts['images']:,} images ({share_text(facts['share'])}) are wrong in every {words} at the first guess."
    )
    pictures = tuple(
        array_picture(
            evaluated.photo_of(photo["row"]),
            f"a photo of {class_words(photo['is'])}",
            f"is {class_words(photo['is'])}; said: {class_words(photo['said'])}, {share_text(photo['confidence'])}",
            THUMB_PX,
        )
        for photo in facts["photos"]
    )
    if pictures:
        yield Gallery(pictures=pictures, side_px=104, caption="Those of which the network is surest")


def _identity(result: Mapping[str, Any]) -> Iterator[Block]:
    pairs = [
        ("checkpoints", ", ".join(result["checkpoints"])),
        ("shards", ", ".join(str(one) for one in result["shards"][:3])),
        ("content of the shards", str(result["shards_fingerprint"])[:16]),
        ("classes", f"{result['classes']:,}"),
        ("views", str(result["views"])),
    ]
    yield Pairs(pairs=tuple(pairs))
