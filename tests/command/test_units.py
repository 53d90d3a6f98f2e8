"""Numbers as people read them."""

import pytest

from alexnet_command.units import duration_text, share_text, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (45e9, "45.0 GB"),
     (999_999_999, "1.0 GB"), (2e18, "2000 PB")],
)  # fmt: skip
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 s"), (1e-6, "0.00 s"), (0.996, "1.0 s"),
     (0.421, "0.42 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"),
     (18420, "5 h 07 min"), (532800, "6 d 04 h"), (float("inf"), "unknown")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_shares() -> None:
    assert [share_text(value) for value in (0.375, 0.0, 1.0, float("nan"))] == ["37.5%", "0.0%", "100.0%", "no number"]
