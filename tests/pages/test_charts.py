"""Charts: their specifications are Vega-Lite that draws what was given, their figures are the same numbers."""

import json

import pytest
import vl_convert

from alexnet_pages import Chart
from alexnet_pages.charts import MAX_FIGURES, bar_chart, cloud_chart, histogram, line_chart

LINES = {"ours": [(1.0, 0.25), (2.0, 0.125)], "paper": [(1.0, 0.375), (2.0, 0.375)]}
CHARTS = [
    line_chart("Errors", "two lines", LINES, ("epoch", "error")),
    bar_chart("Bars", "two bars", [("a", 3.0), ("b<c", 4.5)], ("name", "count")),
    histogram("Sizes", "two bins", [(0.0, 10.0, 3), (10.0, 40.0, 1200)], ("pixels", "images")),
    histogram("Bytes", "three bins", [(1, 2, 3), (2, 5, 1), (1000, 2000, 7)], ("bytes", "files"), is_log=True),
    cloud_chart(
        "Cloud",
        "one point",
        [(10.0, 20.0, "#0a1400")],
        ("red", "green"),
        {("axis", "ours"): ((0.0, 0.0), (9.0, 9.0)), ("axis", "theirs"): ((0.0, 1.0), (9.0, 8.0))},
    ),
]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.title)
def test_the_specification_draws(chart: Chart) -> None:
    """By the library itself, outside a browser, at a width of its own."""
    svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 300})
    assert svg.startswith("<svg")
    assert "$schema" not in chart.spec
    json.dumps(chart.spec, allow_nan=False)


def test_the_figures_are_those_that_were_given() -> None:
    line, bar, bins, logs, cloud = (chart.figures for chart in CHARTS)
    assert line.rows == (
        ("ours", "1", "0.25"),
        ("ours", "2", "0.125"),
        ("paper", "1", "0.375"),
        ("paper", "2", "0.375"),
    )
    assert bar.rows == (("a", "3"), ("b<c", "4.5"))
    assert bins.rows == (("0", "10", "3"), ("10", "40", "1,200"))
    assert logs.rows == (("1", "2", "3"), ("2", "5", "1"), ("1,000", "2,000", "7"))
    assert cloud.rows == (("axis", "ours", "0", "0", "9", "9"), ("axis", "theirs", "0", "1", "9", "8"))


def test_many_figures_are_cut_with_a_word() -> None:
    chart = bar_chart("Bars", "many", [(str(n), float(n)) for n in range(MAX_FIGURES + 7)], ("name", "count"))
    assert len(chart.figures.rows) == MAX_FIGURES + 1
    assert chart.figures.rows[-1] == ("… and 7 more", "")


def test_upright_marks_stand_over_the_lines() -> None:
    chart = line_chart("t", "a", {"x": [(1.0, 2.0)]}, ("step", "loss"), {3.0: "went on"})
    lines, marks = chart.spec["layer"]
    assert lines["data"]["values"] == [{"x": 1.0, "y": 2.0, "line": "x"}]
    assert marks["data"]["values"] == [{"x": 3.0, "mark": "went on"}]
    assert chart.spec["width"] == "container"
