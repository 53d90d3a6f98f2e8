"""One try after another: how long each may be silent, how long is waited between them, and what ends them.

What a try may end with (alexnet_remote.outcome) becomes RemoteFileMissingError, RemoteFileDeniedError,
RemoteFileTroubleError (after all tries) or LocalTroubleError; each is one line with address, cause and what to do.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from alexnet_remote.outcome import (
    DeniedError,
    LocalError,
    LocalTroubleError,
    MissingError,
    TooMuchError,
    TransportError,
    TroubleError,
)
from alexnet_remote.stop import POLL_SECONDS, Stop
from alexnet_shards.address import WEB
from alexnet_shards.errors import AlexnetError
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


@dataclass(kw_only=True)
class Tries:
    """The tries at the file at `url`; `use` is what it is wanted for, as messages have it."""

    url: str
    patience: Patience
    stop: Stop
    use: str = "fetch"
    _since_progress: int = field(default=0, init=False)
    _in_all: int = field(default=0, init=False)

    def failed(self, error: TransportError, progress_bytes: int = 0) -> None:
        """Wait for the next try after one that ended with `error` and brought so many bytes; raises as the module says."""
        shown = public_address(self.url)
        match error:
            case MissingError():
                raise RemoteFileMissingError(f"{shown}: not there ({error})", error.hidden) from error
            case DeniedError():
                words = "may read there" if self.use == "fetch" else "may write there"
                raise RemoteFileDeniedError(f"{shown}: denied ({error}); check the address, and who {words}") from error
            case TooMuchError():
                raise RemoteFileTroubleError(
                    f"{shown}: {error}: no such file is so large; check the address"
                ) from error
            case LocalError():
                raise LocalTroubleError(
                    f"{shown}: this machine cannot {self.use} it ({error}); {ENVIRONMENT}"
                ) from error
        if progress_bytes >= PROGRESS_BYTES:
            self._since_progress = 0
        wait_seconds = self.patience.first_wait_seconds * 2**self._since_progress
        self._since_progress, self._in_all = self._since_progress + 1, self._in_all + 1
        if self._since_progress > self.patience.retries:
            raise RemoteFileTroubleError(
                f"{shown}: {error}, after {self._in_all} tries; check the address, the store and the network"
            ) from error
        asked_seconds = error.wait_seconds if isinstance(error, TroubleError) else 0.0
        waiting = min(max(wait_seconds, asked_seconds), LONGEST_WAIT_SECONDS)
        LOGGER.warning("%s: %s; again in %.0f s", shown, error, waiting)
        self.stop.sleep(waiting)


def patiently(tries: Tries, attempt: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """The result of the first `attempt` that succeeds; `progress` counts the bytes that all of them have brought."""
    while True:
        before = progress()
        try:
            return attempt()
        except TransportError as error:
            tries.failed(error, progress() - before)


def pulled(produce: Callable[[], Iterator[T]], url: str, patience: Patience, stop: Stop) -> Iterator[T]:
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
