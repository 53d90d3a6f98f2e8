"""Part 6: the whole way from archives to the first trained batch, cold and again, and the demo."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import pinned, run
from benchmarks.results import Column, Part
from benchmarks.rounds import ContenderError
from benchmarks.setup import PREP, Setup

TRAIN = [sys.executable, "-m", "alexnet_train.cli", "train"]
SETTINGS = ["--recipe", "demo", "--set", "log_every_steps=1", "--set", "checkpoint_every_steps=1", "--device", "cpu"]
PATIENCE_SECONDS, LOOK_SECONDS = 300.0, 0.02
NOTE = (
    "Seconds of wall time of each command, its start included. Cold: nothing is there, and the archives are not in "
    "the page cache; again: all commands once more over what they left, so that shards and statistics are checked and "
    "the run goes on. The first batch: until the first update of the weights of the `demo` recipe is in "
    "metrics.jsonl. Demo: `python -m alexnet_train.demo`."
)
STEPS = ("shards", "compute-stats", "first trained batch")


def forget(folder: Path) -> None:
    """Have the system drop the files of a folder from its cache."""
    for path in folder.iterdir():
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    run(command, timeout_seconds=900)
    return time.perf_counter() - started


def steps_logged(run_folder: Path) -> int:
    """Lines of single updates in a run's metrics."""
    try:
        lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return sum('"step"' in line and line.endswith("}") for line in lines)


def until_first_batch(shards: Path, run_folder: Path) -> float:
    """Seconds from the start of the trainer until it has logged an update more; then it is told to save and end."""
    before, started = steps_logged(run_folder), time.perf_counter()
    command = [*TRAIN, "--shards", str(shards), *SETTINGS, "--out", str(run_folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while steps_logged(run_folder) <= before:
            if process.poll() is not None or time.perf_counter() - started > PATIENCE_SECONDS:
                words = process.communicate()[1] if process.poll() is not None else "no update within its time"
                raise ContenderError(f"does not run: {words.strip().splitlines()[-1][:200]}")
            time.sleep(LOOK_SECONDS)
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def pass_once(setup: Setup) -> dict[str, float]:
    """All steps over what is there."""
    shards = setup.work / "pipeline" / "shards"
    words = ["--workers", str(len(setup.cpus)), "--json"]
    made = seconds_of([*PREP, "shards", "--source", str(setup.data), "--out", str(shards), *words])
    counted = seconds_of([*PREP, "compute-stats", "--shards", str(shards), *words])
    first = until_first_batch(shards, setup.work / "pipeline" / "run")
    return dict(zip(STEPS, (made, counted, first), strict=True))


def measure(setup: Setup, seconds: float) -> Part:
    """Cold, then again as often as there are rounds, three at most; the demo once cold and once more."""
    values: dict[str, dict[str, list[float]]] = {}
    with pinned(setup.cpus):
        forget(setup.data)
        cold = pass_once(setup)
        again = [pass_once(setup) for _ in range(1 if setup.quick else min(3, setup.rounds))]
        for name in STEPS:
            values[name] = {"cold": [cold[name]], "again": [each[name] for each in again]}
        values["from archives to the first trained batch"] = {
            "cold": [sum(cold.values())],
            "again": [sum(each.values()) for each in again],
        }
        if not setup.quick:
            demo = [sys.executable, "-m", "alexnet_train.demo", str(setup.work / "demo")]
            values["demo, to its ten-view error"] = {"cold": [seconds_of(demo)], "again": [seconds_of(demo)]}
    return Part(
        key="pipeline",
        title="Whole pipeline",
        note=NOTE,
        columns=(Column(key="cold", title="cold s"), Column(key="again", title="again s")),
        ours="",
        values=values,
        commands={
            "shards": "alexnet-prep shards --source DATA --out shards",
            "compute-stats": "alexnet-prep compute-stats --shards shards",
            "first trained batch": f"alexnet-train --shards shards {' '.join(SETTINGS)} --out run",
        },
    )
