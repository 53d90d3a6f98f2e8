"""The one way to a remote file, whatever the file: tried again with growing waits, ended by a stop, bounded, and named.

`fetch` and `size_of` return where the file is there, and raise RemoteFileMissingError, RemoteFileDeniedError,
RemoteFileTroubleError (after all tries) or LocalTroubleError; each is one line with address, cause and what to do.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from alexnet_remote.outcome import Head, LocalTroubleError, TooMuchError, TroubleError
from alexnet_remote.stop import Stop
from alexnet_remote.store import store_answer, store_glob, store_head, store_size
from alexnet_remote.tries import Patience, Tries, patiently, pulled
from alexnet_remote.web import web_answer, web_head, web_listing
from alexnet_shards.address import WEB
from alexnet_shards.errors import file_error
from alexnet_shards.files import atomic_file


class Sink:
    """Takes the bytes of a remote file to an open local one; knows how many, and their sha256."""

    def __init__(self, file: BinaryIO, path: Path, max_bytes: int, sha256: str = "") -> None:
        """`path` is what messages name. More than `max_bytes` are refused; `sha256` "" is not known."""
        self._file, self._path, self._max_bytes, self._sha256 = file, path, max_bytes, sha256
        self.restart()

    def restart(self) -> None:
        """Begin anew; bytes that the file has already are written over."""
        self._file.seek(0)
        self.size, self._digest = 0, hashlib.sha256()

    def write(self, piece: bytes) -> None:
        """Add a piece; raises TooMuchError where it is too much, LocalTroubleError where it cannot be written."""
        if self.size + len(piece) > self._max_bytes:
            raise TooMuchError(f"more than {self._max_bytes:,} bytes")
        try:
            self._file.write(piece)
        except OSError as error:
            raise self.local_trouble(error) from error
        self._digest.update(piece)
        self.size += len(piece)

    def finish(self) -> None:
        """Have all bytes on their way to the disk."""
        try:
            self._file.flush()
        except OSError as error:
            raise self.local_trouble(error) from error

    def local_trouble(self, error: OSError) -> LocalTroubleError:
        """The error of the local file, which is not the address's."""
        return LocalTroubleError(str(file_error(self._path, error)))

    def check_head(self, head: Head) -> None:
        """Raise TransportError where the answer is no such file, before its bytes are read."""
        if head.size is not None and head.size > self._max_bytes:
            raise TooMuchError(f"{head.size:,} bytes, more than {self._max_bytes:,}")

    def check(self) -> None:
        """Raise TroubleError where the bytes are not what they must be; they are all there."""
        found = self._digest.hexdigest()
        if self._sha256 and found != self._sha256:
            raise TroubleError(f"{self.size} bytes, sha256 {found[:12]}; expected {self._sha256[:12]}")


class ShardSink(Sink):
    """Takes a shard, of which size and sha256 are known."""

    def __init__(self, file: BinaryIO, path: Path, expected: tuple[int, str]) -> None:
        super().__init__(file, path, expected[0])
        self._expected = expected

    def check_head(self, head: Head) -> None:
        """Raise TransportError where it has another size."""
        if head.size is not None and head.size != self._expected[0]:
            kind = f" of {head.kind}" if head.kind else ""
            raise TroubleError(f"{head.size} bytes{kind}; expected {self._expected[0]}")

    def write(self, piece: bytes) -> None:
        """Add a piece; what is too long is a bad answer, of which nothing is of use."""
        try:
            super().write(piece)
        except TooMuchError as error:
            self.restart()
            raise TroubleError(f"{error}, expected {self._expected[0]}") from error

    def check(self) -> None:
        """Raise TroubleError where it has another content."""
        found = (self.size, self._digest.hexdigest())
        if found != self._expected:
            size, sha256 = self._expected
            raise TroubleError(f"{found[0]} bytes, sha256 {found[1][:12]}; expected {size}, {sha256[:12]}")


def fetch(url: str, sink: Sink, patience: Patience, stop: Stop) -> None:
    """Bring the file at `url` to `sink`; what a broken try has brought is gone on with where the store can."""
    version = kind = ""

    def attempt() -> None:
        nonlocal version, kind
        start = sink.size if version else 0
        if start == 0:
            sink.restart()
        for item in pulled(partial(answer, url, start, version, patience), url, patience, stop):
            if isinstance(item, bytes):
                if sink.size == 0:
                    check_no_page(kind, item)
                sink.write(item)
                continue
            if item.start != sink.size:
                sink.restart()
            version, kind = item.version, item.kind
            sink.check_head(item)
        sink.finish()
        # All of it came: if it is not what it must be, going on with it would be of no use.
        version = ""
        sink.check()

    patiently(Tries(url=url, patience=patience, stop=stop), attempt, lambda: sink.size)


def fetch_file(url: str, path: Path, max_bytes: int) -> None:
    """Bring the file at `url` to `path`, whole or not at all; raises as alexnet_remote.tries says."""
    with atomic_file(path, private=True) as file:
        fetch(url, Sink(file, path, max_bytes), Patience(), Stop())
        file.truncate()


def head_of(url: str, patience: Patience, stop: Stop) -> Head:
    """Size, version and checksums of a file; raises as alexnet_remote.tries says."""

    def head() -> Iterator[Head]:
        yield web_head(url, patience.silence_seconds) if url.startswith(WEB) else store_head(url)

    return patiently(Tries(url=url, patience=patience, stop=stop), lambda: next(pulled(head, url, patience, stop)))


def size_of(url: str, patience: Patience, stop: Stop) -> int | None:
    """Bytes of the file at `url`, None where the store does not tell."""

    def size() -> Iterator[int | None]:
        yield web_head(url, patience.silence_seconds).size if url.startswith(WEB) else store_size(url)

    return patiently(Tries(url=url, patience=patience, stop=stop), lambda: next(pulled(size, url, patience, stop)))


def glob_of(url: str, patience: Patience, stop: Stop) -> list[str]:
    """Addresses that match the glob `url`, sorted; of a web server's folder those that its listing links to."""

    def addresses() -> Iterator[list[str]]:
        yield web_listing(url, patience.silence_seconds) if url.startswith(WEB) else store_glob(url)

    return patiently(Tries(url=url, patience=patience, stop=stop), lambda: next(pulled(addresses, url, patience, stop)))


def answer(
    url: str, start: int, version: str | None, patience: Patience, end: int | None = None
) -> Iterator[Head | bytes]:
    """One try at the file at `url`: its head, then its bytes.

    They begin at `start` where the file still is `version` (None: any), else at 0, and go to `end` (None: all).
    """
    if url.startswith(WEB):
        return web_answer(url, start, version, patience.silence_seconds, end)
    return store_answer(url, start, version, end)


def check_no_page(kind: str, piece: bytes) -> None:
    """Raise TroubleError where a web page comes in place of a file: whoever must sign in is shown one."""
    if kind == "text/html" and piece.lstrip()[:1] == b"<":
        raise TroubleError("a web page (text/html) in place of the file, as those are shown who must sign in first")
