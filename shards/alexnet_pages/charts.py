"""Charts as Vega-Lite specifications: they take the page's width and colours, and tell their figures at hover.

They are plain data, so that who only draws a page pays for no library that builds them; Vega-Lite itself is in the page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_pages.blocks import Chart, Table

HEIGHT_PX, CLOUD_PX, BAR_PX = 240, 360, 20
MAX_FIGURES = 200  # rows of the table below a chart
Spec = dict[str, Any]


def line_chart(
    title: str, alt: str, lines: Mapping[str, Sequence[tuple[float, float]]], axes: tuple[str, str]
) -> Chart:
    """Lines by name, each a sequence of (x, y); `axes` names x and y with their units."""
    rows = [{"x": x, "y": y, "line": name} for name, points in lines.items() for x, y in points]
    whole = all(float(x).is_integer() for points in lines.values() for x, _ in points)
    encoding = {
        "x": _number("x", axes[0], axis={"tickMinStep": 1} if whole else {}),
        "y": _number("y", axes[1], scale={"zero": False}),
        "color": _named("line", list(lines)),
        "tooltip": [_told("line"), _told("x", axes[0]), _told("y", axes[1])],
    }
    spec = {"data": {"values": rows}, "mark": {"type": "line", "point": {"size": 24}}, "encoding": encoding}
    figures = tuple((name, _text(x), _text(y)) for name, points in lines.items() for x, y in points)
    return _chart(title, alt, spec, Table(header=("line", *axes), rows=_bounded(figures)))


def bar_chart(title: str, alt: str, bars: Sequence[tuple[str, float]], axes: tuple[str, str]) -> Chart:
    """Bars from the top down, in their order, each (name, length)."""
    rows = [{"name": name, "value": value} for name, value in bars]
    encoding = {
        "y": {"field": "name", "type": "nominal", "title": axes[0], "sort": None, "axis": {"labelLimit": 220}},
        "x": _number("value", axes[1]),
        "tooltip": [_told("name", axes[0]), _told("value", axes[1])],
    }
    spec = {"data": {"values": rows}, "mark": "bar", "encoding": encoding}
    figures = tuple((name, _text(value)) for name, value in bars)
    return _chart(title, alt, spec, Table(header=axes, rows=_bounded(figures)), BAR_PX * max(2, len(bars)))


def histogram(title: str, alt: str, bins: Sequence[tuple[float, float, int]], axes: tuple[str, str]) -> Chart:
    """Counts of (from, to, count) bins, whose borders need not be even."""
    rows = [{"from": low, "to": high, "count": count} for low, high, count in bins]
    encoding = {
        "x": _number("from", axes[0], bin={"binned": True}),
        "x2": {"field": "to"},
        "y": _number("count", axes[1]),
        "tooltip": [_told("from"), _told("to"), _told("count", axes[1])],
    }
    spec = {"data": {"values": rows}, "mark": "bar", "encoding": encoding}
    figures = tuple((_text(low), _text(high), _text(count)) for low, high, count in bins)
    return _chart(title, alt, spec, Table(header=("from", "to", axes[1]), rows=_bounded(figures)))


def cloud_chart(
    title: str,
    alt: str,
    points: Sequence[tuple[float, float, str]],
    axes: tuple[str, str],
    lines: Mapping[str, tuple[tuple[float, float], tuple[float, float]]],
) -> Chart:
    """Points (x, y, colour), 0..255, with straight lines by name from one end to the other over them."""
    scale = {"domain": [0, 255], "nice": False, "clamp": True}
    dots = {
        "data": {"values": [{"x": x, "y": y, "colour": colour} for x, y, colour in points]},
        "mark": {"type": "circle", "size": 14, "opacity": 0.8},
        "encoding": {
            "x": _number("x", axes[0], scale=scale),
            "y": _number("y", axes[1], scale=scale),
            "color": {"field": "colour", "type": "nominal", "scale": None},
        },
    }
    over = {
        "data": {"values": [{"name": name, "x": x, "y": y} for name, both in lines.items() for x, y in both]},
        "mark": {"type": "line", "strokeWidth": 2, "clip": True},
        "encoding": {
            "x": _number("x", axes[0]),
            "y": _number("y", axes[1]),
            "color": _named("name", list(lines)),
            "tooltip": [_told("name")],
        },
    }
    spec = {"layer": [dots, over], "resolve": {"scale": {"color": "independent"}}}
    figures = tuple((name, *(_text(value) for end in both for value in end)) for name, both in lines.items())
    header = ("line", f"from {axes[0]}", f"from {axes[1]}", f"to {axes[0]}", f"to {axes[1]}")
    return _chart(title, alt, spec, Table(header=header, rows=_bounded(figures)), CLOUD_PX)


def _number(field: str, title: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _named(field: str, names: Sequence[str]) -> Spec:
    legend = {"title": None, "orient": "top", "columns": 2, "labelLimit": 300}
    return {"field": field, "type": "nominal", "sort": None, "scale": {"domain": list(names)}, "legend": legend}


def _told(field: str, title: str = "") -> Spec:
    return {"field": field, "title": title or field}


def _chart(title: str, alt: str, spec: Spec, figures: Table, height_px: int = HEIGHT_PX) -> Chart:
    return Chart(title=title, alt=alt, spec={**spec, "width": "container", "height": height_px}, figures=figures)


def _bounded(rows: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    if len(rows) <= MAX_FIGURES:
        return rows
    return (*rows[:MAX_FIGURES], (f"… and {len(rows) - MAX_FIGURES:,} more", *[""] * (len(rows[0]) - 1)))


def _text(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
