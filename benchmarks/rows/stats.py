"""Part 3: mean and covariance of the pixels: seconds, and the error against exact arithmetic."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from alexnet_shards.shardset import ShardSet, open_shards
from benchmarks.machine import pinned, run
from benchmarks.results import Column, Part
from benchmarks.rounds import Figures, interleave
from benchmarks.rows.prep import short
from benchmarks.setup import Setup
from benchmarks.stream import PEERS, Contender

WAYS = {
    "ours": Contender(name="ours", script="stats_ways.py", settings={"WAY": "ours"}),
    "numpy float64, two passes": Contender(name="", script="stats_ways.py", settings={"WAY": "two pass"}),
    "scikit-learn IncrementalPCA": Contender(name="", script="stats_ways.py", venv="sklearn", settings={"WAY": "pca"}),
    "averages of per-image means": Contender(name="", script="stats_ways.py", settings={"WAY": "averages"}),
}
NOTE = (
    "Mean and covariance of all RGB pixels of {images} samples, one core. Errors are relative, against sums in whole "
    "numbers: of the mean, and of the covariance by its largest entry. Averages of per-image covariances leave out "
    "what differs between images."
)
COLUMNS = (
    Column(key="cpu", title="CPU us an image", better="less"),
    Column(key="mean", title="error of the mean"),
    Column(key="covariance", title="error of the covariance"),
)


def exact(shards: ShardSet) -> tuple[list[Any], list[Any]]:
    """Mean and covariance of all pixels, as Fractions."""
    sums, products, count = [0] * 3, [[0] * 3 for _ in range(3)], 0
    for row in shards.rows:
        with Path(shards.paths[row["shard"]]).open("rb") as file:
            file.seek(int(row["offset"]))
            pixels = simplejpeg.decode_jpeg(file.read(int(row["size"])), "RGB").reshape(-1, 3).astype(np.int64)
        count += len(pixels)
        sums = [have + int(more) for have, more in zip(sums, pixels.sum(0), strict=True)]
        moments = pixels.T @ pixels
        products = [[products[i][j] + int(moments[i, j]) for j in range(3)] for i in range(3)]
    mean = [Fraction(total, count) for total in sums]
    return mean, [[Fraction(products[i][j], count) - mean[i] * mean[j] for j in range(3)] for i in range(3)]


def error(found: npt.ArrayLike, wanted: list[Any]) -> float:
    """The largest difference by the largest value."""
    flat = [Fraction(float(value)) for value in np.ravel(found)]
    true = [value for part in wanted for value in (part if isinstance(part, list) else [part])]
    worst = max(abs(one - other) for one, other in zip(flat, true, strict=True))
    return float(worst / max(abs(value) for value in true))


def measure(setup: Setup, seconds: float) -> Part:
    """All ways in turns; errors of the first round."""
    folder, images = setup.shards("once-each", 1, 1)
    wanted = exact(open_shards([f"{folder}/train-*.tar"]))
    chosen = {name: one for name, one in WAYS.items() if setup.peers or one.venv is None}
    missing = {name: one.missing() for name, one in chosen.items() if one.missing()}
    command = {
        name: [str(one.python), str(PEERS / one.script), str(folder)]
        for name, one in chosen.items()
        if name not in missing
    }

    def one_round(name: str) -> Callable[[], Figures]:
        def work() -> Figures:
            found = json.loads(run(command[name], chosen[name].settings).splitlines()[-1])
            errors = {key: error(found[key], truth) for key, truth in zip(("mean", "covariance"), wanted, strict=True)}
            return {"cpu": found["cpu_seconds"] / images * 1e6, **errors}

        return work

    with pinned(setup.cpus[:1]):
        found = interleave({name: one_round(name) for name in command}, setup.rounds, seconds)
    return Part(
        key="stats",
        title="Statistics",
        note=NOTE.format(images=images),
        columns=COLUMNS,
        ours="ours",
        values={
            name: {column.key: [figures[column.key] for figures in rounds] for column in COLUMNS}
            for name, rounds in found.figures.items()
        },
        reasons={**missing, **found.reasons},
        commands={
            name: " ".join([f"WAY='{chosen[name].settings['WAY']}'", *short(words)]) for name, words in command.items()
        },
    )
