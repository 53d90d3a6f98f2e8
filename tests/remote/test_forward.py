"""One way to read a file forward: local or remote, plain or compressed; tars are walked in it."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zstandard

from alexnet_remote.forward import LOOK_BACK_BYTES, BackwardError, open_forward
from alexnet_remote.inflate import CompressedError
from alexnet_remote.tries import Patience
from alexnet_shards.errors import FormatError
from alexnet_shards.tar import walk_tar

PATIENCE = Patience(retries=2, first_wait_seconds=0.01, silence_seconds=5)
UNKNOWN = 1 << 62
PACK: dict[str, Callable[[bytes], bytes]] = {
    "a.tar": bytes,
    "a.tar.gz": gzip.compress,
    "a.tar.zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture
def tar(tmp_path: Path, shard_tools: SimpleNamespace) -> bytes:
    rng = np.random.default_rng(0)
    members = [(f"n{number:08d}.JPEG", rng.bytes(int(rng.integers(0, 300_000)))) for number in range(60)]
    shard_tools.write_tar(tmp_path / "plain.tar", members)
    return (tmp_path / "plain.tar").read_bytes()


@pytest.mark.parametrize("name", PACK)
def test_a_tar_is_walked_and_read(tmp_path: Path, tar: bytes, plain_server: Callable[..., Any], name: str) -> None:
    (tmp_path / name).write_bytes(PACK[name](tar))
    proxy = plain_server(tmp_path)
    proxy.fail(f"GET /{name}", "cut", 1)
    for address in (tmp_path / name, f"http://127.0.0.1:{proxy.port}/{name}"):
        with open_forward(address, PATIENCE) as file:
            assert file.size == (len(tar) if name == "a.tar" else None)
            found = list(walk_tar(file.read_at, 0, file.size or UNKNOWN, name))
            assert file.finish() == len(tar)
        assert [member.name for member in found] == [f"n{number:08d}.JPEG" for number in range(60)]
        with open_forward(address, PATIENCE) as file:
            for member in found:
                content = file.read_at(member.offset, member.size)
                assert content == tar[member.offset : member.offset + member.size]


def test_read(tmp_path: Path, tar: bytes) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(tar))  # told by its first bytes, whatever its name is
    with open_forward(tmp_path / "a") as file:
        assert (file.compression, file.read(1000), file.read(7)) == ("gzip", tar[:1000], tar[1000:1007])
        assert file.read(1 << 30) == tar[1007:]
        assert file.read(1) == b""
        assert file.place == len(tar)


def test_a_little_back_and_no_more(tmp_path: Path, tar: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(tar * 3)
    with open_forward(tmp_path / "a.tar") as file:
        file.read_at(2 * len(tar), 10)
        at = 2 * len(tar) - LOOK_BACK_BYTES // 2
        assert file.read_at(at, 100) == (tar * 3)[at : at + 100]
        with pytest.raises(BackwardError, match=r"a\.tar: byte 5 is asked for after .*fetch it, decompress it"):
            file.read_at(5, 1)


def test_a_long_gap_is_jumped_over(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 32)
        file.write(b"begin")
        file.seek((1 << 32) - 3)
        file.write(b"end")
    with open_forward(tmp_path / "a") as forward:
        assert forward.read_at(0, 5) == b"begin"
        assert forward.read_at((1 << 32) - 3, 10) == b"end"


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.zst"])
def test_cut_compressed_tars_are_one_line(tmp_path: Path, tar: bytes, name: str) -> None:
    packed = PACK[name](tar)
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    with open_forward(tmp_path / name) as file, pytest.raises(CompressedError, match="data end early, .*truncated"):
        list(walk_tar(file.read_at, 0, UNKNOWN, name))


def test_a_cut_tar_in_whole_gzip_is_one_line(tmp_path: Path, tar: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar[: len(tar) // 2]))
    with open_forward(tmp_path / "a.tar.gz") as file, pytest.raises(FormatError, match="without its end mark"):
        list(walk_tar(file.read_at, 0, UNKNOWN, "a.tar.gz"))


def test_memory_is_bounded(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(1 << 20) * 100
    (tmp_path / "a.zst").write_bytes(zstandard.ZstdCompressor(level=1).compress(content))
    tracemalloc.start()
    with open_forward(tmp_path / "a.zst") as file:
        while file.read(100_000):
            pass
        assert file.place == len(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20
