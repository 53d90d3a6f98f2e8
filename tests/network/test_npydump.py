"""Dumps of dicts: arrays come back, and no code in a file is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_network.npydump import read_npy
from alexnet_shards.errors import FormatError

WEIGHTS, BIASES = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones(4, np.float64)


@pytest.mark.parametrize(
    "layers",
    [
        {"conv1": [WEIGHTS, BIASES]},
        {"conv1": (WEIGHTS, BIASES)},
        {"conv1": {"weights": WEIGHTS, "biases": BIASES}},
        {b"conv1": {b"weights": WEIGHTS, b"biases": BIASES}},
    ],
)
def test_both_forms(tmp_path: Path, layers: Any) -> None:
    np.save(tmp_path / "x.npy", np.array(layers, dtype=object), allow_pickle=True)
    found = read_npy(tmp_path / "x.npy")
    assert list(found) == ["conv1"]
    assert np.array_equal(found["conv1"][0], WEIGHTS)
    assert found["conv1"][1].dtype == np.float32


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    array = np.array({"fc8": [WEIGHTS, BIASES]}, dtype=object)
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        pickle.dump(array, file, protocol)
    assert np.array_equal(read_npy(tmp_path / "x.npy")["fc8"][0], WEIGHTS)


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("trapped",)


def test_no_code_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array({"conv1": [Trap(), BIASES]}, dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"it asks for posix.mkdir"):
        read_npy(tmp_path / "x.npy")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text", b"\x93NUMPY\x09\x00garbage"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(FormatError, match="x.npy: not a .npy dump"):
        read_npy(tmp_path / "x.npy")
    np.save(tmp_path / "plain.npy", WEIGHTS)
    with pytest.raises(FormatError, match="plain.npy: not a .npy dump"):
        read_npy(tmp_path / "plain.npy")
    with pytest.raises(FormatError, match="no such file"):
        read_npy(tmp_path / "absent.npy")
