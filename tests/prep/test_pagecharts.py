"""Charts of the report's page: no class and no image is lost in them, and their words are their figures."""

import numpy as np

from alexnet_pages import Chart
from alexnet_prep.pagecharts import SIZE_TITLES, count_chart, devkit_chart, size_charts, size_rows
from alexnet_prep.sourcesizes import SOURCE_DTYPE, count_sizes


def counted(chart: Chart) -> int:
    return sum(int(row[2].replace(",", "")) for row in chart.figures.rows)


def test_the_chart_of_counts_loses_no_class() -> None:
    for counts in ([0, 0, 0], [5], [732, 1300, 1300, 900], list(range(1000))):
        chart = count_chart(np.array(counts, np.int64), "train")
        assert counted(chart) == len(counts)
        assert f"{min(counts):,} to {max(counts):,} images" in chart.alt


def test_each_class_stands_beside_the_devkits() -> None:
    chart = devkit_chart(np.array([5, 900, 30]), [10, 900, 40], "train")
    rows = [(row[0], row[2]) for row in chart.figures.rows]
    assert rows[:3] == [("devkit", "900"), ("devkit", "40"), ("devkit", "10")]
    assert rows[3:] == [("in the shards", "900"), ("in the shards", "30"), ("in the shards", "5")]
    assert "of 3 classes 2 have another number" in chart.alt


def test_the_charts_of_sizes_count_every_image() -> None:
    sources = np.zeros(100, SOURCE_DTYPE)
    sources["width_px"], sources["height_px"], sources["bytes"] = 500, np.arange(300, 400), 110_000
    sources[7] = (1, 1_000_000, 60)  # a line: its bin begins at 0, which a log axis has not
    sizes = count_sizes(sources)
    charts = size_charts(sizes)
    assert len(charts) == len(SIZE_TITLES)
    for chart in charts:
        assert counted(chart) == 100
        assert all(each["from"] > 0 for each in chart.spec["data"]["values"])
    rows = list(size_rows({"train": sizes, "val": sizes}))
    assert len(rows) == 8
    (heights,) = [row for row in rows if row[:2] == ("train", "heights")]
    assert heights[3] == "332 to 362 px"
