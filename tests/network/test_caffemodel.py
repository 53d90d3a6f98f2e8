"""Caffe's weight files, written here by the wire format's own rules, old and new layers, and damaged in every way."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet_network.caffemodel import read_caffemodel
from alexnet_shards.errors import AlexnetError, FormatError

Layers = dict[str, Sequence[npt.NDArray[np.float32]]]


def small() -> Layers:
    rng = np.random.default_rng(0)
    return {
        "conv1": (rng.normal(size=(4, 3, 5, 5)).astype(np.float32), rng.normal(size=4).astype(np.float32)),
        "fc6": (rng.normal(size=(300, 200)).astype(np.float32), np.zeros(300, np.float32)),
    }


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("doubles", [True, False])
def test_blobs_come_back(tmp_path: Path, caffemodel: Any, old: bool, doubles: bool) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(caffemodel(small(), old=old, doubles=doubles))
    found = read_caffemodel(path)
    assert found.keys() == small().keys()
    for name, blobs in small().items():
        for blob, other in zip(blobs, found[name], strict=True):
            assert other.dtype == np.float32
            assert np.array_equal(other.reshape(blob.shape), blob)
            assert other.shape[-blob.ndim :] == blob.shape


def test_damaged_files_are_one_line_or_other_numbers(tmp_path: Path, caffemodel: Any) -> None:
    content, path, chance = caffemodel(small(), old=False), tmp_path / "x.caffemodel", random.Random(1)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content[: chance.randrange(len(content))] if chance.random() < 0.5 else content)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(min(len(damaged), 400)) if damaged else 0 : 0] = b""
            if damaged:
                damaged[chance.randrange(min(len(damaged), 60))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_caffemodel(path)
        except FormatError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x0a\x07AlexNet", b"not a protocol buffer"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.caffemodel").write_bytes(content)
    with pytest.raises(AlexnetError, match="x.caffemodel: n"):
        read_caffemodel(tmp_path / "x.caffemodel")
    with pytest.raises(AlexnetError, match="no such file"):
        read_caffemodel(tmp_path / "absent.caffemodel")
