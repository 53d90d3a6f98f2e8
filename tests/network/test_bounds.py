"""Bounds: what they hold, what they say, and that values are shown in one short line whatever they are."""

from dataclasses import dataclass

import pytest

from alexnet_network.bounds import Bounds, check_choices, check_numbers, shown
from alexnet_shards.errors import AlexnetError

NAN = float("nan")


@dataclass
class Numbers:
    one: float = 1.0
    many: tuple[float, ...] = (1.0,)
    word: str = "a"


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Bounds(low=0, high=2), (0, 2, 0.5, -0.0), (-1e-300, 2.1, NAN, float("inf"), 1 << 2000)),
        (Bounds(low=0, high=2, above=True), (1e-300, 2), (0, -0.0, NAN)),
        (Bounds(low=0, high=1, below=True), (0, 0.999), (1, 1.0, NAN)),
        (Bounds(low=1, high=9, odd=True), (1, 3, 9), (2, 0, 11)),
    ],
)
def test_holds(bounds: Bounds, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    assert all(bounds.holds(value) for value in inside)
    assert not any(bounds.holds(value) for value in outside)


def test_words() -> None:
    assert str(Bounds(low=1, high=65_536)) == "1 to 65536"
    assert str(Bounds(low=0, high=(1 << 63) - 1)) == "0 to 9223372036854775807"
    assert str(Bounds(low=0, high=1e30)) == "0 to 1e+30"
    assert str(Bounds(low=0, high=64, above=True)) == "a number above 0, at most 64"
    assert str(Bounds(low=0, high=1, below=True)) == "0, below 1"
    assert str(Bounds(low=1, high=255, odd=True)) == "an odd number, 1 to 255"


def test_the_line_names_the_place() -> None:
    bounds = {"one": Bounds(low=0, high=2), "many": Bounds(low=0, high=2)}
    check_numbers("here", Numbers(), bounds)
    with pytest.raises(AlexnetError, match=r"^here\.many\[2\] is nan; expected 0 to 2$"):
        check_numbers("here", Numbers(many=(1, 2, NAN)), bounds)
    with pytest.raises(AlexnetError, match=r"^here\.word: 'c\\n'; expected one of a, b$"):
        check_choices("here", Numbers(word="c\n"), {"word": ("a", "b")})


def test_shown_is_one_short_line() -> None:
    assert shown("a\n\x1b[31m") == r"'a\n\x1b[31m'"
    assert len(shown("x" * 10_000)) < 200
    assert shown(16**20_000) == "a number of thousands of digits"
