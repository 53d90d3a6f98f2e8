"""The sums against plain integers and numpy's covariance, and that their order does not matter."""

from functools import reduce
from typing import Any

import numpy as np
import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.moments import NO_MOMENTS, Moments, MomentSums, add_image, descending_eigenvectors


def images_of(count: int, seed: int = 0) -> Any:
    """(count, 256, 256, 3) uint8 images whose channels are correlated."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 200, (count, 256, 256, 1))
    return (grey + rng.integers(0, 56, (count, 256, 256, 3))).astype(np.uint8)


def moments_of(images: Any) -> Any:
    """Moments of a stack of images."""
    sums = MomentSums()
    for image in images:
        sums.add(image)
    return sums.moments()


def test_sums_equal_plain_integers() -> None:
    images = np.concatenate(
        [images_of(3), np.full((2, 256, 256, 3), 255, np.uint8), np.zeros((1, 256, 256, 3), np.uint8)]
    )
    moments = moments_of(images)
    wide = images.astype(np.int64)
    assert moments.images == 6
    np.testing.assert_array_equal(moments.sum_hwc, wide.sum(axis=0))
    pixels = wide.reshape(-1, 3)
    exact = pixels.T @ pixels
    assert moments.products == tuple(int(exact[i, j]) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))


def test_statistics_equal_numpys() -> None:
    images = images_of(4)
    stats = moments_of(images).to_stats("x")
    pixels = images.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(stats.rgb_mean, pixels.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(stats.covariance, np.cov(pixels.T, bias=True), rtol=1e-10)
    np.testing.assert_array_equal(stats.mean_image_hwc, images.mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(stats.rgb_std, pixels.std(axis=0), rtol=1e-10)
    for value, vector in zip(stats.eigenvalues, stats.eigenvectors.T, strict=True):
        np.testing.assert_allclose(stats.covariance @ vector, value * vector, atol=1e-8)
        assert vector[np.abs(vector).argmax()] > 0
    assert stats.eigenvalues.tolist() == sorted(stats.eigenvalues, reverse=True)


def test_white_images_overflow_nothing() -> None:
    white = np.full((256, 256, 3), 255, np.uint8)
    sums = MomentSums()
    for _ in range(600):
        sums.add(white)
    moments = sums.moments()
    assert (moments.sum_hwc == 600 * 255).all()
    assert set(moments.products) == {600 * 65536 * 255 * 255}
    stats = moments.to_stats("x")
    assert np.abs(stats.covariance).max() == 0


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_any_split_gives_the_same_bits(parts: int) -> None:
    images = images_of(7, seed=1)
    whole = moments_of(images).to_stats("x")
    merged = reduce(
        Moments.merge, [moments_of(images[start::parts]) for start in reversed(range(parts))], NO_MOMENTS
    ).to_stats("x")
    for name in ("mean_image_hwc", "rgb_mean", "covariance", "eigenvalues", "eigenvectors"):
        assert getattr(merged, name).tobytes() == getattr(whole, name).tobytes()


def test_sums_of_the_full_set_fit() -> None:
    # 1.3 million white images: the exact integers stay within what is used to hold them
    assert 1_300_000 * 255 < 2**63
    assert 257 * 65536 * 255 * 255 < 2**53


def test_no_images_is_one_line() -> None:
    with pytest.raises(SourceError, match="no image"):
        NO_MOMENTS.to_stats("x")


def test_eigenvectors_of_a_known_matrix() -> None:
    values, vectors = descending_eigenvectors(np.diag([1.0, 9.0, 4.0]))
    assert values.tolist() == [9.0, 4.0, 1.0]
    np.testing.assert_array_equal(vectors, np.eye(3)[:, [1, 2, 0]])


def test_the_compiled_sums_equal_numpys() -> None:
    images = np.concatenate([images_of(2, seed=3), np.full((1, 256, 256, 3), 255, np.uint8)])
    sum_hwc, products = np.zeros((256, 256, 3), np.uint16), np.zeros(6, np.uint64)
    for image in images:
        add_image(image, sum_hwc, products)
    moments = moments_of(images)
    np.testing.assert_array_equal(moments.sum_hwc, sum_hwc)
    assert moments.products == tuple(products.tolist())
