"""Pictures of the report: which samples, what noise adds, where crops lie."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_pages import Picture
from alexnet_prep.pagepictures import cloud_points, crop_pictures, mean_picture, noisy_pictures, spread_samples
from alexnet_prep.statistics import compute_stats
from alexnet_shards import ShardSet, Stats, open_shards


def pixels_of(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2]))).convert("RGB"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, make_shards: Callable[..., str]) -> ShardSet:
    return open_shards([make_shards(tmp_path_factory.mktemp("page"), (7, 6))])


@pytest.fixture(scope="module")
def stats(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Stats:
    out = tmp_path_factory.mktemp("stats") / "stats.npz"
    return compute_stats(list(shards.paths), out, 1, lambda done, total: None)


def test_samples_are_spread_over_the_index(shards: ShardSet, tmp_path: Path) -> None:
    assert len(spread_samples(shards, 100)) == shards.num_samples == 13
    first, last = spread_samples(shards, 2)
    assert not np.array_equal(first.image_hwc, last.image_hwc)
    assert first.words


def test_noise_is_the_axis_times_its_deviation_and_a_tenth(shards: ShardSet, stats: Stats) -> None:
    """On a grey field, where nothing is clipped: the differences are what paper section 4.1 (as released) adds."""
    grey_hwc = np.full((256, 256, 3), 128, np.uint8)
    for axis in range(3):
        pictures = noisy_pictures(grey_hwc, stats, axis, 64)
        assert [picture.caption for picture in pictures] == ["-3", "-2", "-1", "as it is", "+1", "+2", "+3"]
        found = pixels_of(pictures[-1]).reshape(-1, 3).mean(0) - 128
        expected = 3 * 0.1 * np.sqrt(stats.eigenvalues[axis]) * stats.eigenvectors[:, axis]
        assert np.abs(found - expected).max() < 2.5  # JPEG's and one rounding


def test_the_mean_picture_is_the_mean_image(stats: Stats) -> None:
    difference = pixels_of(mean_picture(stats)).astype(float) - stats.mean_image_hwc
    assert np.abs(difference).mean() < 6


def test_crops_are_those_of_the_ten_views() -> None:
    image_hwc = np.zeros((256, 256, 3), np.uint8)
    image_hwc[:32, :32] = 255  # in the top left crop alone
    image_hwc[-32:, -32:] = (255, 0, 0)  # in the bottom right one alone
    _, top_left, top_right, bottom_left, bottom_right, centre = map(pixels_of, crop_pictures(image_hwc))
    assert top_left.shape == (224, 224, 3)
    assert top_left[:24, :24].mean() > 250
    assert bottom_right[-24:, -24:, 0].mean() > 240
    assert max(top_right.max(), bottom_left.max()) < 60
    assert centre[:16, :16].mean() > 240
    assert centre[40:180, 40:180].max() < 60


def test_points_have_their_own_colour(shards: ShardSet) -> None:
    samples = spread_samples(shards, 4)
    points = cloud_points(samples, 400, (0, 2))
    assert 390 <= len(points) <= 400
    for red, blue, colour in points[:50]:
        assert (int(colour[1:3], 16), int(colour[5:7], 16)) == (red, blue)
    assert cloud_points([], 400, (0, 1)) == []
