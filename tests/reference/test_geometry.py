"""A picture's way to 256x256 in exact fractions and float64, written from the paper's section 2 alone, against ours."""

import io
import random
from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet_pixels import PixelRecipe, shard_pixels
from alexnet_shards.geometry import centre_box

Array = npt.NDArray[np.float64]


def source_edges(side_px: int, short_px: int) -> tuple[Fraction, Fraction]:
    """Where the central 256 of a side begin and end in the source: the shorter side is of length 256 (section 2)."""
    new_px = floor(Fraction(side_px * 256, short_px) + Fraction(1, 2))
    first_px = floor(Fraction(new_px - 256, 2))
    return Fraction(first_px * side_px, new_px), Fraction((first_px + 256) * side_px, new_px)


def test_box() -> None:
    chance = random.Random(0)
    for _ in range(5_000):
        sides = [chance.choice([chance.randint(1, 600), chance.randint(1, 20_000)]) for _ in range(2)]
        left, top, right, bottom = centre_box(*sides)
        for side_px, begin, end in zip(sides, (left, top), (right, bottom), strict=True):
            exact = source_edges(side_px, min(sides))
            assert (begin, end) == pytest.approx([float(edge) for edge in exact], rel=1e-12, abs=1e-9), sides


def area_mean(values: Array, edges: tuple[Fraction, Fraction]) -> Array:
    """(S, ...) -> (256, ...): the mean over each of 256 equal intervals between the edges, parts of pixels included."""
    begin, step = edges[0], (edges[1] - edges[0]) / 256
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])

    def up_to(place: Fraction) -> Array:
        whole = min(floor(place), len(values) - 1)
        upto: Array = sums[whole] + float(place - whole) * values[whole]
        return upto

    return np.array([(up_to(begin + (i + 1) * step) - up_to(begin + i * step)) / float(step) for i in range(256)])


@pytest.mark.parametrize("size_px", [(700, 510), (513, 999), (600, 600), (1201, 460)])
def test_pixels(size_px: tuple[int, int]) -> None:
    """Smooth waves of every colour, which any averaging filter passes; one pixel aside is four times the tolerance."""
    width_px, height_px = size_px
    x, y = np.arange(width_px) + 0.5, np.arange(height_px)[:, None] + 0.5
    short_px = min(size_px)
    waves = [np.sin(2 * np.pi * (across * x + down * y) / short_px) for across, down in ((5, 0), (0, 5), (4, 3))]
    source_hwc = np.stack([np.rint(127.5 + 100 * wave) for wave in np.broadcast_arrays(*waves)], -1)
    buffer = io.BytesIO()
    Image.fromarray(source_hwc.astype(np.uint8)).save(buffer, "BMP")
    rows = area_mean(source_hwc, source_edges(height_px, short_px))
    expected = area_mean(rows.transpose(1, 0, 2), source_edges(width_px, short_px)).transpose(1, 0, 2)
    found = shard_pixels(buffer.getvalue(), PixelRecipe(quality=100, subsampling="4:4:4")).astype(np.float64)

    def distance(other: Array) -> float:
        return float(np.sqrt(np.mean((found - other)[2:-2, 2:-2] ** 2)))

    assert distance(expected) < 1
    for axis in (0, 1):
        assert distance(np.roll(expected, 1, axis)) > 4
