"""A file read from its beginning to its end, wherever it lies, and decompressed on the way where it is compressed."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from pathlib import Path

from alexnet_remote.inflate import MAGIC_BYTES, compression_of, inflated
from alexnet_remote.outcome import Head
from alexnet_remote.pieces import RemotePieces, local_pieces
from alexnet_remote.stop import Stop
from alexnet_remote.tries import Patience
from alexnet_shards.errors import AlexnetError, file_error
from alexnet_shards.shown import public_address

LOOK_BACK_BYTES = 2 << 20  # kept behind the last read, as who walks a tar looks twice at a block
SKIP_BYTES = 64 << 20  # a gap from which on plain bytes are asked for anew instead of being read over


class BackwardError(AlexnetError):
    """A place that lies too far behind what was read; only a copy on a disk could be read there."""


class ForwardFile:
    """Bytes of a file by place, in rising order; made by `open_forward`, use as a context manager.

    `size` is the content's, None where it is compressed or its store does not tell; `stored_bytes` the file's, None where
    that is not told; `version` changes with the file, "" where nobody tells; `compression` is "gzip", "zstd" or "". Every
    read raises AlexnetError where the file cannot be had, is damaged, or ends early by what its store says.
    """

    def __init__(self, where: str, begin: Callable[[int], Iterator[bytes]], known: Callable[[], Head]) -> None:
        """`begin(place)` gives the pieces of the stored file from a place on; `known()` is asked after the first of them."""
        self._where, self._begin = where, begin
        self._stored = self._pieces = self._begin(0)
        self._kept: deque[tuple[int, bytes]] = deque()  # (where it begins, piece)
        self._place = self._end = 0
        start, first = b"", []
        while len(start) < MAGIC_BYTES and (piece := next(self._stored, b"")):
            first.append(piece)
            start += piece[:MAGIC_BYTES]
        self.compression = compression_of(start)
        head = known()
        self.size, self.stored_bytes, self.version = None if self.compression else head.size, head.size, head.version
        self._pieces = chain(first, self._stored)
        if self.compression:
            self._pieces = inflated(self.compression, self._pieces, where)

    def __enter__(self) -> "ForwardFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> int:
        """Where the last read ended."""
        return self._place

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end of the file."""
        return self.read_at(self._place, size)

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size), fewer at the end of the file; raises BackwardError where they are gone by."""
        if not self.compression and offset - self._end > SKIP_BYTES:
            self._restart(offset)
        while self._end < offset + size and self._advance(offset):
            pass
        if self._kept and offset < self._kept[0][0]:
            raise BackwardError(
                f"{self._where}: byte {offset} is asked for after byte {self._end}, as where a tar holds links; "
                "fetch it, decompress it, and name the copy"
            )
        found = [
            piece[max(0, offset - start) : offset + size - start]
            for start, piece in self._kept
            if start < offset + size and start + len(piece) > offset
        ]
        content = found[0] if len(found) == 1 else b"".join(found)
        self._place = offset + len(content)
        return content

    def finish(self) -> int:
        """Read to the end, so that the whole file is checked; returns the size of its content."""
        while self._advance(self._end):
            pass
        return self._end

    def close(self) -> None:
        """Close the file, or leave the connection."""
        for pieces in (self._pieces, self._stored):
            if isinstance(pieces, Generator):
                pieces.close()
        self._kept.clear()

    def _advance(self, offset: int) -> bool:
        """Take the next piece and forget what lies far behind `offset`; False at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._kept.append((self._end, piece))
        self._end += len(piece)
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) < min(offset, self._end) - LOOK_BACK_BYTES:
            self._kept.popleft()
        return True

    def _restart(self, offset: int) -> None:
        self.close()
        self._stored = self._pieces = self._begin(offset)
        self._end = offset


def open_forward(address: str | Path, patience: Patience | None = None, stop: Stop | None = None) -> ForwardFile:
    """Open the file at a path or at an address (https://, s3://, …), gzip and zstd told by its first bytes.

    A broken connection is gone on with, by range where the server has them; what came is compared with the size and the
    checksums that the store keeps. Raises AlexnetError where it cannot be had.
    """
    text = str(address)
    if "://" not in text:
        path = Path(address)
        return ForwardFile(text, lambda start: local_pieces(path, start), lambda: _local_head(path))
    latest: list[RemotePieces] = []

    def begin(start: int) -> Iterator[bytes]:
        latest[:] = [RemotePieces(text, patience or Patience(), stop or Stop(), start)]
        return iter(latest[0])

    return ForwardFile(public_address(text), begin, lambda: latest[0].head)


def _local_head(path: Path) -> Head:
    try:
        found = path.stat()
        return Head(size=found.st_size, start=0, version=f"{found.st_mtime_ns} {found.st_size}")
    except OSError as error:
        raise file_error(path, error, "read") from error
