"""What other busy processes do to the stream: the part "load" of the table alone, its CPU time and wall time in turns.

Run by `python benchmarks/stream.py --data DIR --load N`. An older state of the stream is measured by that commit's train/
before it on PYTHONPATH: `git worktree add /tmp/before COMMIT; PYTHONPATH=/tmp/before/train python benchmarks/stream.py ...`.
"""

import os
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.results import part_lines
from benchmarks.rows.stream import measure_load
from benchmarks.setup import Setup

FOR_EVER = 1e9


def main(data: Path, busy: int, rounds: int) -> list[str]:
    """The lines of the table, with the load average."""
    with tempfile.TemporaryDirectory() as name:
        cpus = tuple(sorted(os.sched_getaffinity(0)))[:2]
        before = machine.load_average()
        part = measure_load(Setup(data=data, work=Path(name), cpus=cpus, rounds=rounds), FOR_EVER, busy)
    return [f"load average before: {before}, after: {machine.load_average()}", "", *part_lines(part)]
