"""The float resizes that prepared pictures are compared with, against slow loops and Pillow."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.rows.resize import psnr_db, references, weights


def photo(width_px: int, height_px: int) -> Any:
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    return np.asarray(coarse.resize((width_px, height_px), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size_px", [256, 300, 700])
def test_area_is_the_share_of_each_pixel(size_px: int) -> None:
    found = weights(size_px, 0, size_px, "area")
    scale = size_px / 256
    for row in (0, 100, 255):
        shares = [
            max(0.0, min((row + 1) * scale, pixel + 1) - max(row * scale, pixel)) / scale for pixel in range(size_px)
        ]
        assert found[row] == pytest.approx(shares, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("bilinear", Image.Resampling.BILINEAR),
        ("bicubic", Image.Resampling.BICUBIC),
        ("lanczos", Image.Resampling.LANCZOS),
    ],
)
@pytest.mark.parametrize("size_px", [180, 256, 400])
def test_as_pillow_but_for_its_rounding(name: str, kernel: Image.Resampling, size_px: int) -> None:
    image_hwc = photo(size_px, size_px)
    wanted = np.asarray(Image.fromarray(image_hwc).resize((256, 256), kernel), np.float64)
    exact, whole_pixels = references(image_hwc, name)
    assert np.abs(exact - wanted).max() < 1.6  # two passes, each rounded to whole levels
    assert np.array_equal(exact, whole_pixels)  # a square has nothing to crop


def test_the_centre_is_taken() -> None:
    image_hwc = np.zeros((300, 500, 3), np.uint8)
    image_hwc[:, 100:400] = 255
    for found in references(image_hwc, "area"):
        assert found[:, 2:-2].min() == pytest.approx(255)


def test_psnr_of_a_shift_is_its_mean_square() -> None:
    def png(image_hwc: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image_hwc).save(file, "PNG")
        return file.getvalue()

    image_hwc = np.full((256, 256, 3), 100, np.uint8)
    assert psnr_db(png(image_hwc), png(image_hwc + 10), "bicubic") == pytest.approx(20 * np.log10(25.5))
