"""Part 4: a training step on the CPU, ours and the same of stock parts, and its share of the arithmetic peak."""

import json
import sys

from benchmarks.machine import pinned, run
from benchmarks.results import Column, Part
from benchmarks.setup import Setup

PASSES = 3  # forward, gradient of the inputs, gradient of the weights: as many multiply-adds each
NOTE = (
    "Forward, backward and update of batches of {batch} random images, 1000 classes, {threads} threads. The peak is "
    "the rate of a 2048x2048 matrix product of the same run and precision, {peak}. The share counts three times the "
    "multiply-adds of a forward pass, as if conv1's gradient of its input were computed too."
)
COLUMNS = (
    Column(key="rate", title="images/s", better="more"),
    Column(key="share", title="% of the peak"),
)


def measure(setup: Setup, seconds: float) -> Part:
    """One process that takes turns."""
    batch = 8 if setup.quick else 64
    words = ["-m", "benchmarks.stepways", "--batch-size", str(batch), "--rounds", str(setup.rounds)]
    words += ["--seconds", str(seconds), *(["--small"] if setup.quick else [])]
    with pinned(setup.cpus):
        told = json.loads(run([sys.executable, *words], {"OMP_NUM_THREADS": str(len(setup.cpus))}, 600))
    times, costs = told["seconds"], told["multiply_adds"]
    peaks = {half: [told["product"] / value for value in times[f"product, {half}"]] for half in ("float32", "bfloat16")}
    values = {
        name: {
            "rate": [batch / value for value in times[name]],
            "share": [
                100 * PASSES * cost * batch / value / peak
                for value, peak in zip(times[name], peaks["bfloat16" if "bfloat16" in name else "float32"], strict=True)
            ],
        }
        for name, cost in costs.items()
    }
    peak = ", ".join(f"{name}: {2 * max(rates) / 1e9:.0f} GFLOP/s at best" for name, rates in peaks.items())
    return Part(
        key="step",
        title="Training step on the CPU",
        note=NOTE.format(batch=batch, threads=told["threads"], peak=peak),
        columns=COLUMNS,
        ours="ours" if "ours" in values else next(iter(values)),
        values=values,
        commands={"all": f"OMP_NUM_THREADS={len(setup.cpus)} python {' '.join(words)}"},
    )
