"""Signals become requests, and handlers go back to what they were."""

import os
import signal
import time
from types import SimpleNamespace

import pytest

from alexnet_stream import Stop
from alexnet_train.requests import Impatient, Requests, Stopped


def test_requests() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with Requests() as requests:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (requests.save, requests.leave) == (True, 0)
        os.kill(os.getpid(), signal.SIGINT)
        assert requests.leave == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_what_a_launcher_passes_on_is_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr("alexnet_train.requests.time", SimpleNamespace(monotonic=lambda: now_s))
    with Requests(same_request_seconds=0.3) as requests:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert requests.leave == signal.SIGINT
        now_s += 0.29
        os.kill(os.getpid(), signal.SIGINT)
        now_s += 0.02
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_stopped() -> None:
    stopped = Stopped(signal.SIGTERM, 17)
    assert stopped.status == 143
    assert str(stopped) == "stopped by SIGTERM at step 17; start again to go on"


def test_who_waits_for_data_does_not_wait_for_ever() -> None:
    """Asked to leave before or while data is waited for, and none comes; a step that computes is not interrupted."""
    stop = Stop()
    with Requests(0.05, stop) as requests:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # a step
        with pytest.raises(Impatient), requests.waiting():
            time.sleep(60)
        assert requests.leave == signal.SIGTERM
        assert stop.requested
    with Requests(patience_seconds=0.05) as requests, pytest.raises(Impatient), requests.waiting():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
