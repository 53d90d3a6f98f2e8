"""Whether a signal ends the process or unwinds it; real signals to real processes are in test_entry.py."""

import signal

import pytest

from alexnet_command.signals import SIGNALS, Signals, Terminated, loading, working


def test_loading_and_working_nest() -> None:
    assert SIGNALS.loading
    with working():
        assert not SIGNALS.loading
        with loading():
            assert SIGNALS.loading
        assert not SIGNALS.loading
    assert SIGNALS.loading


def test_at_work_a_signal_is_an_exception() -> None:
    signals = Signals()
    signals.loading = False
    with pytest.raises(KeyboardInterrupt):
        signals._on_leave(signal.SIGINT, None)
    with pytest.raises(Terminated) as found:
        signals._on_leave(signal.SIGTERM, None)
    assert found.value.code == 143
