"""The arithmetic of a study: means, spreads, and what chance alone would do to a difference; and its table."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet_command.tables import table_lines

EXACT_SEEDS = 14  # up to so many, all 2^n signs are tried


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
    """A network's error minus the reference's, over the seeds that both have: mean, and the chance of as much."""

    mean: float
    seeds: int
    chance: float


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, which is NaN for fewer than two values."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return float(np.mean(values)), spread


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    """`ours` minus `reference`, both by seed, over the seeds that both have (at least one).

    `chance` is of the two-sided permutation test: were the two the same, each seed's difference would be as likely with
    the other sign; it is the share of all signs that give a mean as far from zero or farther. With n seeds no difference
    can have less than 2 / 2**n.
    """
    seeds = sorted(ours.keys() & reference.keys())
    differences = np.array([ours[seed] - reference[seed] for seed in seeds])
    signs = _signs(len(seeds))
    means = np.abs((signs * differences).mean(1))
    # One image more or less is far above the rounding that may tell two equal means apart.
    as_far = means >= abs(differences.mean()) - 1e-12
    return Difference(mean=float(differences.mean()), seeds=len(seeds), chance=float(as_far.mean()))


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
    """The table of networks, in percent: `errors` by name and seed, the first the one that others are compared with."""
    names = [name for name in errors if errors[name]]
    if not names:
        return [f"{title}: no network is trained yet"]
    reference = {seed: run.top1 for seed, run in errors[names[0]].items()}
    rows = []
    for name in names:
        runs = errors[name]
        top1 = {seed: run.top1 for seed, run in runs.items()}
        top5 = [run.top5 for run in runs.values() if run.top5 is not None]
        gaps = [run.gap for run in runs.values() if run.gap is not None]
        difference = paired_difference(top1, reference) if name != names[0] and top1.keys() & reference.keys() else None
        rows.append(
            (
                name,
                str(len(runs)),
                _percent(list(top1.values())),
                _percent(top5) if top5 else "",
                _percent(gaps) if gaps else "",
                f"{100 * difference.mean:+.1f}" if difference else "",
                f"{difference.chance:.2f}" if difference else "",
                published.get(name, ""),
            )
        )
    header = ("network", "seeds", "top-1 %", "top-5 %", "gap %", "difference", "chance", "published")
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return table_lines(
        title, [header[place] for place in kept], [[row[place] for place in kept] for row in rows], width
    )


def _percent(values: Sequence[float]) -> str:
    mean, spread = mean_and_spread(values)
    return f"{100 * mean:.1f}" + (f" ± {100 * spread:.1f}" if math.isfinite(spread) else "")
