"""Recipes of earlier versions: a key that one lacks takes the value that reproduces what that version did."""

from collections.abc import Mapping
from typing import Any


def completed(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """`table` with the keys that recipes did not always have; unchanged where it has them or is no recipe."""
    given = table.get("input")
    if isinstance(given, Mapping) and "divide_by" in given and "noise_divide_by" not in given:
        return {**table, "input": _scaled_with_the_noise(given)}
    return table


def _scaled_with_the_noise(given: Mapping[str, Any]) -> dict[str, Any]:
    """An input section whose `divide_by` held in the phases with colour noise alone; in the others nothing was divided.

    It held there for noise = "off" as well, which is the same as noise of size 0.
    """
    changed = {"noise_divide_by": given["divide_by"], "divide_by": 1.0}
    if given.get("noise") == "off" and given["divide_by"] != 1:
        changed |= {"noise": "released", "noise_scale": 0.0}
    return {**given, **changed}
