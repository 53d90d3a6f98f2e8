"""Part 5: what grows with the number of samples, and how: the exponent of time and of memory."""

import tempfile
import time
from pathlib import Path

from benchmarks import growth
from benchmarks.machine import MemoryWatch, pinned, run
from benchmarks.results import Column, Part
from benchmarks.rounds import Found, exponent, interleave, spread
from benchmarks.setup import PREP, Setup

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 1_261_406), (1_000, 4_000)
VERIFIED, QUICK_VERIFIED = (1, 6, 36), (1, 2)  # times all photos
NOTE = (
    "Seconds of one process each, and MiB above what it began with (verify: all its memory, its command's start "
    "included). The exponents are of straight lines through the logarithms, from 10,000 on where there is more than "
    "one such size: 1 is linear, 2 quadratic, 0 what does not grow."
)


def grown(setup: Setup, size: int, seconds: float) -> Found:
    """Every thing at one size, in turns."""
    with tempfile.TemporaryDirectory(dir=setup.work) as name:
        growth.run("write set", size, Path(name))

        def work(what: str) -> dict[str, float]:
            took, megabytes = growth.run(what, size, Path(name))
            return {"seconds": took, "mib": megabytes}

        return interleave({what: lambda what=what: work(what) for what in growth.THINGS}, min(3, setup.rounds), seconds)  # type: ignore[misc]


def verified(setup: Setup, copies: int) -> tuple[int, float, float]:
    """(samples, seconds, MiB) of verify over real photos."""
    folder, samples = setup.shards(f"verified-{copies}", 1, copies)
    with MemoryWatch() as watch:
        begin = time.perf_counter()
        run([*PREP, "verify", "--shards", str(folder), "--json"])
        took = time.perf_counter() - begin
    return samples, took, watch.peak_mib


def line_of(sizes: list[int], seconds: list[list[float]], mib: list[list[float]]) -> dict[str, list[float] | str]:
    """A row: figures at the largest size, and exponents."""
    large = [place for place, size in enumerate(sizes) if size >= 10_000]
    used = large if len(large) > 1 else list(range(len(sizes)))
    medians = [[spread(each[place]).median for place in used] for each in (seconds, mib)]
    powers = [exponent([sizes[place] for place in used], found) for found in medians]
    row: dict[str, list[float] | str] = {
        f"at {place}": f"{spread(seconds[place]).median:.3g} s, {spread(mib[place]).median:.3g} MiB"
        for place in range(len(sizes))
    }
    return {**row, "sizes": ", ".join(f"{size:,}" for size in sizes), "time": [powers[0]], "memory": [powers[1]]}


def measure(setup: Setup, seconds: float) -> Part:
    """All sizes, the smallest first."""
    sizes = list(QUICK_SIZES if setup.quick else SIZES)
    with pinned(setup.cpus[:1]):
        found = [grown(setup, size, seconds / len(sizes)) for size in sizes]
        checked = [verified(setup, copies) for copies in (QUICK_VERIFIED if setup.quick else VERIFIED)]
    values = {
        what: line_of(
            sizes, [each.column("seconds")[what] for each in found], [each.column("mib")[what] for each in found]
        )
        for what in growth.THINGS
    }
    values["verify"] = line_of(
        [size for size, _, _ in checked], [[took] for _, took, _ in checked], [[mib] for _, _, mib in checked]
    )
    columns = [Column(key=f"at {place}", title=f"{place + 1}. size") for place in range(len(sizes))]
    ends = [
        Column(key="time", title="exponent of time"),
        Column(key="memory", title="exponent of memory"),
        Column(key="sizes", title="sizes"),
    ]
    return Part(
        key="growth",
        title="Growth",
        note=NOTE,
        columns=(*columns, *ends),
        ours="",
        values=values,
        commands={
            "index, plan, open, epoch table": f"python benchmarks/growth.py --rows {' '.join(map(str, sizes))}",
            "verify": "alexnet-prep verify --shards SHARDS --json",
        },
    )
