"""A result as a picture for the README: how many times as fast ours is as each other, part by part.

python -m benchmarks.chart benchmarks/results/DATE-NAME.json    # writes docs/pictures/bench.svg
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_pages import Chart, chart_svg
from alexnet_pages.charts import bar_chart
from alexnet_shards.files import write_atomic
from benchmarks.results import Column, Part

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "bench.svg"
WIDTH_PX, MOST_BYTES = 420, 60_000
SHOWN = {
    "prep": ("Prep", "one"),
    "stream": ("Stream", "rate"),
    "stats": ("Statistics", "cpu"),
    "step": ("Step", "rate"),
}
# Pieces of the work that ours does, which are nobody's way to do it, and half the digits beside our float32.
UNLIKE = ("limit: bare encode", "limit: tar writing", "torchvision's AlexNet, bfloat16")
AXES = ("", "how many times as fast ours is (1: equal)")


def part_of(kept: Mapping[str, Any]) -> Part:
    """A part as the JSON file has it."""
    columns = tuple(Column(**column) for column in kept["columns"])
    return Part(**{**kept, "columns": columns})


def bars(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    """("part: contender", times) of every contender that ours can be compared with, decoding alone too; not ours itself."""
    found = []
    for part in map(part_of, result["parts"]):
        title, key = SHOWN.get(part.key, ("", ""))
        columns = [column for column in part.columns if column.key == key]
        for name in part.values if columns else ():
            ratio = part.ratio(name, columns[0])
            if ratio is not None and not name.startswith("ours") and name not in UNLIKE:
                found.append((f"{title}: {name}", round(ratio.median, 2)))
    return found


def chart_of(result: Mapping[str, Any]) -> Chart:
    """Bars from where both are as fast, in doublings, with their figures behind them."""
    made = bars(result)
    day = str(result["facts"]["date"])[:10]
    alt = f"Ours is, on {day}, so many times as fast: " + ", ".join(f"{name} {times}" for name, times in made)
    chart = bar_chart("Beside what people would use instead", alt, made, AXES)
    shared = {name: part for name, part in chart.spec.items() if name not in ("mark", "encoding")}
    names = {**chart.spec["encoding"]["y"], "axis": {"labelLimit": 320, "title": None}}
    times = {**chart.spec["encoding"]["x"], "scale": {"type": "log", "base": 2}}
    times["axis"] = {"title": AXES[1], "values": [2.0**power for power in range(-3, 6)], "format": "~r"}
    bar = {"mark": {"type": "bar", "color": "#3b82c4"}, "encoding": {"x2": {"datum": 1}}}
    figure = {
        "transform": [{"calculate": "max(datum.value, 1)", "as": "end"}],
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {"x": {**times, "field": "end"}, "text": {"field": "value"}},
    }
    equal = {"mark": {"type": "rule", "color": "#888"}, "encoding": {"x": {"datum": 1}, "y": None}}
    encoding = {**chart.spec["encoding"], "x": times, "y": names}
    return Chart(
        title=chart.title,
        alt=alt,
        spec={**shared, "encoding": encoding, "layer": [bar, figure, equal]},
        figures=chart.figures,
    )


def write_picture(chart: Chart, picture: Path) -> None:
    """Write a chart as an SVG file; raises ValueError where it is too large for a page."""
    content = chart_svg(chart, WIDTH_PX).encode()
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content):,} bytes; expected at most {MOST_BYTES:,}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(picture, content)
    print(f"{picture}: {len(content):,} bytes", file=sys.stderr)


def main(result: Path, picture: Path = PICTURE) -> None:
    """Write the picture of a result."""
    write_picture(chart_of(json.loads(result.read_text())), picture)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
