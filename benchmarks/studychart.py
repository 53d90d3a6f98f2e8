"""Studies that share their runs as a picture: how much more each network errs than the reference, seed by seed.

python -m benchmarks.studychart docs/studies/kept docs/studies/parts.toml docs/studies/defects.toml

It is written to docs/pictures/studies.svg.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_pages import Chart, Table
from alexnet_train.studyplan import StudyPlan, load_plan
from alexnet_train.studyresults import kept_results
from alexnet_train.studytable import paired_difference
from benchmarks.chart import write_picture

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "studies.svg"
ROW_PX = 22
COLOURS = ["#3b82c4", "#d97706"]
AXIS = "points of top-1 error more than the reference"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network of a study beside its reference, in percent: each seed's difference, their mean and the 95 % interval."""

    study: str
    network: str
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float


def rows_of(plan: StudyPlan, out: Path) -> Iterator[Row]:
    """The networks of a study that can be compared: of two seeds and more."""
    networks = kept_results(plan, out).networks
    reference = {seed: run.top1 for seed, run in networks[plan.networks[0].name].items()}
    for network in plan.networks[1:]:
        ours = {seed: run.top1 for seed, run in networks.get(network.name, {}).items() if seed in reference}
        difference = paired_difference(ours, reference) if ours else None
        if difference is not None and math.isfinite(difference.margin):
            yield Row(
                study=plan.title.partition(",")[0],
                network=network.name.replace("-", " "),
                differences=tuple(round(100 * (ours[seed] - reference[seed]), 2) for seed in sorted(ours)),
                mean=round(100 * difference.mean, 2),
                low=round(100 * (difference.mean - difference.margin), 2),
                high=round(100 * (difference.mean + difference.margin), 2),
            )


def chart_of(rows: Sequence[Row]) -> Chart:
    """A line for each network: its interval, and a point for each seed."""
    alt = f"{AXIS}, mean and 95 % interval: " + ", ".join(
        f"{row.network} {row.mean:+.1f} ({row.low:+.1f} to {row.high:+.1f})" for row in rows
    )
    intervals = [{"study": row.study, "network": row.network, "x": row.low, "x2": row.high} for row in rows]
    points = [{"study": row.study, "network": row.network, "x": value} for row in rows for value in row.differences]
    means = [{"study": row.study, "network": row.network, "x": row.mean} for row in rows]
    studies = list(dict.fromkeys(row.study for row in rows))
    scale = {"domain": studies, "range": COLOURS[: len(studies)]}
    encoding = {
        "y": {"field": "network", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 220}},
        "x": {"field": "x", "type": "quantitative", "title": AXIS},
        "color": {"field": "study", "type": "nominal", "scale": scale, "legend": {"title": None, "orient": "top"}},
    }
    layers = [
        {"data": {"values": [{"x": 0}]}, "mark": {"type": "rule", "color": "#888"}, "encoding": {"x": encoding["x"]}},
        {
            "data": {"values": intervals},
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {**encoding, "x2": {"field": "x2"}},
        },
        {"data": {"values": points}, "mark": {"type": "point", "size": 40, "opacity": 1}, "encoding": encoding},
        {
            "data": {"values": means},
            "mark": {"type": "tick", "thickness": 2, "size": 14, "opacity": 1},
            "encoding": encoding,
        },
    ]
    figures = tuple((row.study, row.network, f"{row.mean:+.1f}", f"{row.low:+.1f} to {row.high:+.1f}") for row in rows)
    return Chart(
        title="What each part does, and what each defect costs",
        alt=alt,
        spec={"height": ROW_PX * len(rows), "layer": layers},
        figures=Table(header=("study", "network", "mean", "95 %"), rows=figures),
    )


def main(out: Path, plans: Sequence[Path], picture: Path = PICTURE) -> None:
    """Write the picture; raises ValueError where nothing can be compared."""
    rows = [row for plan in plans for row in rows_of(load_plan(plan), out)]
    if not rows:
        raise ValueError(f"{out}: no network of two seeds beside the reference")
    write_picture(chart_of(rows), picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
