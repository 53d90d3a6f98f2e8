"""Dumps of dicts: arrays come back, and no code in a file is run."""

import io
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


def dump(pickled: bytes) -> bytes:
    """A .npy file of one object with this pickle."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(np.array({}, dtype=object))
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickled


class ForeignDtype:
    """A dtype whose state says that it has fields and a size of its own: numpy would read beyond its bytes."""

    def __reduce__(self) -> Any:
        return np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 63)


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (pickle.dumps({"conv1": [ForeignDtype(), BIASES]}, 2), "a dtype of 'V8'"),
        (pickle.dumps({"conv1": [np.float64(1), BIASES]}, 2), r"it asks for numpy\._?core\.multiarray\.scalar"),
        (pickle.dumps({"conv1": [np.array([None]), BIASES]}, 2), "an array of objects inside the dump"),
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "bytes"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "LONG_BINPUT of 2147483647"),
        (b"\x80\x02]P1\n.", "PERSID"),
        (b"\x80\x02].", "it holds list"),
    ],
)
def test_states_and_opcodes_that_harm(tmp_path: Path, pickled: bytes, words: str) -> None:
    (tmp_path / "x.npy").write_bytes(dump(pickled))
    with pytest.raises(FormatError, match=words):
        read_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("change", [{"shape": (3, 3)}, {"shape": (-1,)}, {"shape": (2**70,)}, {"raw": b"x"}])
def test_arrays_whose_state_is_not_their_bytes(tmp_path: Path, change: dict[str, Any]) -> None:
    class Damaged:
        def __reduce__(self) -> Any:
            parts: Any = BIASES.__reduce__()
            reconstruct, arguments, state = parts
            version, shape, dtype, fortran, raw = state
            return reconstruct, arguments, (version, change.get("shape", shape), dtype, fortran, change.get("raw", raw))

    (tmp_path / "x.npy").write_bytes(dump(pickle.dumps({"conv1": [Damaged(), BIASES]}, 2)))
    with pytest.raises(FormatError, match="shape"):
        read_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i4", "|u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_plain_dtype_and_both_orders(tmp_path: Path, dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    for protocol in (2, 4, 5):
        (tmp_path / "x.npy").write_bytes(dump(pickle.dumps(np.array({"a": [array, BIASES]}, object), protocol)))
        assert np.array_equal(read_npy(tmp_path / "x.npy")["a"][0], np.arange(24).reshape(2, 3, 4))
