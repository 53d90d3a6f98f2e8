"""The arithmetic of a study: means, spreads, and what chance alone would do to a difference; and its tables."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet_command.tables import table_lines

EXACT_SEEDS = 14  # up to so many, all 2^n signs are tried
# Student's t for 1, 2, … degrees of freedom: 95 % of the values lie between minus and plus this.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
T_95_OF_MORE = 2.131  # wider than need be for more seeds than that, by 9 % at most


@dataclass(frozen=True, kw_only=True)
class RunErrors:
    """Errors of one trained network as fractions of images: on the test set over the study's views (`top1`, `top5`,
    which is None with few classes), and with the centre view on the test (`centre`) and the training images (`seen`, which
    an ensemble of several training sets has not)."""

    top1: float
    top5: float | None
    centre: float
    seen: float | None

    @property
    def gap(self) -> float | None:
        """How much worse the network is on images that it was not trained on."""
        return None if self.seen is None else self.centre - self.seen


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of a network minus the reference's, over the seeds that both have: mean, and the chance of as much.

    `margin`: the mean of ever more seeds lies within mean ± margin in 95 % of studies like this one, as far as
    differences spread like a bell; infinite for one seed.
    """

    mean: float
    seeds: int
    chance: float
    margin: float


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, which is NaN for fewer than two values."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return float(np.mean(values)), spread


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    """`ours` minus `reference`, both by seed, over the seeds that both have (at least one).

    `chance` is of the two-sided permutation test: were the two the same, each seed's difference would be as likely with
    the other sign; it is the share of all signs that give a mean as far from zero or farther. With n seeds no difference
    can have less than 2 / 2**n. `margin` is Student's of paired differences.
    """
    seeds = sorted(ours.keys() & reference.keys())
    differences = np.array([ours[seed] - reference[seed] for seed in seeds])
    signs = _signs(len(seeds))
    means = np.abs((signs * differences).mean(1))
    # One image more or less is far above the rounding that may tell two equal means apart.
    as_far = means >= abs(differences.mean()) - 1e-12
    return Difference(
        mean=float(differences.mean()), seeds=len(seeds), chance=float(as_far.mean()), margin=_margin(differences)
    )


def _margin(differences: npt.NDArray[np.float64]) -> float:
    count = len(differences)
    if count < 2:
        return math.inf
    factor = T_95[count - 2] if count - 2 < len(T_95) else T_95_OF_MORE
    return float(factor * differences.std(ddof=1) / math.sqrt(count))


def _signs(count: int) -> npt.NDArray[np.float64]:
    """(K, count) of -1 and 1: all of them, or of many seeds a fixed sample that holds the one observed."""
    if count <= EXACT_SEEDS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    coins = np.random.Generator(np.random.Philox(count)).integers(0, 2, (1 << EXACT_SEEDS, count))
    drawn = coins.astype(np.float64) * 2 - 1
    drawn[0] = 1.0
    return drawn


def study_lines(
    title: str, errors: Mapping[str, Mapping[int, RunErrors]], published: Mapping[str, str], width: int | None = None
) -> list[str]:
    """The tables of networks, in percent: their errors, and the gap between images not seen and seen in training.

    `errors` by name and seed, the first the one that others are compared with.
    """
    runs = {name: errors[name] for name in errors if errors[name]}
    if not runs:
        return [f"{title}: no network is trained yet"]
    tops = {name: [run.top5 for run in runs[name].values() if run.top5 is not None] for name in runs}
    columns = {
        "top-5 %": {name: _percent(values) for name, values in tops.items() if values},
        "published": {name: published[name] for name in runs if published.get(name)},
    }
    lines = _compared(title, runs, ("top-1 %", lambda run: run.top1), columns, width)
    if any(run.gap is not None for one in runs.values() for run in one.values()):
        columns = {
            "not seen %": {name: _percent([run.centre for run in one.values()]) for name, one in runs.items()},
            "seen %": {
                name: _percent([run.seen for run in one.values() if run.seen is not None]) for name, one in runs.items()
            },
        }
        heading = "the same networks, centre view: images that were not in training and that were"
        lines += ["", *_compared(heading, runs, ("gap %", lambda run: run.gap), columns, width)]
    return lines


def _compared(
    title: str,
    errors: Mapping[str, Mapping[int, RunErrors]],
    figure: tuple[str, Callable[[RunErrors], float | None]],
    columns: Mapping[str, Mapping[str, str]],
    width: int | None,
) -> list[str]:
    """A table of one figure, its differences from the first network, and further `columns` of cells by name."""
    heading, of_run = figure
    values = {
        name: {seed: value for seed, run in runs.items() if (value := of_run(run)) is not None}
        for name, runs in errors.items()
    }
    first = next(iter(values))
    rows = []
    for name, ours in values.items():
        common = name != first and ours.keys() & values[first].keys()
        difference = paired_difference(ours, values[first]) if common else None
        cells = [
            name,
            str(len(errors[name])),
            _percent(list(ours.values())),
            *(cells.get(name, "") for cells in columns.values()),
        ]
        rows.append([*cells, *(_difference_cells(difference) if difference else ("", "", ""))])
    header = ["network", "seeds", heading, *columns, "difference", "95 %", "chance"]
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return table_lines(
        title, [header[place] for place in kept], [[row[place] for place in kept] for row in rows], width
    )


def _difference_cells(difference: Difference) -> tuple[str, str, str]:
    mean, margin = 100 * difference.mean, 100 * difference.margin
    if difference.seeds < 2:
        return _signed(mean), "", ""
    return _signed(mean), f"{_signed(mean - margin)} to {_signed(mean + margin)}", f"{difference.chance:.2f}"


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # no -0.0


def _percent(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, spread = mean_and_spread(values)
    return f"{100 * mean:.1f}" + (f" ± {100 * spread:.1f}" if math.isfinite(spread) else "")
