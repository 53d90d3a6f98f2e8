"""Tries: how often, how long between them, and how they end."""

import time
from collections.abc import Iterator

import pytest

from alexnet_remote.outcome import DeniedError, LocalTroubleError, MissingError, TransportError, TroubleError
from alexnet_remote.outcome import LocalError as OutOfSomething
from alexnet_remote.stop import Stop
from alexnet_remote.tries import (
    PROGRESS_BYTES,
    Patience,
    RemoteFileDeniedError,
    RemoteFileMissingError,
    RemoteFileTroubleError,
    Tries,
    patiently,
    pulled,
)
from alexnet_shards.errors import AlexnetError

URL = "https://user:word@host/a.tar"


class Clock(Stop):
    """Takes waits down instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_waits_double_until_something_comes(clock: Clock) -> None:
    tries = Tries(url=URL, patience=Patience(), stop=clock)
    for brought in (0, 0, 0, PROGRESS_BYTES, 0):
        tries.failed(TroubleError("503"), brought)
    tries.failed(TroubleError("429", wait_seconds=60))
    assert clock.waits == [1, 2, 4, 1, 2, 60]
    with pytest.raises(
        RemoteFileTroubleError, match=r"^https://\*\*\*@host/a.tar: 503, after 8 tries; check the address"
    ):
        for _ in range(3):
            tries.failed(TroubleError("503"))


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (MissingError("404"), RemoteFileMissingError, "not there"),
        (DeniedError("401"), RemoteFileDeniedError, "who may write there"),
        (OutOfSomething("ENFILE"), LocalTroubleError, "this machine cannot upload it"),
    ],
)
def test_what_ends_at_once(clock: Clock, error: TransportError, raised: type[AlexnetError], words: str) -> None:
    with pytest.raises(raised, match=words):
        Tries(url=URL, patience=Patience(), stop=clock, use="upload").failed(error)
    assert not clock.waits


def test_the_first_that_succeeds(clock: Clock) -> None:
    answers = iter([TroubleError("reset"), TroubleError("reset"), 7])

    def attempt() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(Tries(url=URL, patience=Patience(), stop=clock), attempt) == 7
    assert clock.waits == [1, 2]


def test_what_is_pulled_ends_as_its_source_does(clock: Clock) -> None:
    assert list(pulled(lambda: iter([1, 2, 3]), URL, Patience(), clock)) == [1, 2, 3]


def test_silence_is_left(clock: Clock) -> None:
    def silent() -> Iterator[int]:
        yield 1
        time.sleep(3)

    with pytest.raises(TroubleError, match=r"silent for 0 s"):
        list(pulled(silent, URL, Patience(silence_seconds=0.2), Stop()))
