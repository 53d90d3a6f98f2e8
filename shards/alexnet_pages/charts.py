"""Charts as Vega-Lite specifications: they take the page's width and colours, and tell their figures at hover.

They are plain data, so that who only draws a page pays for no library that builds them; Vega-Lite itself is in the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from alexnet_pages.blocks import Chart, Table

HEIGHT_PX, CLOUD_PX, BAR_PX = 240, 260, 20
FEW_BINS = 12
LEAST_FACTOR = 8  # from end to end of a logarithmic axis
MAX_FIGURES = 200  # rows of the table below a chart
Spec = dict[str, Any]


def line_chart(
    title: str,
    alt: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    axes: tuple[str, str],
    marks: Mapping[float, str] = MappingProxyType({}),
) -> Chart:
    """Lines by name, each a sequence of (x, y); `axes` names x and y with their units. Few points are marked each.

    `marks` are upright lines at some x, with what they say at hover.
    """
    rows = [{"x": x, "y": y, "line": name} for name, points in lines.items() for x, y in points]
    point = {"size": 24} if len(rows) <= MAX_FIGURES else False
    whole = all(float(x).is_integer() for points in lines.values() for x, _ in points)
    encoding = {
        "x": _number("x", axes[0], axis={"tickMinStep": 1} if whole else {}),
        "y": _number("y", axes[1], scale={"zero": False}),
        "color": _named("line", list(lines)),
        "tooltip": [_told("line"), _told("x", axes[0]), _told("y", axes[1])],
    }
    spec: Spec = {"data": {"values": rows}, "mark": {"type": "line", "point": point}, "encoding": encoding}
    if marks:
        upright = {
            "data": {"values": [{"x": x, "mark": words} for x, words in marks.items()]},
            "mark": {"type": "rule", "strokeDash": [4, 4], "strokeWidth": 1.5, "color": "#888888"},
            "encoding": {"x": encoding["x"], "tooltip": [_told("mark"), _told("x", axes[0])]},
        }
        spec = {"layer": [spec, upright]}
    figures = tuple((name, _text(x), _text(y)) for name, points in lines.items() for x, y in points)
    return _chart(title, alt, spec, Table(header=("line", *axes), rows=_bounded(figures)))


def bar_chart(title: str, alt: str, bars: Sequence[tuple[str, float]], axes: tuple[str, str]) -> Chart:
    """Bars from the top down, in their order, each (name, length)."""
    rows = [{"name": name, "value": value} for name, value in bars]
    encoding = {
        "y": {"field": "name", "type": "nominal", "title": axes[0], "sort": None, "axis": {"labelLimit": 220}},
        "x": _number("value", axes[1], axis={"tickCount": 5}),
        "tooltip": [_told("name", axes[0]), _told("value", axes[1])],
    }
    spec = {"data": {"values": rows}, "mark": "bar", "encoding": encoding}
    figures = tuple((name, _text(value)) for name, value in bars)
    return _chart(title, alt, spec, Table(header=axes, rows=_bounded(figures)), BAR_PX * max(2, len(bars)))


def histogram(
    title: str, alt: str, bins: Sequence[tuple[float, float, int]], axes: tuple[str, str], is_log: bool = False
) -> Chart:
    """Counts of (from, to, count) bins, whose borders need not be even; `is_log`: x grows by factors."""
    rows = [{"from": low, "to": high, "count": count} for low, high, count in bins]
    whole = all(float(edge).is_integer() for low, high, _ in bins for edge in (low, high))
    domain = _span(bins[0][0], bins[-1][1], is_log)
    scale = {"domain": domain, "nice": False, "type": "log" if is_log else "linear"}
    axis: Spec = {"format": "~s" if domain[0] >= 1 else "~g"} if is_log else {}
    if whole and len(bins) <= FEW_BINS and not is_log:  # a border each, or there were halves between them
        axis = {"values": sorted({edge for low, high, _ in bins for edge in (low, high)}), "format": "d"}
    encoding = {
        "x": _number("from", axes[0], bin={"binned": True}, scale=scale, axis=axis),
        "x2": {"field": "to"},
        "y": _number("count", axes[1], axis={"tickMinStep": 1}),
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
    lines: Mapping[tuple[str, str], tuple[tuple[float, float], tuple[float, float]]],
) -> Chart:
    """Points (x, y, colour), 0..255, square, and straight lines over them: by (name, whose) from one end to the other.

    A name has its colour, and whose it is its dashes.
    """
    ticks = {"values": [0, 50, 100, 150, 200, 250]}
    place = {"scale": {"domain": [0, 255], "nice": False, "clamp": True}, "axis": ticks}
    dots = {
        "data": {"values": [{"x": x, "y": y, "colour": colour} for x, y, colour in points]},
        "mark": {"type": "circle", "size": 14, "opacity": 0.8, "stroke": "#888888", "strokeWidth": 0.3},
        "encoding": {
            "x": _number("x", axes[0], **place),
            "y": _number("y", axes[1], **place),
            "color": {"field": "colour", "type": "nominal", "scale": None},
        },
    }
    ends = [{"name": name, "whose": whose, "x": x, "y": y} for (name, whose), both in lines.items() for x, y in both]
    over = {
        "data": {"values": ends},
        "mark": {"type": "line", "strokeWidth": 2.5, "clip": True},
        "encoding": {
            "x": _number("x", axes[0]),
            "y": _number("y", axes[1]),
            "color": _named("name", [name for name, _ in lines]),
            "strokeDash": _named("whose", [whose for _, whose in lines]),
            "tooltip": [_told("name"), _told("whose")],
        },
    }
    spec = {"layer": [dots, over], "resolve": {"scale": {"color": "independent"}}}
    figures = tuple((*both, *(_text(value) for end in span for value in end)) for both, span in lines.items())
    header = ("line", "whose", f"from {axes[0]}", f"from {axes[1]}", f"to {axes[0]}", f"to {axes[1]}")
    chart = _chart(title, alt, spec, Table(header=header, rows=_bounded(figures)), CLOUD_PX)
    return replace(chart, spec={**chart.spec, "width": CLOUD_PX})


def _span(low: float, high: float, is_log: bool) -> list[float]:
    """What an axis spans: all bins, and so much more that a single one is no wall."""
    if is_log:
        factor = max(1.0, (LEAST_FACTOR * low / high) ** 0.5)
        return [low / factor, high * factor]
    return [low, high] if high - low > 1 else [low - 1, high + 1]


def _number(field: str, title: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _named(field: str, names: Sequence[str]) -> Spec:
    legend = {"title": None, "orient": "top", "columns": 2, "labelLimit": 300}
    domain = list(dict.fromkeys(names))
    return {"field": field, "type": "nominal", "sort": None, "scale": {"domain": domain}, "legend": legend}


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
