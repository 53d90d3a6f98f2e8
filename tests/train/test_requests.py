"""Signals become requests, and handlers go back to what they were."""

import os
import signal

import pytest

from alexnet_train.requests import Requests, Stopped


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


def test_stopped() -> None:
    stopped = Stopped(signal.SIGTERM, 17)
    assert stopped.status == 143
    assert str(stopped) == "stopped by SIGTERM at step 17; start again to go on"
