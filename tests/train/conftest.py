"""Drawn photos, runs of them and Caffe files for the tests of the trainer's room."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import Stats, save_stats


def draw_image(seed: int, height_px: int = 256, width_px: int = 256) -> npt.NDArray[np.uint8]:
    """(height_px, width_px, 3) uint8 blocks of random colours: no two seeds and no two crops look alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height_px // 8 + 1, width_px // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height_px, :width_px])


def encode(image_hwc: npt.NDArray[np.uint8]) -> bytes:
    """The JPEG of an image."""
    jpeg: bytes = simplejpeg.encode_jpeg(image_hwc, 92)
    return jpeg


@pytest.fixture(scope="session")
def make_shards(shard_tools: SimpleNamespace) -> Callable[..., str]:
    """Write shards of drawn photos."""
    writer: Callable[..., str] = shard_tools.ShardWriter(lambda seed: encode(draw_image(seed)))
    return writer


@pytest.fixture(scope="session")
def draw_tools() -> SimpleNamespace:
    """What photos are made with, for tests that need odd ones."""
    return SimpleNamespace(draw_image=draw_image, encode=encode)


@pytest.fixture
def make_run(make_shards: Callable[..., str]) -> Callable[..., str]:
    """Training and validation shards with statistics beside them; returns the training pattern."""

    def make(directory: Path, sizes: Sequence[int] = (9, 8), val_sizes: Sequence[int] = (7, 4)) -> str:
        pattern = make_shards(directory, sizes)
        if val_sizes:
            make_shards(directory, val_sizes, "val")
        shards = open_shards([pattern])
        # Not these images' own: any numbers serve where only their use is tested.
        stats = Stats(
            mean_image_hwc=np.random.default_rng(0).uniform(90, 140, (256, 256, 3)).astype(np.float32),
            rgb_mean=np.array([127.0, 119.0, 105.0]),
            covariance=np.diag([5500.0, 5200.0, 5900.0]),
            eigenvalues=np.array([14800.0, 1380.0, 390.0]),
            eigenvectors=np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0],
            images=shards.num_samples,
            fingerprint=shards.fingerprint,
        )
        save_stats(directory / "stats.npz", stats)
        return pattern

    return make


def varint(number: int) -> bytes:
    head, rest = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + varint(rest) if rest else bytes([head])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def write_caffemodel(layers: Mapping[str, Any], *, old: bool, doubles: bool = False) -> bytes:
    """NetParameter with a data layer without blobs in front."""
    layer_field, name_field, blobs_field = (2, 4, 6) if old else (100, 1, 7)
    net = field(1, b"AlexNet") + field(layer_field, field(name_field, b"data"))
    for name, blobs in layers.items():
        layer = field(name_field, name.encode()) + number_field(5 if old else 10, 1)
        for blob in blobs:
            if old:
                shape = (1,) * (4 - blob.ndim) + blob.shape
                message = b"".join(number_field(place, size) for place, size in enumerate(shape, 1))
            else:
                message = field(7, field(1, b"".join(varint(size) for size in blob.shape)))
            message += field(8, blob.astype("<f8").tobytes()) if doubles else field(5, blob.astype("<f4").tobytes())
            layer += field(blobs_field, message)
        net += field(layer_field, layer)
    return net


@pytest.fixture(scope="session")
def caffemodel() -> Callable[..., bytes]:
    """Write layers of blobs as Caffe does, in its `old` form or the new one."""
    return write_caffemodel
