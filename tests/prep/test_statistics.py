"""Statistics of real shards against numpy over every decoded pixel, for one worker and two, and what stops them."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_prep.statistics import PUBLISHED, angles_degrees, comparison, compute_stats
from alexnet_shards.errors import FileError, FormatError, PatternError
from alexnet_shards.manifest import load_manifest
from alexnet_shards.stats import load_stats


def ignore(_done: int, _total: int) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def sharded(
    tmp_path_factory: pytest.TempPathFactory, prep: Any, photo_bytes: Any, write_devkit: Any, tar_bytes: Any
) -> Path:
    """Three shards of 45 images."""
    directory = tmp_path_factory.mktemp("statistics")
    inner = tar_bytes([(f"n00000001_{n}.JPEG", photo_bytes(n, 280, 260 + n)) for n in range(45)])
    (directory / "ILSVRC2010_images_train.tar").write_bytes(tar_bytes([("n00000001.tar", inner)]))
    write_devkit(directory / "ILSVRC2010_devkit-1.0.tar.gz", [(1, "n00000001", 0, 45)], [1])
    prep("shards", "--source", directory, "--out", directory / "out", "--num-shards", 3, "--json")
    return directory / "out"


def decoded(sharded: Path) -> Any:
    """Every image of the shards, by tarfile and Pillow."""
    images = []
    for path in sorted(sharded.glob("*.tar")):
        with tarfile.open(path) as archive:
            for info in archive:
                if info.name.endswith(".jpg"):
                    file = archive.extractfile(info)
                    assert file is not None
                    images.append(np.asarray(Image.open(io.BytesIO(file.read()))))
    return np.stack(images)


def test_statistics_equal_numpy_over_all_pixels(sharded: Path, tmp_path: Path) -> None:
    stats = compute_stats([str(sharded / "train-*.tar")], tmp_path / "stats.npz", 1, ignore)
    images = decoded(sharded)
    pixels = images.reshape(-1, 3).astype(np.float64)
    assert stats.images == len(images) == 45
    # simplejpeg and Pillow link their own libjpeg-turbo; both decode exactly as the standard's reference does
    np.testing.assert_allclose(stats.mean_image_hwc, images.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(stats.rgb_mean, pixels.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(stats.covariance, np.cov(pixels.T, bias=True), rtol=1e-3)
    assert stats.fingerprint == load_manifest(sharded / "train.manifest.json").fingerprint()


def test_an_output_that_is_no_file_is_refused_and_a_link_followed(sharded: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileError, match="fifo: is a device, a pipe or a socket"):
        compute_stats([str(sharded / "train-000.tar")], tmp_path / "fifo", 1, ignore)
    (tmp_path / "link").symlink_to("real.npz")
    compute_stats([str(sharded / "train-000.tar")], tmp_path / "link", 1, ignore)
    assert (tmp_path / "link").is_symlink()
    assert load_stats(tmp_path / "real.npz").images == 15


def test_the_same_file_for_any_number_of_workers(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet_prep.statistics.SAMPLES_A_JOB", 7)
    for workers in (1, 2, 3):
        compute_stats([str(sharded / "train-*.tar")], tmp_path / f"{workers}.npz", workers, ignore)
    contents = {path.read_bytes() for path in tmp_path.glob("*.npz")}
    assert len(contents) == 1


def test_the_command_prints_its_keys_and_defaults_to_the_shards_folder(sharded: Path, prep: Any) -> None:
    done = prep("compute-stats", "--shards", sharded / "train-<000..002>.tar", "--workers", 2, "--json")
    facts = json.loads(done.stdout)
    stats = load_stats(sharded / "stats.npz")
    assert facts["images"] == 45
    assert facts["rgb_mean"] == stats.rgb_mean.tolist()
    assert facts["eigenvectors"] == stats.eigenvectors.tolist()
    assert facts.keys() >= {"covariance", "eigenvalues", "images_per_second", "published"}
    table = prep(
        "compute-stats", "--shards", sharded / "train-000.tar", sharded / "train-001.tar", "--out", sharded / "x.npz"
    )
    assert "cuda-convnet2" in table.stdout


def test_damage_names_shard_and_key(sharded: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sharded.glob("train*"):
        (copy / path.name).write_bytes(path.read_bytes())
    content = bytearray((copy / "train-001.tar").read_bytes())
    content[3000] ^= 255
    (copy / "train-001.tar").write_bytes(content)
    with pytest.raises(FormatError, match=r"train-001.tar, n00000001_\d+: its checksum is wrong.*alexnet-prep verify"):
        compute_stats([str(copy / "train-*.tar")], tmp_path / "stats.npz", 2, ignore)
    assert not (tmp_path / "stats.npz").exists()


def test_a_pattern_without_shards_is_one_line(tmp_path: Path, prep: Any) -> None:
    with pytest.raises(PatternError):
        compute_stats([str(tmp_path / "train-*.tar")], tmp_path / "stats.npz", 1, ignore)
    done = prep("compute-stats", "--shards", tmp_path / "train-*.tar", status=1)
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")]


def test_angles() -> None:
    turned = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, -1.0]])
    np.testing.assert_allclose(angles_degrees(np.eye(3), turned), np.degrees([0.1, 0.1, 0]), atol=1e-6)


def test_published_axes_are_orthonormal_and_near_each_other(sharded: Path, tmp_path: Path) -> None:
    for published in PUBLISHED:
        axes = np.array(published.axes)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=2e-3)
    stats = compute_stats([str(sharded / "train-000.tar")], tmp_path / "stats.npz", 1, ignore)
    rows = comparison(stats)
    assert rows[0]["angles_degrees"] == [0.0, 0.0, 0.0]
    assert len(rows) == 1 + len(PUBLISHED)
    json.dumps(rows)


def test_a_place_that_cannot_be_written_is_known_before_the_work(
    sharded: Path, mount_disk: Callable[[int], Path]
) -> None:
    pattern, disk, counted = str(sharded / "train-*.tar"), mount_disk(1 << 20), list[int]()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(FileError, match=r"stats.npz: cannot be written \(the file system is read-only\)"):
        compute_stats([pattern], disk / "stats.npz", 1, lambda done, _: counted.append(done))
    assert counted == []
