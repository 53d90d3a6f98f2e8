"""Files with holes, as GNU tar stores them in each of its formats, against the files themselves."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.tar import read_member, walk_tar
from alexnet_shards.tarheader import Extension, decimal
from alexnet_shards.tarsparse import sparse_of

FORMATS = {
    "gnu": ["--format=gnu"],
    "0.0": ["--format=posix", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "--sparse-version=0.1"],
    "1.0": ["--format=posix", "--sparse-version=1.0"],
}


def make_holes(path: Path, pieces: list[tuple[int, int]], size: int) -> None:
    """A file of `size` bytes with random bytes at the (offset, count) `pieces` and holes elsewhere."""
    with path.open("wb") as file:
        for offset, count in pieces:
            file.seek(offset)
            file.write(np.random.default_rng(offset).bytes(count))
        file.truncate(size)


SHAPES = {
    "tail": ([(0, 5000)], 1 << 20),
    "head": ([(1 << 19, 5000)], (1 << 19) + 5000),
    "empty": ([], 1 << 20),
    "two": ([(0, 4096), (1 << 18, 9000)], 1 << 19),
    "many": ([(number * 8192, 4096) for number in range(120)], 1 << 20),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tar_format", FORMATS)
def test_every_format_expands_to_the_file(tmp_path: Path, tar_format: str, shape: str) -> None:
    pieces, size = SHAPES[shape]
    make_holes(tmp_path / "holes.jpg", pieces, size)
    (tmp_path / "plain.jpg").write_bytes(b"plain")
    command = ["tar", "-S", *FORMATS[tar_format], "-cf", "x.tar", "holes.jpg", "plain.jpg"]
    subprocess.run(command, check=True, cwd=tmp_path)
    content = (tmp_path / "x.tar").read_bytes()
    assert len(content) < size  # it is sparse indeed

    def read_at(offset: int, count: int) -> bytes:
        return content[offset : offset + count]

    members = list(walk_tar(read_at, 0, len(content), "x.tar"))
    assert [(member.name, member.is_file) for member in members] == [("holes.jpg", True), ("plain.jpg", True)]
    assert members[0].size == size
    assert read_member(read_at, members[0]) == (tmp_path / "holes.jpg").read_bytes()
    assert read_member(read_at, members[1]) == b"plain"


def test_a_file_without_holes_is_a_plain_piece(tmp_path: Path) -> None:
    """Who reads by offset and size alone can read what has no hole, whatever the format says."""
    extension = Extension(sparse={b"map": b"0,100,100,0", b"size": b"100", b"name": b"a.jpg"})
    sparse = sparse_of(bytes(512), 0, extension, lambda offset, size: b"", "x")
    assert sparse is not None
    assert (sparse.name, sparse.size, sparse.pairs) == ("a.jpg", 100, ((0, 100),))


@pytest.mark.parametrize(
    "keys",
    [
        {b"map": b"0,100,50,60", b"size": b"200"},
        {b"map": b"0,100,150,60", b"size": b"200"},
        {b"map": b"0,100,150", b"size": b"200"},
        {b"map": b"0,100", b"size": b""},
        {b"map": b"", b"size": b"1"},
        {b"map": b"0," * 70000 + b"0", b"size": b"1"},
        {b"map": b"0,100", b"size": b"9" * 5000},
        {b"major": b"1", b"minor": b"0", b"realsize": b"7"},
    ],
)
@pytest.mark.parametrize("data", [b"", b"99999\n", b"9" * 4300, b"1\n5\n", b"x\n", b"1\n" + b"5" * (3 << 20)])
def test_maps_that_cannot_be(keys: dict[bytes, bytes], data: bytes) -> None:
    with pytest.raises(FormatError, match="^x: "):
        sparse_of(bytes(512), 0, Extension(sparse=keys), lambda offset, size: data[offset : offset + size], "x")


def test_an_old_gnu_map_without_end() -> None:
    header = bytearray(512)
    header[156:157], header[482] = b"S", 1
    block = (b"%011o\0%011o\0" % (0, 0)) * 21 + b"\1" * 8
    with pytest.raises(FormatError, match="a sparse map without end"):
        sparse_of(bytes(header), 0, Extension(), lambda offset, size: block, "x")


def test_decimals() -> None:
    assert decimal(b"9223372036854775807", "x") == 2**63 - 1
