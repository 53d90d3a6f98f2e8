"""The one way to a remote file, whatever the file: tried again with growing waits, ended by a stop, bounded, and named.

`fetch` and `size_of` return where the file is there, and raise RemoteFileMissingError, RemoteFileDeniedError,
RemoteFileTroubleError (after all tries) or LocalTroubleError; each is one line with address, cause and what to do.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

from alexnet_remote.outcome import (
    DeniedError,
    Head,
    LocalError,
    LocalTroubleError,
    MissingError,
    TooMuchError,
    TransportError,
    TroubleError,
)
from alexnet_remote.stop import POLL_SECONDS, Stop
from alexnet_remote.store import store_answer, store_glob, store_size
from alexnet_remote.web import web_answer, web_listing, web_size
from alexnet_shards.address import WEB
from alexnet_shards.errors import AlexnetError, file_error
from alexnet_shards.shown import public_address

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")
_Box: TypeAlias = "queue.Queue[tuple[T] | Exception | None]"
PROGRESS_BYTES = 1 << 20  # a try that brought so much starts the count of tries anew
LONGEST_WAIT_SECONDS = 120.0
STORE_PATIENCE = 10  # libraries of object stores have limits of their own, and a piece there is a whole request
ENVIRONMENT = "free what it lacks and start again"


class RemoteFileError(AlexnetError):
    """A remote file that cannot be had."""


class RemoteFileMissingError(RemoteFileError):
    """The store says that the file is not there, or, where `hidden`, what it says for such files too."""

    def __init__(self, text: str, hidden: bool = False) -> None:
        super().__init__(text)
        self.hidden = hidden

    def __reduce__(self) -> tuple[type[AlexnetError], tuple[str, bool]]:
        return type(self), (str(self), self.hidden)


class RemoteFileDeniedError(RemoteFileError):
    """The store does not give the file to this user."""


class RemoteFileTroubleError(RemoteFileError):
    """The network or the store failed at every try."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """`retries` after a failed try, the first after `first_wait_seconds`, each next after twice as long.

    `silence_seconds` without a byte, and not the time of a whole transfer, are what fails a try.
    """

    retries: int = 4
    first_wait_seconds: float = 1.0
    silence_seconds: float = 30.0


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
        for item in _pulled(partial(_answer, url, start, version, patience), url, patience, stop):
            if isinstance(item, bytes):
                if sink.size == 0:
                    _check_no_page(kind, item)
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

    _patiently(url, attempt, lambda: sink.size, patience, stop)


def size_of(url: str, patience: Patience, stop: Stop) -> int | None:
    """Bytes of the file at `url`, None where the store does not tell."""

    def size() -> Iterator[int | None]:
        yield web_size(url, patience.silence_seconds) if url.startswith(WEB) else store_size(url)

    return _patiently(url, lambda: next(_pulled(size, url, patience, stop)), lambda: 0, patience, stop)


def glob_of(url: str, patience: Patience, stop: Stop) -> list[str]:
    """Addresses that match the glob `url`, sorted; of a web server's folder those that its listing links to."""

    def addresses() -> Iterator[list[str]]:
        yield web_listing(url, patience.silence_seconds) if url.startswith(WEB) else store_glob(url)

    return _patiently(url, lambda: next(_pulled(addresses, url, patience, stop)), lambda: 0, patience, stop)


def _answer(url: str, start: int, version: str, patience: Patience) -> Iterator[Head | bytes]:
    if url.startswith(WEB):
        return web_answer(url, start, version, patience.silence_seconds)
    return store_answer(url, start)


def _check_no_page(kind: str, piece: bytes) -> None:
    """Raise TroubleError where a web page comes in place of a file: whoever must sign in is shown one."""
    if kind == "text/html" and piece.lstrip()[:1] == b"<":
        raise TroubleError("a web page (text/html) in place of the file, as those are shown who must sign in first")


def _patiently(url: str, attempt: Callable[[], T], progress: Callable[[], int], patience: Patience, stop: Stop) -> T:
    """The result of the first try that succeeds; raises as the module says."""
    shown, tries, wait_seconds, tries_in_all = public_address(url), 0, patience.first_wait_seconds, 0
    while True:
        before = progress()
        try:
            return attempt()
        except MissingError as error:
            raise RemoteFileMissingError(f"{shown}: not there ({error})", error.hidden) from error
        except DeniedError as error:
            raise RemoteFileDeniedError(
                f"{shown}: denied ({error}); check the address, and who may read there"
            ) from error
        except TooMuchError as error:
            raise RemoteFileTroubleError(f"{shown}: {error}: no such file is so large; check the address") from error
        except LocalError as error:
            raise LocalTroubleError(f"{shown}: this machine cannot fetch it ({error}); {ENVIRONMENT}") from error
        except TroubleError as error:
            if progress() - before >= PROGRESS_BYTES:
                tries, wait_seconds = 0, patience.first_wait_seconds
            tries, tries_in_all = tries + 1, tries_in_all + 1
            if tries > patience.retries:
                raise RemoteFileTroubleError(
                    f"{shown}: {error}, after {tries_in_all} tries; check the address, the store and the network"
                ) from error
            waiting = min(max(wait_seconds, error.wait_seconds), LONGEST_WAIT_SECONDS)
            LOGGER.warning("%s: %s; again in %.0f s", shown, error, waiting)
        stop.sleep(waiting)
        wait_seconds *= 2


def _pulled(produce: Callable[[], Iterator[T]], url: str, patience: Patience, stop: Stop) -> Iterator[T]:
    """What `produce` gives, made on a thread that is left behind when it is silent too long or a stop is asked for.

    No library of the network can be interrupted at every place where it may wait: names, connections, bytes.
    """
    box: _Box[T] = queue.Queue(2)
    left = threading.Event()
    threading.Thread(target=_pump, args=(produce, box, left), daemon=True, name="alexnet-pull").start()
    silence_seconds = patience.silence_seconds * (1 if url.startswith(WEB) else STORE_PATIENCE)
    try:
        while (item := _next(box, silence_seconds, stop)) is not None:
            if isinstance(item, Exception):
                raise item
            yield item[0]
    finally:
        left.set()


def _pump(produce: Callable[[], Iterator[T]], box: "_Box[T]", left: threading.Event) -> None:
    """Put all that `produce` gives, what it raises, and None for its end, until nobody takes it any more."""
    last: Exception | None = TroubleError("the transfer ended without a word")  # of an error that no one thought of
    try:
        for item in produce():
            if not _put(box, (item,), left):
                return
        last = None
    except (TransportError, AlexnetError) as error:
        last = error
    finally:
        _put(box, last, left)


def _put(box: "_Box[T]", item: tuple[T] | Exception | None, left: threading.Event) -> bool:
    while not left.is_set():
        with suppress(queue.Full):
            box.put(item, timeout=POLL_SECONDS)
            return True
    return False


def _next(box: "_Box[T]", silence_seconds: float, stop: Stop) -> tuple[T] | Exception | None:
    deadline = time.monotonic() + silence_seconds
    while True:
        stop.check()
        with suppress(queue.Empty):
            return box.get(timeout=POLL_SECONDS)
        if time.monotonic() > deadline:
            raise TroubleError(f"silent for {silence_seconds:.0f} s")
