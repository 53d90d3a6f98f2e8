"""gzip and zstd streams piece by piece: the same content, bounded pieces, one line for whatever is wrong."""

import bz2
import gzip
import random
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zstandard

from alexnet_remote.inflate import CompressedError, compression_of, inflated

CONTENT = np.random.default_rng(0).bytes(400_000) + bytes(2_500_000) + b"words " * 50_000
PACKED = {
    "gzip": gzip.compress(CONTENT, 6),
    "zstd": zstandard.ZstdCompressor(level=3, write_checksum=True).compress(CONTENT),
}


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("size", [997, 1 << 20])
def test_the_content_in_bounded_pieces(kind: str, size: int) -> None:
    assert compression_of(PACKED[kind]) == kind
    pieces = list(inflated(kind, cut(PACKED[kind], size), "a.tar"))
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= 1 << 20


def seekable(content: bytes) -> bytes:
    """Frames of their own with a table behind them that no decoder needs."""
    frames = b"".join(zstandard.ZstdCompressor(write_content_size=False).compress(part) for part in cut(content, 10**6))
    return frames + (0x184D2A5E).to_bytes(4, "little") + (9).to_bytes(4, "little") + bytes(9)


@pytest.mark.parametrize(
    ("kind", "pack"),
    [
        ("gzip", lambda: b"".join(gzip.compress(part) for part in cut(CONTENT, 10**6)) + bytes(700)),
        ("zstd", lambda: seekable(CONTENT)),
        ("zstd", lambda: zstandard.ZstdCompressor(level=19, write_content_size=False).compress(CONTENT)),
    ],
)
def test_several_members_and_what_lies_between(kind: str, pack: Callable[[], bytes]) -> None:
    assert b"".join(inflated(kind, cut(pack(), 5000), "a.tar")) == CONTENT


@pytest.mark.parametrize("kind", PACKED)
def test_cut_anywhere(kind: str) -> None:
    packed = PACKED[kind]
    for size in (1, 3, 5, 9, 30, len(packed) // 2, len(packed) - 1):
        with pytest.raises(CompressedError, match=rf"^a\.tar: the {kind} data end early, after [\d,]+ .*truncated"):
            list(inflated(kind, cut(packed[:size], 999), "a.tar"))


@pytest.mark.parametrize("kind", PACKED)
def test_damaged_anywhere(kind: str) -> None:
    packed, rng = PACKED[kind], random.Random(0)
    for _ in range(20):
        place = rng.randrange(60, len(packed))
        bad = packed[:place] + bytes([packed[place] ^ 0x10]) + packed[place + 1 :]
        with pytest.raises(CompressedError, match=r"^a\.tar: .*fetch it again"):
            list(inflated(kind, cut(bad, 10_000), "a.tar"))
    with pytest.raises(CompressedError, match="damaged"):
        list(inflated(kind, [packed, b"behind it"], "a.tar"))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor(level=19).compress])
def test_a_bomb_comes_in_pieces(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(200 << 20))
    assert len(bomb) < 300_000
    sizes = [len(piece) for piece in inflated(compression_of(bomb), [bomb], "a.tar")]
    assert sum(sizes) == 200 << 20
    assert max(sizes) <= 1 << 20


def test_a_window_larger_than_memory_may_be() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, write_content_size=0)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(CompressedError, match=r"^a\.tar: damaged zstd data .*memory"):
        list(inflated("zstd", [frame.compress(b"x" * 1000) + frame.flush()], "a.tar"))


def test_other_kinds_are_named() -> None:
    assert compression_of(b"n01440764.tar") == ""
    kind = compression_of(bz2.compress(b"x"))
    with pytest.raises(CompressedError, match="is bzip2-compressed; expected a plain tar"):
        inflated(kind, [], "a.tar.bz2")


def test_without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CompressedError, match=r"zstandard is not installed; pip install '\.\[zstd\]'"):
        list(inflated("zstd", [PACKED["zstd"]], "a.tar.zst"))
