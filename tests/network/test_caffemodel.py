"""Caffe's weight files, written here by the wire format's own rules, old and new layers, and damaged in every way."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet_network.caffemodel import order_behind, read_caffemodel
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
    found = {layer.name: layer.blobs for layer in read_caffemodel(path) if layer.blobs}
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


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in the wire format; all sizes here are below 2^14."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    tag = number << 3 | 2
    return (bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])) + length + content


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("stages", [("ReLU", "LRN", "Pooling"), ("ReLU", "Pooling", "LRN"), ("Pooling",), ()])
def test_the_order_of_stages(tmp_path: Path, caffemodel: Any, old: bool, stages: tuple[str, ...]) -> None:
    layers = {"conv1": small()["conv1"], "conv2": small()["conv1"], "conv3": small()["conv1"]}
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(layers, old=old, stages=stages))
    found = read_caffemodel(tmp_path / "x.caffemodel")
    expected = tuple({"LRN": "lrn", "Pooling": "pool"}[stage] for stage in stages if stage != "ReLU")
    assert order_behind(found, "conv1", "conv2") == order_behind(found, "conv2", "conv3") == expected
    assert order_behind(found, "conv1", "conv9") == ()


def test_the_oldest_layers_are_read(tmp_path: Path) -> None:
    """V0: a layer inside each layer, its blobs in field 50."""
    weights = np.arange(12, dtype=np.float32).reshape(2, 6)
    blob = bytes([1 << 3, 1, 2 << 3, 1, 3 << 3, 2, 4 << 3, 6]) + field(5, weights.astype("<f4").tobytes())
    net = field(1, b"CaffeNet")
    for name, kind, blobs in (
        ("conv1", b"conv", blob),
        ("pool1", b"pool", b""),
        ("norm1", b"lrn", b""),
        ("fc6", b"ip", b""),
    ):
        inner = field(1, name.encode()) + field(2, kind) + (field(50, blobs) if blobs else b"")
        net += field(2, field(1, inner) + field(2, b"below") + field(3, b"above"))
    (tmp_path / "v0.caffemodel").write_bytes(net)
    found = read_caffemodel(tmp_path / "v0.caffemodel")
    assert [layer.name for layer in found] == ["conv1", "pool1", "norm1", "fc6"]
    assert np.array_equal(found[0].blobs[0].reshape(2, 6), weights)
    assert order_behind(found, "conv1", "fc6") == ("pool", "lrn")


def test_a_solverstate_is_named(tmp_path: Path) -> None:
    history = field(3, field(5, bytes(40)))
    state = bytes([1 << 3, 0xD0, 0xBB, 0x1B]) + field(2, b"caffe_alexnet_train_iter_450000.caffemodel") + history * 2
    (tmp_path / "x.solverstate").write_bytes(state)
    with pytest.raises(FormatError, match=r"a \.solverstate, which holds no weights; name the \.caffemodel beside it"):
        read_caffemodel(tmp_path / "x.solverstate")
