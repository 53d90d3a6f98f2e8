"""Statistics keep every bit and refuse what they are not."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.stats import SHAPES, Stats, load_stats, save_stats


@pytest.fixture
def stats() -> Stats:
    rng = np.random.default_rng(0)
    covariance = np.cov(rng.normal(size=(3, 50)))
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return Stats(
        mean_image_hwc=rng.uniform(0, 255, (256, 256, 3)).astype(np.float32),
        rgb_mean=rng.uniform(0, 255, 3),
        covariance=covariance,
        eigenvalues=eigenvalues[::-1].copy(),
        eigenvectors=eigenvectors[:, ::-1].copy(),
        images=1281167,
        fingerprint="0123456789abcdef" * 4,
    )


def test_round_trip_is_exact(tmp_path: Path, stats: Stats) -> None:
    save_stats(tmp_path / "stats.npz", stats)
    loaded = load_stats(tmp_path / "stats.npz")
    for name in SHAPES:
        ours, theirs = getattr(stats, name), getattr(loaded, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert (loaded.images, loaded.fingerprint) == (stats.images, stats.fingerprint)


def test_standard_deviation(stats: Stats) -> None:
    assert np.allclose(stats.rgb_std**2, [stats.covariance[i, i] for i in range(3)])


def test_equal_statistics_are_equal_files(tmp_path: Path, stats: Stats) -> None:
    save_stats(tmp_path / "a.npz", stats)
    save_stats(tmp_path / "b.npz", replace(stats))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_missing_and_damaged(tmp_path: Path, stats: Stats) -> None:
    path = tmp_path / "stats.npz"
    with pytest.raises(FormatError, match="make them with alexnet-prep compute-stats"):
        load_stats(path)
    save_stats(path, stats)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[1000] ^= 1
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-10], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="unreadable statistics"):
            load_stats(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": np.asarray(2)}, "not of version 1"),
        ({"version": np.asarray([1])}, "not of version 1"),
        ({"surprise": np.asarray(2)}, "arrays missing or not known: surprise"),
        ({"rgb_mean": np.zeros(4)}, r"rgb_mean has shape \(4,\)"),
        ({"rgb_mean": np.zeros(2)}, r"rgb_mean is float64 of shape \(2,\), expected float64 of \(3,\)"),
        ({"mean_image_hwc": np.zeros((224, 224, 3))}, r"mean_image_hwc is float64 of shape \(224, 224, 3\), expected"),
        ({"mean_image_hwc": np.full((256, 256, 3), np.nan, np.float32)}, "mean_image_hwc has values outside 0 to 255"),
        ({"mean_image_hwc": np.full((256, 256, 3), 256, np.float32)}, "mean_image_hwc has values outside 0 to 255"),
        ({"eigenvalues": np.array([1.0, np.inf, 0])}, "eigenvalues has values outside"),
        ({"eigenvectors": np.full((3, 3), 1e300)}, "eigenvectors has values outside"),
        ({"covariance": np.diag([1.0, 1.0, -1.0])}, "a variance below 0"),
        ({"images": np.asarray(-5)}, "its count of images"),
        ({"images": np.asarray(1.5)}, "its count of images"),
        ({"images": np.asarray([object()])}, "unreadable statistics"),
        ({"fingerprint": np.asarray("x" * 9000)}, "unreadable statistics"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, stats: Stats, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "stats.npz"
    save_stats(path, stats)
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files}
    np.savez(path, allow_pickle=True, **{**content, **change})
    with pytest.raises(FormatError, match=message):
        load_stats(path)


def test_a_bare_npy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FormatError, match="stats.npz"):
        load_stats(path)


def test_a_small_zip_of_a_large_array_costs_nothing(tmp_path: Path, stats: Stats) -> None:
    """The header says a gigabyte: nothing of it is read."""
    path = tmp_path / "stats.npz"
    save_stats(path, stats)
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files}
    np.savez_compressed(path, **{**content, "mean_image_hwc": np.zeros(1 << 25, np.float32)})
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"mean_image_hwc has shape \(33554432,\)"):
        load_stats(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 << 20
