"""Bounds of a recipe's numbers: outside them, one line says where, what was found and what was expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_shards.errors import AlexnetError


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Numbers from `low` to `high`, both of them included unless `above` or `below` says otherwise; `odd` ones alone."""

    low: float
    high: float
    above: bool = False
    below: bool = False
    odd: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is one of them; no NaN is."""
        inside = self.low <= value <= self.high
        at_an_end = (self.above and value == self.low) or (self.below and value == self.high)
        return inside and not at_an_end and not (self.odd and value % 2 != 1)

    def __str__(self) -> str:
        low, high = _digits(self.low), _digits(self.high)
        low = f"a number above {low}" if self.above else low
        high = f"below {high}" if self.below else f"at most {high}" if self.above else high
        joint = ", " if self.above or self.below else " to "
        return f"{'an odd number, ' if self.odd else ''}{low}{joint}{high}"


def _digits(value: float) -> str:
    """A whole number by all its digits, another one by the first few."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def check_numbers(section: str, config: object, bounds: Mapping[str, Bounds]) -> None:
    """Raise AlexnetError for the first number of `config` outside its bounds; of tuples and dicts, every number."""
    for name, bound in bounds.items():
        for place, value in _numbers(getattr(config, name)):
            if not bound.holds(value):
                raise AlexnetError(f"{section}.{name}{place} is {shown(value)}; expected {bound}")


def check_choices(section: str, config: object, choices: Mapping[str, Sequence[str]]) -> None:
    """Raise AlexnetError for the first word of `config` that is none of its choices; of tuples, every word."""
    for name, known in choices.items():
        value = getattr(config, name)
        for word in value if isinstance(value, tuple) else (value,):
            if word not in known:
                raise AlexnetError(f"{section}.{name}: {shown(word)}; expected one of {', '.join(known)}")


def shown(value: Any, limit: int = 120) -> str:
    """`value` as Python writes it, in one line of bounded length, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= limit else text[:limit] + "…"


def _numbers(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, tuple):
        return [(f"[{place}]", item) for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        return [(f".{key}", item) for key, item in value.items()]
    return [("", value)]
