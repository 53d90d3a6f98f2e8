"""Contenders that take turns, and what their rounds say together: medians, least and most, ratios round by round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Figures = Mapping[str, float]


class ContenderError(Exception):
    """A contender that does not run; the text is its last word."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The middle of some figures, the least and the most of them."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the rounds gave: figures of each round by contender, and why others have none."""

    figures: dict[str, list[Figures]]
    reasons: dict[str, str]

    def column(self, name: str) -> dict[str, list[float]]:
        """One figure of every contender that has it, round by round."""
        columns = {who: [float(each[name]) for each in rounds if name in each] for who, rounds in self.figures.items()}
        return {who: values for who, values in columns.items() if values}


def spread(values: Sequence[float]) -> Spread:
    """Of one figure or more."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """Of `theirs` to `ours`, each pair being of one round, so that what slows a whole round cancels."""
    return spread([their / our for their, our in zip(theirs, ours, strict=False)])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """p of the line value = c * size ** p through the logarithms: 1 is linear, 2 quadratic; NaN of fewer than two sizes."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if size > 0 and value > 0]
    if len({size for size, _ in points}) < 2:
        return float("nan")
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def interleave(works: Mapping[str, Callable[[], Figures]], rounds: int, seconds: float) -> Found:
    """Every work once a round, each round beginning with the next one, until `rounds` are done or the next would end
    after `seconds`; one is always done. A work that raises ContenderError is left out from then on."""
    found: dict[str, list[Figures]] = {name: [] for name in works}
    reasons: dict[str, str] = {}
    began = time.monotonic()
    for number in range(rounds):
        if number and (time.monotonic() - began) * (number + 1) / number > seconds:
            break
        names = [name for name in works if name not in reasons]
        first = number % max(1, len(names))
        for name in (*names[first:], *names[:first]):
            try:
                found[name].append(works[name]())
            except ContenderError as error:
                reasons[name] = str(error)
                del found[name]
    return Found(figures=found, reasons=reasons)
