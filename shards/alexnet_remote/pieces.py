"""The bytes of a file from a place to its end, gone on with after every broken connection, and checked at the end."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from alexnet_remote.checksums import Running
from alexnet_remote.outcome import Head, TransportError, TroubleError
from alexnet_remote.remotefile import answer, check_no_page
from alexnet_remote.stop import Stop
from alexnet_remote.store import store_head
from alexnet_remote.tries import Patience, RemoteFileTroubleError, Tries, patiently, pulled
from alexnet_shards.address import WEB
from alexnet_shards.errors import file_error
from alexnet_shards.shown import public_address

LOCAL_PIECE_BYTES = 4 << 20


def local_pieces(path: Path, start: int = 0) -> Iterator[bytes]:
    """The bytes of a local file from `start` on; raises FileError where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), start, 0, os.POSIX_FADV_SEQUENTIAL)
            file.seek(start)
            while piece := file.read(LOCAL_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise file_error(path, error, "read") from error


class RemotePieces:
    """The bytes of the file at an address from a place on, as an iterator of pieces.

    A server that knows no ranges sends it from its beginning again after a break; what was had already is read over,
    and compared by its crc32. `requests` and `received_bytes` count what it took.
    """

    def __init__(self, url: str, patience: Patience, stop: Stop, start: int = 0) -> None:
        self._url, self._patience, self._stop, self._start = url, patience, stop, start
        self._place = start
        self._head: Head | None = None
        self._running, self._checked = Running(), False
        self.requests, self.received_bytes = 0, 0

    @property
    def head(self) -> Head:
        """What the first answer said of the file; of nothing before the first piece."""
        return self._head or Head(size=None, start=0, version="")

    def __iter__(self) -> Iterator[bytes]:
        """The pieces; raises as alexnet_remote.tries says, and RemoteFileTroubleError for a file that has changed, or is
        not what its store says."""
        tries = Tries(url=self._url, patience=self._patience, stop=self._stop)
        while True:
            before = self._place
            try:
                yield from self._try()
                break
            except TransportError as error:
                tries.failed(error, self._place - before)
        self._check_whole(tries)

    def _try(self) -> Iterator[bytes]:
        """What one more request gives beyond the place that was reached."""
        version = None if self._head is None else self._head.version
        skipped, at, kind = Running(), 0, ""  # `skipped`: the bytes that come once more
        self.requests += 1
        request = partial(answer, self._url, self._place if version != "" else 0, version, self._patience)
        for item in pulled(request, self._url, self._patience, self._stop):
            if isinstance(item, Head):
                self._accept(item)
                at, kind = item.start, item.kind
                continue
            self.received_bytes += len(item)
            if at == 0:
                check_no_page(kind, item)
            behind = max(0, min(len(item), self._place - at))
            at += len(item)
            if behind and self._start == 0:
                skipped.update(item[:behind])
                if at >= self._place and skipped.crc32 != self._running.crc32:
                    raise self._changed("its first bytes are others")
            if behind < len(item):
                piece = item[behind:] if behind else item
                self._running.update(piece)
                self._place += len(piece)
                yield piece
        size = None if self._head is None else self._head.size
        if size is not None and self._place < size:
            raise TroubleError(f"the answer broke off after {self._place} of {size} bytes")

    def _accept(self, head: Head) -> None:
        """Take the head of an answer, which must be of the same file as the first."""
        if self._head is None:
            checksums = head.checksums if self._start == 0 else ()
            if not checksums and self._start == 0 and not self._url.startswith(WEB):
                checksums = self._store_head().checksums
            self._head, self._running, self._checked = head, Running(checksums), bool(checksums)
        elif head.size != self._head.size:
            raise self._changed(f"{head.size} bytes, {self._head.size} before")
        elif head.version != self._head.version:
            # Servers that share an address may tag one file differently: what comes again is compared then.
            if head.start > 0 or self._start > 0:
                raise self._changed("it has another version")
            self._head = head

    def _check_whole(self, tries: Tries) -> None:
        """Raise RemoteFileTroubleError where what came is not what the store has."""
        difference = self._running.difference()
        if difference:
            raise RemoteFileTroubleError(
                f"{public_address(self._url)}: {difference}: changed on its way, or in its store; check it there, "
                "then start again"
            )
        head = self._head
        if head is not None and not self._checked and not self._url.startswith(WEB):
            now = patiently(tries, self._store_head)  # each of the requests may have met another file
            if (now.size, now.version) != (head.size, head.version):
                raise self._changed(f"{now.size} bytes, {head.size} before")

    def _store_head(self) -> Head:
        def head() -> Iterator[Head]:
            yield store_head(self._url)

        return next(pulled(head, self._url, self._patience, self._stop))

    def _changed(self, how: str) -> RemoteFileTroubleError:
        return RemoteFileTroubleError(
            f"{public_address(self._url)}: changed while it was read ({how}); start again when it changes no more"
        )
