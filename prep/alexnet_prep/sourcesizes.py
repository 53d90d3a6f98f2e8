"""How large the images of a source are: widths, heights, aspects and bytes as counts in fixed bins, which add up."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Of an image that became a sample: its size as it was decoded, and the bytes of its file; zeros where nobody knows.
SOURCE_DTYPE = np.dtype([("width_px", "<u4"), ("height_px", "<u4"), ("bytes", "<u4")])
BINS_AN_OCTAVE = 8
PX_OCTAVES, BYTE_OCTAVES, ASPECT_OCTAVES = 20, 32, 6

# By quantity [from, to, count] of each bin that has any, ascending; {} where they were not counted.
Sizes = dict[str, list[list[float]]]


def _whole_edges(octaves: int) -> npt.NDArray[np.float64]:
    edges = [-(-(2 ** (step / BINS_AN_OCTAVE)) // 1) for step in range(octaves * BINS_AN_OCTAVE + 1)]
    return np.unique(np.array(edges, np.float64))


def _aspect_edges() -> npt.NDArray[np.float64]:
    """Of the rest at both ends, too: a picture may be a line."""
    inner = [2 ** (step / BINS_AN_OCTAVE) for step in range(-ASPECT_OCTAVES * 8, ASPECT_OCTAVES * 8 + 1)]
    return np.array([0.0, *(round(edge, 4) for edge in inner), 2.0**PX_OCTAVES])


# Eight bins an octave, from low to below high; the same for ever, so that counts of any two runs add up.
EDGES = {
    "width_px": _whole_edges(PX_OCTAVES),
    "height_px": _whole_edges(PX_OCTAVES),
    "aspect": _aspect_edges(),
    "bytes": _whole_edges(BYTE_OCTAVES),
}


def count_sizes(sources: npt.NDArray[np.void]) -> Sizes:
    """The counts of (N,) SOURCE_DTYPE; {} where one of them is not known, or there are none."""
    if not len(sources) or not all(sources[name].all() for name in SOURCE_DTYPE.names or ()):
        return {}
    values = {name: sources[name].astype(np.float64) for name in ("width_px", "height_px", "bytes")}
    values["aspect"] = values["width_px"] / values["height_px"]
    return {name: _binned(values[name], edges) for name, edges in EDGES.items()}


def add_sizes(parts: Iterable[Sizes]) -> Sizes:
    """The counts of all parts together; {} where one of them has none."""
    found: dict[str, dict[tuple[float, float], float]] = {name: {} for name in EDGES}
    for part in parts:
        if not part:
            return {}
        for name, bins in part.items():
            for low, high, count in bins:
                found[name][low, high] = found[name].get((low, high), 0) + count
    if not all(found.values()):
        return {}
    return {name: [[low, high, bins[low, high]] for low, high in sorted(bins)] for name, bins in found.items()}


def check_sizes(sizes: Any) -> None:
    """Raise ValueError unless `sizes` are counts as they are written here, which a file may not be."""
    if not isinstance(sizes, dict) or sizes.keys() not in (set(), set(EDGES)):
        raise ValueError("sizes of sources are no counts")
    for bins in sizes.values():
        if not isinstance(bins, list) or not all(_is_bin(each) for each in bins):
            raise ValueError("a bin of sources' sizes is none")


def bin_at(bins: Sequence[Sequence[float]], share: float) -> tuple[float, float]:
    """(from, to) of the bin in which the smallest `share`, 0..1, of what the bins count ends."""
    wanted = share * sum(count for _, _, count in bins)
    for low, high, count in bins:
        if wanted <= count:
            return low, high
        wanted -= count
    return bins[-1][0], bins[-1][1]


def _binned(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> list[list[float]]:
    places = np.minimum(np.searchsorted(edges, values, "right") - 1, len(edges) - 2)
    counts = np.bincount(places, minlength=len(edges) - 1)
    return [[_plain(edges[bin]), _plain(edges[bin + 1]), int(counts[bin])] for bin in np.flatnonzero(counts).tolist()]


def _plain(edge: float) -> float:
    return int(edge) if float(edge).is_integer() else float(edge)


def _is_bin(each: Any) -> bool:
    if not isinstance(each, list) or len(each) != 3:
        return False
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in each)
    return numbers and 0 <= each[0] < each[1] and isinstance(each[2], int) and 0 < each[2] < 2**40
