"""The readers of metadata files: every parser's failure is one line, and sizes are looked at before memory is taken."""

import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.parsing import (
    MAX_JSON_VALUES,
    Where,
    check_fields,
    descr_of,
    field_types,
    load_json,
    load_json_object,
    load_npz,
    load_toml,
    map_npy,
    parse_json,
    read_bounded,
    read_npy_header,
)


def where(path: Path) -> Where:
    return Where(path=path, what="paper", remedy="write it again")


def refused(read: Callable[[], Any]) -> str:
    """The one line that `read` ends in."""
    with pytest.raises(FormatError) as caught:
        read()
    line = str(caught.value)
    assert "\n" not in line
    assert line.endswith("; write it again")
    return line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[1, -Infinity]",
        b"1e999",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        b'"\\x"',
        b"\0",
    ],
)
def test_json_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert refused(lambda: load_json(where(path))).startswith(f"{path}: unreadable paper (")


def test_json_that_can(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, "ü", None, True, -3], "b": {}}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert load_json(where(tmp_path / "a.json")) == value
    with pytest.raises(FileNotFoundError):
        load_json(where(tmp_path / "gone.json"))


def test_too_many_values_and_too_many_bytes(tmp_path: Path) -> None:
    content = b"[" + b"0," * (MAX_JSON_VALUES + 1) + b"0]"
    assert "over 4,000,000 values" in refused(lambda: parse_json(content, where(tmp_path)))
    (tmp_path / "a").write_bytes(bytes(11))
    assert "over 10 bytes" in refused(lambda: read_bounded(where(tmp_path / "a"), 10))
    assert "over 10 bytes" in refused(lambda: read_bounded(where(Path("/dev/zero")), 10))
    assert "Is a directory" in refused(lambda: read_bounded(where(tmp_path), 10))


@pytest.mark.parametrize(
    "content", [b"a = ", b"\xff", b"a = [" + b"[" * 50_000, b"a = " + b"9" * 9000, b"x" * (1 << 20)]
)
def test_toml_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    refused(lambda: load_toml(where(tmp_path / "a.toml")))


def test_toml_that_can(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("a = 1\n[b]\nc = 'ü'\n")
    assert load_toml(where(tmp_path / "a.toml")) == {"a": 1, "b": {"c": "ü"}}


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", ["<f4", ">i8", "|u1", "<U9", "|b1", [("a", "<u4"), ("b", "<u8")]])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_headers_as_numpy_writes_them(shape: tuple[int, ...], dtype: Any, version: tuple[int, int]) -> None:
    array = np.zeros(shape, dtype)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    header = read_npy_header(io.BytesIO(file.getvalue()))
    assert (header.descr, header.shape) == (descr_of(array.dtype), shape)
    assert len(file.getvalue()) == header.data + header.count * array.dtype.itemsize


HEADERS = [
    "{'descr': '<f4', 'fortran_order': True, 'shape': (7,), } \n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-7,), } \n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (7), 'x': 1} \n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999999,), } \n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 99 + "), } \n",
    "{" * 3000,
    "",
]


@pytest.mark.parametrize("text", HEADERS)
def test_npy_headers_that_cannot_be(tmp_path: Path, text: str) -> None:
    content = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(28)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"header|shape"):
        read_npy_header(io.BytesIO(content))
    refused(lambda: map_npy(where(tmp_path / "a.npy"), np.dtype("<f4")))


def test_an_array_longer_or_shorter_than_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(7, dtype="<f4"))
    assert map_npy(where(path), np.dtype("<f4")).tolist() == list(range(7))
    whole = path.read_bytes()
    for content in (whole + b"x", whole[:-1]):
        path.write_bytes(content)
        assert "bytes, expected 156" in refused(lambda: map_npy(where(path), np.dtype("<f4")))


def test_npz_of_other_names_dtypes_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(3), b=np.asarray("text"))
    found = load_npz(where(path), {"a": 24, "b": 16})
    assert (found["a"].tolist(), str(found["b"])) == ([0, 1, 2], "text")
    assert "arrays missing or not known: b" in refused(lambda: load_npz(where(path), {"a": 24}))
    assert "a has shape (3,)" in refused(lambda: load_npz(where(path), {"a": 23, "b": 16}))
    np.savez(path, allow_pickle=True, a=np.array([None]))
    assert "a holds '|O'" in refused(lambda: load_npz(where(path), {"a": 24}))


def test_fields() -> None:
    types: dict[str, tuple[type, ...]] = {"a": (int,), "b": (str,)}
    assert check_fields(Where, {"a": 1, "b": "x"}, types) == {"a": 1, "b": "x"}
    wrong: list[Any] = [[], None, {"a": True}, {"a": "1"}, {"a": 1.0}, {"c": 1}, {"b": None}]
    for content in wrong:
        with pytest.raises(TypeError):
            check_fields(Where, content, types)
    for number in (-1, 2**63, 10**5000):
        with pytest.raises(ValueError, match="a is not in 0"):
            check_fields(Where, {"a": number}, types)


ENDLESS = """
from pathlib import Path
from alexnet_shards.errors import FormatError
from alexnet_shards.parsing import Where, load_json
try:
    load_json(Where(path=Path("/dev/zero"), what="paper", remedy="write it again"))
except FormatError as error:
    print(error)
"""


def test_an_endless_file_is_one_line() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, check=True, preexec_fn=limit)
    assert done.stdout == "/dev/zero: unreadable paper (over 134,217,728 bytes); write it again\n"


@dataclass
class Paper:
    """Fields of each kind that JSON has."""

    name: str
    count: int
    keys: tuple[str, ...]
    pairs: list[tuple[str, str]]
    facts: dict[str, Any]


def test_the_types_of_a_dataclass() -> None:
    expected = {"name": (str,), "count": (int,), "keys": (list,), "pairs": (list,), "facts": (dict,)}
    assert field_types(Paper) == expected


def test_an_object_that_is_made_again_where_it_is_lost(tmp_path: Path) -> None:
    where = Where(path=tmp_path / "kept.json", what="result", remedy="it is made again")
    assert load_json_object(where) == {}
    for damaged in (b"", b"{", b"[1]", b"3", b'{"a": NaN}'):
        where.path.write_bytes(damaged)
        assert load_json_object(where) == {}
    where.path.write_bytes(b'{"a": 1}')
    assert load_json_object(where) == {"a": 1}
    assert load_json_object(where, limit=4) == {}
