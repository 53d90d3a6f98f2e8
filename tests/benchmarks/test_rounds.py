"""Medians, ratios round by round, exponents, and contenders that take turns."""

import math
from collections.abc import Callable

import pytest

from benchmarks.rounds import ContenderError, Figures, exponent, interleave, ratios, spread


def test_spread_is_median_least_and_most() -> None:
    found = spread([3.0, 1.0, 8.0, 2.0])
    assert (found.median, found.least, found.most) == (2.5, 1.0, 8.0)


def test_a_slow_round_cancels_in_its_ratio() -> None:
    ours, theirs = [1.0, 10.0, 1.0], [2.0, 20.0, 2.2]
    found = ratios(theirs, ours)
    assert (found.median, found.least) == (2.0, 2.0)
    assert found.most == pytest.approx(2.2)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power(power: float) -> None:
    sizes = [1e3, 1e4, 1e5, 1.26e6]
    assert exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power, abs=1e-9)


def test_a_quadratic_shows_behind_a_constant() -> None:
    """A start of a second hides it at small sizes, not in the exponent of the large ones."""
    sizes = [1e4, 1e5, 1e6]
    assert exponent(sizes, [1 + 1e-10 * size**2 for size in sizes]) > 0.9
    assert exponent(sizes[1:], [1 + 1e-10 * size**2 for size in sizes[1:]]) > 1.6


def test_no_exponent_of_one_size() -> None:
    assert math.isnan(exponent([5.0, 5.0], [1.0, 2.0]))
    assert math.isnan(exponent([5.0, 6.0], [0.0, 2.0]))  # no logarithm of nothing


def test_each_round_begins_with_the_next() -> None:
    order: list[str] = []

    def work(name: str) -> Callable[[], Figures]:
        def run() -> Figures:
            order.append(name)
            return {"seconds": float(len(order))}

        return run

    found = interleave({name: work(name) for name in "abc"}, 3, 1e9)
    assert "".join(order) == "abcbcacab"
    assert found.column("seconds") == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}
    assert found.reasons == {}


def test_one_that_fails_is_left_out_with_its_reason() -> None:
    calls: list[int] = []

    def bad() -> Figures:
        calls.append(1)
        raise ContenderError("no libavcodec")

    found = interleave({"bad": bad, "good": lambda: {"x": 1.0}}, 3, 1e9)
    assert found.reasons == {"bad": "no libavcodec"}
    assert found.figures == {"good": [{"x": 1.0}] * 3}
    assert len(calls) == 1


def test_the_time_ends_rounds_but_never_the_first() -> None:
    found = interleave({"a": lambda: {"x": 1.0}}, 5, 0.0)
    assert found.column("x") == {"a": [1.0]}


def test_a_figure_that_only_some_have() -> None:
    found = interleave({"a": lambda: {"x": 1.0}, "b": lambda: {"y": 2.0}}, 1, 1.0)
    assert found.column("x") == {"a": [1.0]}
