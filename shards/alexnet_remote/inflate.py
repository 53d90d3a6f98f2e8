"""Streams that are compressed as a whole (gzip, zstd), decompressed piece by piece; memory is bounded whatever they hold."""

import re
import zlib
from collections.abc import Iterable, Iterator

from alexnet_shards.errors import AlexnetError
from alexnet_shards.extras import missing

PIECE_BYTES = 1 << 20  # most bytes of a decompressed piece
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPED = range(0x184D2A50, 0x184D2A60)  # magics of frames that hold no content, as pzstd's and zstd's seek tables
# bzip2's three letters may begin a name in a tar: what follows them there is a digit and pi.
OTHERS = {
    b"BZh[1-9]1A": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\3\4": "zip",
    b"7z\xbc\xaf": "7z",
    b"\x04\x22\x4d\x18": "lz4",
}
MAGIC_BYTES = 6
MAX_WINDOW_BYTES = 128 << 20  # as the zstd command has it without --long
RLE, RESERVED = 1, 3  # types of zstd's blocks


class CompressedError(AlexnetError):
    """A compressed file that is damaged, ends early, or is of a kind that is not read."""


def compression_of(start: bytes) -> str:
    """ "gzip", "zstd", the name of another kind, or "" for plain content, by the first bytes of a file."""
    if start.startswith(GZIP):
        return "gzip"
    if start.startswith(ZSTD) or (len(start) >= 4 and int.from_bytes(start[:4], "little") in ZSTD_SKIPPED):
        return "zstd"
    return next((name for magic, name in OTHERS.items() if re.match(magic, start)), "")


def inflated(kind: str, pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """The content of `pieces`, which are compressed by `kind`, in pieces of at most 1 MiB.

    Raises CompressedError, which names `where`, for a damaged or cut stream and for a kind that is not read.
    """
    if kind == "gzip":
        return _gunzipped(pieces, where)
    if kind == "zstd":
        return _unzstd(pieces, where)
    raise CompressedError(f"{where}: is {kind}-compressed; expected a plain tar, .tar.gz or .tar.zst: compress it anew")


def _gunzipped(pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """All members of a gzip file, zeros behind them passed over as gzip does."""
    inflate, begun, done = zlib.decompressobj(zlib.MAX_WBITS | 16), False, 0
    for piece in pieces:
        rest = piece
        while rest:
            if inflate.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                inflate, begun = zlib.decompressobj(zlib.MAX_WBITS | 16), False
            begun = True
            try:
                content = inflate.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise _damaged("gzip", where, done, str(error)) from error
            if content:
                done += len(content)
                yield content
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if begun and not inflate.eof:
        raise _cut("gzip", where, done)


def _unzstd(pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """All frames of a zstd file, given to the library a block at a time: each gives at most 128 KiB."""
    try:
        import zstandard
    except ImportError as error:
        raise CompressedError(f"{where}: {missing('zstandard', 'zstd')}") from error
    source, done = _Source(pieces), 0
    try:
        while magic := source.take(4):
            if int.from_bytes(magic, "little") in ZSTD_SKIPPED:
                source.skip(int.from_bytes(source.need(4), "little"))
                continue
            if magic != ZSTD:
                raise _damaged("zstd", where, done, "what follows a frame is none")
            inflate = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
            for part in _frame(source, magic):
                if content := inflate.decompress(part):
                    done += len(content)
                    yield content
    except EOFError as error:
        raise _cut("zstd", where, done) from error
    except zstandard.ZstdError as error:
        raise _damaged("zstd", where, done, str(error)) from error
    except ValueError as error:
        raise _damaged("zstd", where, done, str(error)) from error


def _frame(source: "_Source", magic: bytes) -> Iterator[bytes]:
    """The parts of a zstd frame, as RFC 8878 draws it: its header, each of its blocks, its checksum."""
    descriptor = source.need(1)
    flags = descriptor[0]
    single = flags >> 5 & 1
    size_bytes = (single, 2, 4, 8)[flags >> 6]
    yield magic + descriptor + source.need((1 - single) + (0, 1, 2, 4)[flags & 3] + size_bytes)
    last = 0
    while not last:
        head = source.need(3)
        number = int.from_bytes(head, "little")
        last, kind, size = number & 1, number >> 1 & 3, number >> 3
        if kind == RESERVED:
            raise ValueError("a block of no known type")
        yield head + source.need(1 if kind == RLE else size)
    if flags >> 2 & 1:
        yield source.need(4)


class _Source:
    """Bytes by number, out of pieces of any length."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._piece, self._place = iter(pieces), b"", 0

    def take(self, size: int) -> bytes:
        """`size` bytes, or b"" at the end; raises EOFError where some are missing."""
        found = self._piece[self._place : self._place + size]
        self._place += len(found)
        while len(found) < size:
            piece = next(self._pieces, None)
            if piece is None:
                if found:
                    raise EOFError
                return b""
            self._piece, self._place = piece, min(len(piece), size - len(found))
            found += piece[: self._place]
        return found

    def need(self, size: int) -> bytes:
        """`size` bytes; raises EOFError where they are not there."""
        found = self.take(size) if size else b""
        if len(found) < size:
            raise EOFError
        return found

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size > 0:
            size -= len(self.need(min(size, PIECE_BYTES)))


def _damaged(kind: str, where: str, done: int, why: str) -> CompressedError:
    said = " ".join(why.split())
    return CompressedError(f"{where}: damaged {kind} data after {done:,} decompressed bytes ({said}); fetch it again")


def _cut(kind: str, where: str, done: int) -> CompressedError:
    return CompressedError(
        f"{where}: the {kind} data end early, after {done:,} decompressed bytes: truncated; fetch it again"
    )
