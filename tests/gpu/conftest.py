"""What the checks of a GPU share: the device, a drawn set of shards, comparisons with the CPU's result.

Of use without the other conftest.py: `make gpu-check` runs this folder alone, where few packages may be installed.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from torch import Tensor

from alexnet_shards.index import save_index
from alexnet_shards.manifest import ClassFact, Manifest, index_path, manifest_path, save_manifest, shard_name
from alexnet_shards.scan import scan_shards
from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import Stats, save_stats
from alexnet_shards.tar import END_OF_TAR, member_bytes

CLASSES = 7
REHEARSAL = "ALEXNET_GPU_REHEARSAL"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: needs a CUDA device")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU; with ALEXNET_GPU_REHEARSAL the CPU in its place, which checks the checks alone."""
    if os.environ.get(REHEARSAL):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda", 0)


@pytest.fixture(scope="session")
def stats() -> Stats:
    return Stats(
        mean_image_hwc=np.random.default_rng(0).uniform(90, 140, (256, 256, 3)).astype(np.float32),
        rgb_mean=np.array([127.0, 119.0, 105.0]),
        covariance=np.diag([5500.0, 5200.0, 5900.0]),
        eigenvalues=np.array([14800.0, 1380.0, 390.0]),
        eigenvectors=np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0],
        images=1,
        fingerprint="",
    )


@pytest.fixture(scope="session")
def draw_shards(stats: Stats) -> Callable[[Path], str]:
    """Write 41 training and 13 validation photos, drawn, with statistics; the training shards' pattern."""

    def draw(folder: Path) -> str:
        for split, sizes in (("train", (24, 17)), ("val", (13,))):
            _write_split(folder, split, sizes)
        shards = open_shards([f"{folder}/train-*.tar"])
        save_stats(folder / "stats.npz", Stats(**vars(stats) | {"fingerprint": shards.fingerprint}))
        return f"{folder}/train-*.tar"

    return draw


def _write_split(folder: Path, split: str, sizes: tuple[int, ...]) -> None:
    seed, paths = 0, []
    for number, size in enumerate(sizes):
        content = b""
        for _ in range(size):
            blocks = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
            image_hwc = np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8)))
            content += member_bytes(f"{split}{seed:04d}.jpg", simplejpeg.encode_jpeg(image_hwc, 92))
            content += member_bytes(f"{split}{seed:04d}.cls", str(seed % CLASSES).encode())
            seed += 1
        paths.append(folder / shard_name(split, number, len(sizes)))
        paths[-1].write_bytes(content + END_OF_TAR)
    scanned = scan_shards(paths)
    classes = tuple(ClassFact(wnid=f"n{label:08d}") for label in range(CLASSES))
    sha256 = save_index(index_path(folder, split), scanned.rows)
    manifest = Manifest(split=split, classes=classes, shards=scanned.facts, index_sha256=sha256)
    save_manifest(manifest_path(folder, split), manifest)


@pytest.fixture(scope="session")
def near() -> Callable[[Tensor, Tensor, float, str], None]:
    """near(found, expected, share, what): differs nowhere by more than that share of the largest expected number."""

    def check(found: Tensor, expected: Tensor, share: float, what: str) -> None:
        mine, theirs = found.detach().cpu().double(), expected.detach().cpu().double()
        assert mine.shape == theirs.shape, what
        largest = float(theirs.abs().max())
        apart = float((mine - theirs).abs().max())
        assert apart <= share * largest, f"{what}: apart by {apart:.3g} where the largest is {largest:.3g}"

    return check
