"""A study's arithmetic against counting by hand and against scipy's permutation test."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp, ttest_rel

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


@pytest.mark.parametrize("seeds", [2, 3, 5, 16])
def test_the_interval_is_scipys(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    ours, reference = rng.normal(0.20, 0.02, seeds), rng.normal(0.18, 0.02, seeds)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(reference)))
    low, high = ttest_rel(ours, reference).confidence_interval(0.95)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_many_seeds_is_wider_not_narrower() -> None:
    """The table of Student's values ends with 16 seeds; one for all beyond is on the safe side."""
    rng = np.random.default_rng(7)
    for seeds in (17, 40, 400):
        values = rng.normal(0.0, 1.0, seeds)
        low, high = ttest_1samp(values, 0.0).confidence_interval(0.95)
        margin = paired_difference(dict(enumerate(values)), dict.fromkeys(range(seeds), 0.0)).margin
        assert 1.0 <= 2 * margin / (high - low) < 1.09


def test_one_seed_has_no_interval() -> None:
    assert paired_difference({0: 0.5}, {0: 0.25}).margin == math.inf


def test_the_tables() -> None:
    def run(top1: float, seen: float | None = 0.1) -> RunErrors:
        return RunErrors(top1=top1, top5=None, centre=top1 + 0.02, seen=seen)

    errors = {"small": {0: run(0.2), 1: run(0.22)}, "other": {0: run(0.25), 1: run(0.25)}, "none": {}}
    lines = study_lines("Parts", errors, {"small": "37.5"}, 120)
    assert [line.split() for line in lines if "networks" not in line] == [
        ["Parts"],
        ["network", "seeds", "top-1", "%", "published", "difference", "95", "%", "chance"],
        ["small", "2", "21.0", "±", "1.4", "37.5"],
        ["other", "2", "25.0", "±", "0.0", "+4.0", "-8.7", "to", "+16.7", "0.50"],
        [],
        ["network", "seeds", "gap", "%", "not", "seen", "%", "seen", "%", "difference", "95", "%", "chance"],
        ["small", "2", "13.0", "±", "1.4", "23.0", "±", "1.4", "10.0", "±", "0.0"],
        [
            "other",
            "2",
            "17.0",
            "±",
            "0.0",
            "27.0",
            "±",
            "0.0",
            "10.0",
            "±",
            "0.0",
            "+4.0",
            "-8.7",
            "to",
            "+16.7",
            "0.50",
        ],
    ]
    hardly = {"small": {0: run(0.2)}, "other": {0: run(0.1999)}}
    assert study_lines("Parts", hardly, {}, 120)[3].split() == ["other", "1", "20.0", "+0.0"]
    assert study_lines("Parts", {"none": {}}, {}) == ["Parts: no network is trained yet"]
    averaged = {"5 CNNs": {0: run(0.2, None)}}
    assert [line.split() for line in study_lines("Averaged", averaged, {}, 120)] == [
        ["Averaged"],
        ["network", "seeds", "top-1", "%"],
        ["5", "CNNs", "1", "20.0"],
    ]
