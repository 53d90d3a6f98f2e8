"""Charts as Vega-Lite specifications, built by altair: they take the page's width and colours, and tell figures at hover."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from alexnet_pages.blocks import Chart, Table

HEIGHT_PX = 240
BAR_PX = 20
MAX_FIGURES = 200  # rows of the table below a chart


def line_chart(
    title: str, alt_text: str, lines: Mapping[str, Sequence[tuple[float, float]]], axes: tuple[str, str]
) -> Chart:
    """Lines by name, each a sequence of (x, y); `axes` names x and y with their units."""
    rows = [{"x": x, "y": y, "line": name} for name, points in lines.items() for x, y in points]
    chart = (
        alt.Chart(_data(rows))
        .mark_line(point={"size": 24}, tooltip=True)
        .encode(
            x=alt.X("x:Q", title=axes[0]),
            y=alt.Y("y:Q", title=axes[1], scale=alt.Scale(zero=False)),
            color=_names("line", list(lines)),
            tooltip=[alt.Tooltip("line:N"), alt.Tooltip("x:Q", title=axes[0]), alt.Tooltip("y:Q", title=axes[1])],
        )
    )
    figures = tuple((name, _number(x), _number(y)) for name, points in lines.items() for x, y in points)
    return _chart(title, alt_text, chart, Table(header=("line", *axes), rows=_bounded(figures, 3)))


def bar_chart(title: str, alt_text: str, bars: Sequence[tuple[str, float]], axes: tuple[str, str]) -> Chart:
    """Bars from the top down, in their order, each (name, length)."""
    rows = [{"name": name, "value": value} for name, value in bars]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar(tooltip=True)
        .encode(
            y=alt.Y("name:N", title=axes[0], sort=None, axis=alt.Axis(labelLimit=220)),
            x=alt.X("value:Q", title=axes[1]),
            tooltip=[alt.Tooltip("name:N", title=axes[0]), alt.Tooltip("value:Q", title=axes[1])],
        )
    )
    figures = tuple((name, _number(value)) for name, value in bars)
    return _chart(
        title, alt_text, chart, Table(header=axes, rows=_bounded(figures, 2)), height=BAR_PX * max(2, len(bars))
    )


def histogram(title: str, alt_text: str, bins: Sequence[tuple[float, float, int]], axes: tuple[str, str]) -> Chart:
    """Counts of (from, to, count) bins, whose borders need not be even."""
    rows = [{"from": low, "to": high, "count": count} for low, high, count in bins]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar(tooltip=True)
        .encode(
            x=alt.X("from:Q", title=axes[0], bin=alt.BinParams(binned=True)),
            x2="to:Q",
            y=alt.Y("count:Q", title=axes[1]),
            tooltip=[alt.Tooltip("from:Q"), alt.Tooltip("to:Q"), alt.Tooltip("count:Q", title=axes[1])],
        )
    )
    figures = tuple((_number(low), _number(high), _number(count)) for low, high, count in bins)
    return _chart(title, alt_text, chart, Table(header=("from", "to", axes[1]), rows=_bounded(figures, 3)))


def cloud_chart(
    title: str,
    alt_text: str,
    points: Sequence[tuple[float, float, str]],
    axes: tuple[str, str],
    lines: Mapping[str, tuple[tuple[float, float], tuple[float, float]]],
) -> Chart:
    """Points (x, y, colour) with straight lines by name from one end to the other over them; x and y have one scale."""
    low = min([0.0, *(min(x, y) for x, y, _ in points)])
    high = max([255.0, *(max(x, y) for x, y, _ in points)])
    scale = alt.Scale(domain=[low, high], nice=False, clamp=True)
    dots = (
        alt.Chart(_data([{"x": x, "y": y, "colour": colour} for x, y, colour in points]))
        .mark_circle(size=14, opacity=0.8)
        .encode(
            x=alt.X("x:Q", title=axes[0], scale=scale),
            y=alt.Y("y:Q", title=axes[1], scale=scale),
            color=alt.Color("colour:N", scale=None),
        )
    )
    ends = [{"name": name, "x": x, "y": y} for name, both in lines.items() for x, y in both]
    over = (
        alt.Chart(_data(ends))
        .mark_line(strokeWidth=2, tooltip=True, clip=True)
        .encode(x=alt.X("x:Q"), y=alt.Y("y:Q"), color=_names("name", list(lines)), tooltip=["name:N"])
    )
    chart = alt.layer(dots, over).resolve_scale(color="independent")
    figures = tuple((name, *(_number(value) for end in both for value in end)) for name, both in lines.items())
    header = ("line", f"from {axes[0]}", f"from {axes[1]}", f"to {axes[0]}", f"to {axes[1]}")
    return _chart(title, alt_text, chart, Table(header=header, rows=_bounded(figures, 5)), height=360)


def _data(rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _names(field: str, names: Sequence[str]) -> Any:
    legend = alt.Legend(title=None, orient="top", columns=2, labelLimit=300)
    return alt.Color(f"{field}:N", sort=None, scale=alt.Scale(domain=list(names)), legend=legend)


def _chart(title: str, alt_text: str, chart: Any, figures: Table, height: int = HEIGHT_PX) -> Chart:
    sized = chart.properties(width="container", height=height)
    spec: dict[str, Any] = sized.to_dict()
    # The page brings its own colours and library; the address of a schema would be read as a request to another host.
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return Chart(title=title, alt=alt_text, spec=spec, figures=figures)


def _bounded(rows: tuple[tuple[str, ...], ...], cells: int) -> tuple[tuple[str, ...], ...]:
    if len(rows) <= MAX_FIGURES:
        return rows
    return (*rows[:MAX_FIGURES], (f"… and {len(rows) - MAX_FIGURES:,} more", *[""] * (cells - 1)))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
