"""Reading single images: from folders, from tars, with holes, and what has changed since."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.archive import read_directory, read_flat_tar
from alexnet_prep.errors import SourceError
from alexnet_prep.reader import MAX_OPEN, SourceReader


def test_a_source_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.mkdir()
    (path / "a.JPEG").write_bytes(b"12345")
    members = read_directory(path, 0, 0)
    (path / "a.JPEG").write_bytes(b"123")
    with pytest.raises(SourceError, match="3 bytes, 5 when the source was indexed"):
        SourceReader([path]).read(0, members.names[0], 0, int(members.locations["size"][0]))


def test_a_member_behind_the_end_is_noticed(tmp_path: Path, tar_bytes: Any) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes([("a.JPEG", b"12345")]))
    members = read_flat_tar(path, 0, lambda _: None)
    place = members.locations[0]
    reader = SourceReader([path])
    assert reader.read(0, b"a.JPEG", int(place["offset"]), 5) == b"12345"
    path.write_bytes(path.read_bytes()[: int(place["offset"]) + 2])
    with pytest.raises(SourceError, match="2 bytes, 5 when"):
        reader.read(0, b"a.JPEG", int(place["offset"]), 5)
    reader.close()


def test_holes_are_zeros(tmp_path: Path) -> None:
    path = tmp_path / "pieces.tar"
    path.write_bytes(b"....ABCD..EF")
    reader = SourceReader([path], {(0, 4): ((0, 4, 4), (10, 10, 2), (14, 0, 0))})
    assert reader.read(0, b"x", 4, 14) == b"ABCD" + bytes(6) + b"EF" + bytes(2)
    assert reader.read(0, b"y", 10, 2) == b"EF"
    with pytest.raises(SourceError, match="the source changed"):
        SourceReader([path], {(0, 4): ((0, 40, 4),)}).read(0, b"x", 4, 14)
    reader.close()


def test_holes_of_a_compressed_tar_are_zeros_too(tmp_path: Path) -> None:
    path = tmp_path / "pieces.tar.gz"
    path.write_bytes(gzip.compress(b"....ABCD..EF" + b"what follows"))
    reader = SourceReader([path], {(0, 4): ((0, 4, 4), (10, 10, 2), (14, 0, 0))})
    assert reader.read(0, b"x", 4, 14) == b"ABCD" + bytes(6) + b"EF" + bytes(2)
    assert reader.read(0, b"y", 4, 14) == b"ABCD" + bytes(6) + b"EF" + bytes(2)
    reader.close()


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone.jpg cannot be read \(No such file or directory\); check the source"):
        SourceReader([tmp_path]).read(0, b"gone.jpg", 0, 1)
    with pytest.raises(SourceError, match=r"none.tar: x cannot be read"):
        SourceReader([tmp_path / "none.tar"]).read(0, b"x", 0, 1)


def test_no_more_containers_are_open_than_a_process_may_have(
    tmp_path: Path, tar_bytes: Any, open_files: Callable[[], int]
) -> None:
    paths = [tmp_path / f"{number:03d}.tar" for number in range(MAX_OPEN + 5)]
    for number, path in enumerate(paths):
        path.write_bytes(tar_bytes([("a.jpg", b"%03d" % number)]))
    reader = SourceReader(paths)
    for _ in range(2):
        found = [reader.read(number, b"a.jpg", 512, 3) for number in range(len(paths))]
        assert found == [b"%03d" % number for number in range(len(paths))]
        assert 1 <= open_files() <= MAX_OPEN
    reader.close()
    assert open_files() == 0
