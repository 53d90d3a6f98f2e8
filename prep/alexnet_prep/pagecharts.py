"""The charts of the report's page: images a class, sizes of the sources, pixels with their axes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_command.units import size_text
from alexnet_pages import Chart
from alexnet_pages.charts import cloud_chart, histogram, line_chart
from alexnet_prep.pagepictures import Sample, cloud_points
from alexnet_prep.sourcesizes import Sizes, bin_at
from alexnet_prep.statistics import PUBLISHED, angles_degrees
from alexnet_shards import Stats

CLOUD_PIXELS = 1200
COUNT_BINS = 24
SHARES = (0.05, 0.5, 0.95)
CHANNELS = ("red", "green", "blue")
PLANES = ((0, 1), (0, 2), (1, 2))
SIZE_TITLES = {
    "width_px": ("Widths", "pixels"),
    "height_px": ("Heights", "pixels"),
    "aspect": ("Aspects, width through height", "width / height"),
    "bytes": ("Bytes of the files", "bytes"),
}


def count_chart(counts: npt.NDArray[np.int64], split: str) -> Chart:
    """How many classes have how many images; (classes,) counts."""
    low, high = int(counts.min()), int(counts.max())
    edges = np.unique(np.linspace(low, high + 1, min(COUNT_BINS, high + 1 - low) + 1).round().astype(np.int64))
    found, _ = np.histogram(counts, edges)
    bins = [(int(a), int(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], found, strict=True)]
    words = f"{len(counts):,} classes have {low:,} to {high:,} images, {counts.mean():,.1f} on average"
    return histogram(f"Images a class, {split}", words, bins, ("images in a class", "classes"))


def devkit_chart(counts: npt.NDArray[np.int64], expected: Sequence[int], split: str) -> Chart:
    """Images a class beside the devkit's count of it, the largest class first; both (classes,)."""
    order = np.argsort(-np.asarray(expected, np.int64), kind="stable")
    lines = {
        "devkit": [(place + 1, int(expected[label])) for place, label in enumerate(order)],
        "in the shards": [(place + 1, int(counts[label])) for place, label in enumerate(order)],
    }
    unlike = int((counts != np.asarray(expected)).sum())
    words = f"of {len(counts):,} classes {unlike:,} have another number of images than the devkit says"
    return line_chart(f"Beside the devkit, {split}", words, lines, ("classes, the devkit's largest first", "images"))


def size_charts(sizes: Sizes) -> tuple[Chart, ...]:
    """Widths, heights, aspects and bytes of a split's sources, as they were counted while they were read."""
    return tuple(_size_chart(name, sizes[name]) for name in SIZE_TITLES)


def _size_chart(name: str, bins: Sequence[Sequence[float]]) -> Chart:
    title, unit = SIZE_TITLES[name]
    low, half, high = (_bin_text(name, bin_at(bins, share)) for share in SHARES)
    images = int(sum(count for _, _, count in bins))
    words = f"{title} of {images:,} images: the median is {half}; nine of ten lie between {low} and {high}"
    shown = [(max(each[0], bins[0][1] / 2), each[1], int(each[2])) for each in bins]  # a log axis has no zero
    return histogram(title, words, shown, (unit, "images"), is_log=True)


def size_rows(sizes: Mapping[str, Sizes]) -> Iterator[tuple[str, ...]]:
    """For each split and quantity the bins of the smallest twentieth, the median and the largest twentieth."""
    for split, counted in sizes.items():
        for name, (title, _) in SIZE_TITLES.items():
            yield (split, title.lower(), *(_bin_text(name, bin_at(counted[name], share)) for share in SHARES))


def _bin_text(name: str, edges: tuple[float, float]) -> str:
    low, high = edges
    if name == "bytes":
        return f"{size_text(low)} to {size_text(high)}"
    if name == "aspect":
        return f"{low:.2f} to {high:.2f}"
    last = high - 1  # whole pixels, below `high`
    return f"{low:,.0f} px" if last == low else f"{low:,.0f} to {last:,.0f} px"


def cloud_charts(stats: Stats, samples: Sequence[Sample]) -> tuple[Chart, ...]:
    """Pixels of samples in each two channels, with the principal axes of all pixels, ours and the published ones."""
    theirs = PUBLISHED[0]
    axes = np.array(theirs.axes).T
    ours = stats.eigenvectors * np.sqrt(np.maximum(stats.eigenvalues, 0))
    apart = ", ".join(f"{angle:.1f}" for angle in angles_degrees(stats.eigenvectors, axes))
    words = f"pixels of {len(samples)} images; our axes are {apart} degrees from the published"
    charts = []
    for first, second in PLANES:
        lines = {
            **_axis_lines("ours", stats.rgb_mean, ours, (first, second)),
            **_axis_lines(
                "published", np.array(theirs.rgb_mean), axes * np.array(theirs.axis_deviations), (first, second)
            ),
        }
        points = cloud_points(samples, CLOUD_PIXELS, (first, second))
        names = (CHANNELS[first], CHANNELS[second])
        charts.append(cloud_chart(f"Pixels in {names[0]} and {names[1]}", words, points, names, lines))
    return tuple(charts)


def _axis_lines(
    whose: str, mean: npt.NDArray[np.float64], axes: npt.NDArray[np.float64], channels: tuple[int, int]
) -> dict[tuple[str, str], Any]:
    """The three axes (columns, one deviation long), two deviations to both sides of the mean, in two channels."""
    lines = {}
    for axis in range(3):
        ends = [mean + sign * 2 * axes[:, axis] for sign in (-1, 1)]
        low, high = ((float(end[channels[0]]), float(end[channels[1]])) for end in ends)
        lines[f"axis {axis + 1}", whose] = (low, high)
    return lines
