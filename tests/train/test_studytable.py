"""A study's arithmetic against counting by hand and against scipy's permutation test."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from alexnet_train.studytable import RunErrors, mean_and_spread, paired_difference, study_lines


def test_three_seeds_can_never_say_more_than_a_quarter() -> None:
    """Whatever the size: 2 of 8 signs are as far."""
    difference = paired_difference({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.1, 1: 0.1, 2: 0.1})
    assert (difference.seeds, difference.chance) == (3, 0.25)
    assert math.isclose(difference.mean, 0.7)


@pytest.mark.parametrize("seeds", [2, 5, 9])
def test_the_chance_is_scipys(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    ours, reference = rng.normal(0.20, 0.02, seeds), rng.normal(0.18, 0.02, seeds)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(reference)))
    theirs = permutation_test((ours, reference), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples")
    assert math.isclose(found.chance, float(theirs.pvalue), abs_tol=1e-12)


def test_many_seeds_are_sampled() -> None:
    """Of 30 differences with one sign and much spread no sign in 16,384 is as far, but the one observed."""
    ours = {seed: 0.2 + 0.001 * seed for seed in range(30)}
    assert paired_difference(ours, dict.fromkeys(ours, 0.1)).chance == 1 / 16384


def test_only_common_seeds_are_compared() -> None:
    assert paired_difference({0: 0.5, 7: 0.9}, {0: 0.25, 1: 0.1}).mean == 0.25


def test_equal_networks_differ_by_chance_alone() -> None:
    assert paired_difference({0: 0.5, 1: 0.25}, {0: 0.5, 1: 0.25}).chance == 1.0


def test_one_run_has_no_spread() -> None:
    assert mean_and_spread([0.25])[0] == 0.25
    assert math.isnan(mean_and_spread([0.25])[1])
    assert mean_and_spread([0.1, 0.3]) == pytest.approx((0.2, math.sqrt(0.02)))


def test_the_table() -> None:
    def run(top1: float) -> RunErrors:
        return RunErrors(top1=top1, top5=None, centre=top1 + 0.02, seen=0.1)

    errors = {"small": {0: run(0.2), 1: run(0.22)}, "other": {0: run(0.25), 1: run(0.25)}, "none": {}}
    lines = study_lines("Parts", errors, {"small": "37.5"}, 100)
    assert [line.split() for line in lines] == [
        ["Parts"],
        ["network", "seeds", "top-1", "%", "gap", "%", "difference", "chance", "published"],
        ["small", "2", "21.0", "±", "1.4", "13.0", "±", "1.4", "37.5"],
        ["other", "2", "25.0", "±", "0.0", "17.0", "±", "0.0", "+4.0", "0.50"],
    ]
    assert study_lines("Parts", {"none": {}}, {}) == ["Parts: no network is trained yet"]
