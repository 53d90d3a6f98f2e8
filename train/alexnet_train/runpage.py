"""A run's report as a page, or that of several side by side, from the files in their directories alone."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alexnet_command.units import duration_text, share_text
from alexnet_pages import Block, Chart, Gallery, Page, Pairs, Picture, Row, Section, Table, Text, write_page
from alexnet_pages.charts import bar_chart, line_chart
from alexnet_pages.pictures import pixel_picture
from alexnet_train.activity import IMAGES
from alexnet_train.looks import Look, filter_sheet
from alexnet_train.recipe import DEFAULT_RECIPE, load_recipe
from alexnet_train.runfiles import MAX_RESUMES, RunFiles, read_run

PAGE_NAME = "report.html"
# The paper's errors on ILSVRC-2010's test set over ten views, and its logs' with the centre view alone.
PUBLISHED = {"paper, ten views": (0.375, 0.170), "paper, centre view": (0.390, 0.183)}
MANY_CLASSES = 1000
MAX_POINTS = 400
MAX_SHEETS = 6
CHART_PX = 440
ERRORS = (
    ("train_top1_error", "training, top-1"),
    ("val_top1_error", "validation, top-1"),
    ("val_top5_error", "validation, top-5"),
)


def write_run_page(directory: Path) -> Path:
    """Write the page of one run into its directory; returns where. Raises what read_run and write_page do."""
    write_page(directory / PAGE_NAME, runs_page([read_run(directory)]))
    return directory / PAGE_NAME


def runs_page(runs: Sequence[RunFiles]) -> Page:
    """The page of one or several runs."""
    first = runs[0]
    sections = [
        Section(title="Where it stands", blocks=tuple(_standing(runs))),
        Section(title="Errors", blocks=tuple(_errors(runs))),
        Section(title="Loss", blocks=tuple(_losses(runs))),
        Section(title="Speed", blocks=tuple(_speed(runs))),
        Section(title="Learning rates", blocks=tuple(_rates(first)) if len(runs) == 1 else ()),
        Section(title="First filters", blocks=tuple(block for run in runs for block in _filters(run))),
        Section(title="Layers", blocks=(*_layers(first), *_activity(first)) if len(runs) == 1 else ()),
        Section(title="Recipe", blocks=tuple(block for run in runs for block in _recipe(run))),
    ]
    title = f"Run {first.name}" if len(runs) == 1 else f"{len(runs)} runs"
    return Page(
        title=title,
        lead=f"Recipe {first.recipe.name}." if len(runs) == 1 else ", ".join(run.name for run in runs),
        sections=tuple(replace(one, blocks=tuple(_abreast(one.blocks))) for one in sections if one.blocks),
    )


def _abreast(blocks: Sequence[Block]) -> Iterator[Block]:
    """The same blocks, charts that follow each other side by side where there is room."""
    for is_chart, group in itertools.groupby(blocks, lambda block: isinstance(block, Chart)):
        several = tuple(group)
        if is_chart and len(several) > 1:
            yield Row(blocks=tuple(several), side_px=CHART_PX)
        else:
            yield from several


def _standing(runs: Sequence[RunFiles]) -> Iterator[Block]:
    header = (
        "run",
        "epochs",
        "steps",
        "training error",
        "validation, top-1",
        "validation, top-5",
        "lowest top-1",
        "last word",
    )
    rows = []
    for run in runs:
        last = run.epochs[-1] if run.epochs else {}
        lowest = min((e["val_top1_error"] for e in run.epochs if _is_number(e.get("val_top1_error"))), default=None)
        rows.append(
            (
                run.name,
                f"{len(run.epochs)} of {run.recipe.train.epochs}",
                f"{last['step']:,}" if last else "0",
                *(_share(last.get(name)) for name, _ in ERRORS),
                _share(lowest),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.spoke_at)) if run.spoke_at else "",
            )
        )
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    yield Table(header=tuple(header[p] for p in kept), rows=tuple(tuple(row[p] for p in kept) for row in rows))


def _errors(runs: Sequence[RunFiles]) -> Iterator[Block]:
    for place, top in ((0, "top-1"), (1, "top-5")):
        lines = {}
        for run in runs:
            for key, words in ERRORS:
                points = [(r["epoch"], 100 * r[key]) for r in run.epochs if _is_number(r.get(key))]
                if points and words.endswith(top):
                    lines[words if len(runs) == 1 else f"{run.name}, {words}"] = points
        if not lines:
            continue
        if max(run.recipe.model.num_classes for run in runs) == MANY_CLASSES:
            reach = max(point[0] for points in lines.values() for point in points)
            lines |= {
                name: [(1, 100 * errors[place]), (reach, 100 * errors[place])] for name, errors in PUBLISHED.items()
            }
        alt = "; ".join(f"{name} ends at {points[-1][1]:.1f}%" for name, points in lines.items())
        yield line_chart(f"{top} error after each epoch", alt, lines, ("epoch", "error, %"), _marks(runs, "epoch"))


def _marks(runs: Sequence[RunFiles], over: str) -> dict[float, str]:
    """Where one run went on; several would hide each other."""
    return runs[0].marks[over] if len(runs) == 1 else {}


def _losses(runs: Sequence[RunFiles]) -> Iterator[Block]:
    lines = {}
    for run in runs:
        for key, words in (("train_loss", "training"), ("val_loss", "validation")):
            points = [(r["epoch"], r[key]) for r in run.epochs if _is_number(r.get(key))]
            if points:
                lines[words if len(runs) == 1 else f"{run.name}, {words}"] = points
    if lines:
        alt = "; ".join(f"{name} ends at {points[-1][1]:.3f}" for name, points in lines.items())
        yield line_chart("Loss after each epoch", alt, lines, ("epoch", "loss"), _marks(runs, "epoch"))
    if len(runs) == 1 and runs[0].steps:
        points = [(r["step"], r["train_loss"]) for r in _thinned(runs[0].steps) if _is_number(r.get("train_loss"))]
        if points:
            alt = f"training loss from {points[0][1]:.3f} to {points[-1][1]:.3f}"
            title, marks = "Training loss between the lines of the log", _marks(runs, "step")
            yield line_chart(title, alt, {"training": points}, ("step", "loss"), marks)
    if len(runs) == 1 and runs[0].resumes:
        steps = ", ".join(f"{step:,}" for step in runs[0].resumes[-MAX_RESUMES:])
        yield Text(text=f"It stopped and went on at the dashed lines: at step {steps}.")


def _speed(runs: Sequence[RunFiles]) -> Iterator[Block]:
    for key, title, axis, factor in (
        ("images_per_second", "Images a second", "images a second", 1),
        ("data_wait_fraction", "Share of time that waited for data", "share, %", 100),
    ):
        lines = {
            run.name: [(r["epoch"], factor * r[key]) for r in run.epochs if _is_number(r.get(key))] for run in runs
        }
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            alt = "; ".join(f"{name}: {points[-1][1]:,.4g} in the last epoch" for name, points in lines.items())
            yield line_chart(title, alt, lines, ("epoch", axis))


def _rates(run: RunFiles) -> Iterator[Block]:
    """Layers whose rates are the same all the time share a line."""
    curves: dict[tuple[tuple[float, float], ...], list[str]] = {}
    records = [record for record in _thinned(run.steps) if isinstance(record.get("rates"), Mapping)]
    for name in records[0]["rates"] if records else ():
        curve = tuple((r["step"], r["rates"][name]) for r in records if _is_number(r["rates"].get(name)))
        curves.setdefault(curve, []).append(name)
    lines = {_together(names): curve for curve, names in curves.items()}
    if lines:
        alt = "; ".join(f"{name} ends at {curve[-1][1]:.2g}" for name, curve in lines.items())
        yield line_chart("Learning rates", alt, lines, ("step", "rate"))


def _together(names: Sequence[str]) -> str:
    """What parameters with one curve are called."""
    kinds = {name.rpartition(".")[2] for name in names}
    return ", ".join(names) if len(names) < 4 else f"{' and '.join(sorted(kinds))} of {len(names)} layers"


def _filters(run: RunFiles) -> Iterator[Block]:
    if not run.looks:
        return
    chosen = _spread(run.looks, MAX_SHEETS)
    pictures = tuple(_sheet(run, epoch, look) for epoch, look in reversed(chosen))
    towers = "one tower above the other, " if run.recipe.model.towers == 2 else ""
    caption = f"{run.name}: filters of the first layer, the newest first; {towers}scaled alike, grey is zero (figure 3)"
    yield Gallery(pictures=pictures, side_px=330, caption=caption)


def _sheet(run: RunFiles, epoch: int, look: Look) -> Picture:
    words = f"after epoch {epoch}"
    return pixel_picture(
        filter_sheet(look.filters, run.recipe.model.towers), f"first filters of {run.name} {words}", words
    )


def _layers(run: RunFiles) -> Iterator[Block]:
    if not run.looks:
        return
    for title, axis, of_look in (
        ("Size of the weights", "Euclidean norm", "weight_norms"),
        ("Last update beside the weights", "norm of update / norm of weights", "update_ratios"),
    ):
        lines = {}
        for place, name in enumerate(run.looks[-1][1].names):
            if name.endswith(".weight"):
                points = [
                    (epoch, float(getattr(look, of_look)[place]))
                    for epoch, look in run.looks
                    if len(look.names) > place
                ]
                lines[name.removesuffix(".weight")] = points
        alt = "; ".join(f"{name} {points[-1][1]:.3g}" for name, points in lines.items())
        yield line_chart(title, alt, lines, ("epoch", axis))


def _activity(run: RunFiles) -> Iterator[Block]:
    if not run.activities:
        return
    last = run.activities[-1][1]
    lines = {
        name: [(epoch, float(one.norms[place])) for epoch, one in run.activities if one.names == last.names]
        for place, name in enumerate(last.names)
    }
    alt = "; ".join(f"{name} {points[-1][1]:.3g}" for name, points in lines.items())
    yield line_chart("Size of the activations", alt, lines, ("epoch", "mean Euclidean norm an image"))
    shares = [
        (name, 100 * int(dead) / int(units))
        for name, dead, units in zip(last.names, last.dead, last.units, strict=True)
    ]
    rows = tuple(
        (name, f"{dead:,}", f"{units:,}") for name, dead, units in zip(last.names, last.dead, last.units, strict=True)
    )
    alt = "; ".join(f"{name} {share:.0f}%" for name, share in shares)
    yield replace(
        bar_chart("Units that are dead", alt, shares, ("layer", "share of its units, %")),
        figures=Table(header=("layer", "dead", "units"), rows=rows),
    )
    yield Text(text=f"Over the same {IMAGES} training images after each epoch; dead are units that none of them wakes.")


def _recipe(run: RunFiles) -> Iterator[Block]:
    """What is different from the released configuration; the whole recipe is in the run's directory."""
    ours, theirs = asdict(run.recipe), asdict(load_recipe(DEFAULT_RECIPE))
    rows = [
        (f"{section}.{key}", _short(value), _short(theirs[section][key]))
        for section, values in ours.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value != theirs[section][key]
    ]
    if rows:
        caption = f"{run.name}: what differs from recipe {DEFAULT_RECIPE}"
        yield Table(header=("key", "here", DEFAULT_RECIPE), rows=tuple(rows), caption=caption)
    else:
        yield Text(text=f"{run.name}: recipe {DEFAULT_RECIPE}, nothing changed.")
    if run.epochs and _is_number(run.epochs[-1].get("images_per_second")):
        seconds = sum(_seconds(record, run) for record in run.epochs)
        yield Pairs(pairs=(("time in its epochs", duration_text(seconds)),))


def _seconds(record: Mapping[str, Any], run: RunFiles) -> float:
    """How long an epoch took, from its rate and the steps of the first."""
    steps = run.epochs[0]["step"] / max(1, run.epochs[0]["epoch"])
    rate = record.get("images_per_second")
    return steps * run.recipe.train.batch_size / rate if _is_number(rate) and rate else 0.0


def _thinned(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most MAX_POINTS of them at even distances, the last among them."""
    return _spread(records, MAX_POINTS)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    last = len(items) - 1
    if last < count:
        return list(items)
    return [items[round(place * last / (count - 1))] for place in range(count)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _share(value: Any) -> str:
    return share_text(value) if _is_number(value) else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."
