"""Reading forward: the same bytes in few requests."""

import bz2
import gzip
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard

from alexnet_prep import forward
from alexnet_prep.forward import ForwardReader, LocalFile, begins_compressed, read_fully


def test_growing_offsets_are_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PIECE_BYTES", 1000)
    content = random.Random(0).randbytes(20_000)
    (tmp_path / "x").write_bytes(content)
    file, requests = LocalFile(tmp_path / "x"), []

    def read_at(offset: int, size: int) -> bytes:
        requests.append((offset, size))
        return file.read_at(offset, size)

    reader, place = ForwardReader(read_at, 15_000), 2_000
    while place < 15_000:
        assert reader.read_at(place, 37) == content[place : place + 37]
        assert reader.read_at(place + 10, 300) == content[place + 10 : place + 310]
        place += 150
    assert len(requests) <= 13 + 3
    assert max(offset + size for offset, size in requests) <= 15_310  # beyond the end what was asked for alone
    assert reader.read_at(19_000, 5_000) == content[19_000:]
    assert reader.read_at(0, 10) == content[:10]
    file.close()


def test_short_answers_are_asked_again() -> None:
    content = bytes(range(100))
    assert read_fully(lambda offset, size: content[offset : offset + min(size, 7)], 5, 200) == content[5:]


def test_what_is_compressed_is_told_by_its_first_bytes(tmp_path: Path, tar_bytes: Any) -> None:
    path, plain = tmp_path / "train-0.tar", tar_bytes([("BZhou/a.jpg", b"1")])  # bzip2's letters in a name
    skipped = bytes.fromhex("502a4d18 04000000 00000000")  # the frame with which pzstd begins
    packed = (gzip.compress(plain), bz2.compress(plain), zstandard.compress(plain), skipped + zstandard.compress(plain))
    for content in (plain, *packed):
        path.write_bytes(content)
        assert begins_compressed(path) == (content != plain)
