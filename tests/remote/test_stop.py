"""A stop ends sleeps, of all that share it, and crosses to other processes as it is."""

import pickle
import threading

import pytest

from alexnet_remote.stop import Stop, StoppedError


def test_sleeps_end() -> None:
    parent = Stop()
    child, ended = Stop(parent), threading.Event()

    def sleep() -> None:
        with pytest.raises(StoppedError):
            child.sleep(300)
        ended.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    parent.request()
    assert ended.wait(60)
    thread.join()
    with pytest.raises(StoppedError):
        child.check()


def test_a_child_does_not_stop_its_parent() -> None:
    parent = Stop()
    Stop(parent).request()
    assert not parent.requested
    parent.sleep(0.01)


def test_copies_keep_what_was_asked() -> None:
    stop = Stop(Stop())
    first, second = pickle.loads(pickle.dumps((stop, stop)))
    assert not first.requested
    first.request()
    assert second.requested
    assert not stop.requested
