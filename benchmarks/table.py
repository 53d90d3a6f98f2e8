"""One table: every part beside what people would use instead, measured in one go on the same photos, kept with its date.

    python -m benchmarks.table --data DIR        # a folder with official archives; without it, the drawn sample
    python -m benchmarks.table --quick           # does it run: few photos, no peers, a minute

Peers run in virtual environments of their own (`make bench-peers`), all on the same cores, each first once to warm up.
"""

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from alexnet_pixels.decoder import decoder_facts
from benchmarks import machine
from benchmarks.results import Part, Result
from benchmarks.rounds import ContenderError
from benchmarks.rows import growth, pipeline, prep, stats, step, stream
from benchmarks.setup import Setup, draw
from benchmarks.stream import PEERS

RESULTS = Path(__file__).parent / "results"
# Each part, and its share of the time for rounds; what is done once takes about as long again.
PARTS: dict[str, tuple[Callable[[Setup, float], Part], float]] = {
    "prep": (prep.measure, 0.2),
    "stream": (stream.measure, 0.35),
    "load": (stream.measure_load, 0.1),
    "stats": (stats.measure, 0.06),
    "step": (step.measure, 0.1),
    "growth": (growth.measure, 0.06),
    "pipeline": (pipeline.measure, 0.18),
}
MOST_CPUS = 2


def main(words: list[str]) -> int:
    """Measure, print, keep."""
    options = parse(words)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data = draw(work / "drawn", options.quick) if options.data is None else official(options.data)
        cpus = tuple(sorted(os.sched_getaffinity(0)))[:MOST_CPUS]
        setup = Setup(
            data=data, work=work, cpus=cpus, rounds=1 if options.quick else options.rounds, quick=options.quick,
            peers=not options.quick,
        )  # fmt: skip
        result = measure(setup, options, words).without({str(work): "WORK", **given(options.data)})
    day = datetime.date.today().isoformat()
    print("\n".join(result.lines()))
    if options.out is not None:
        print(f"kept as {result.save(options.out, f'{day}-{options.name}')}", file=sys.stderr)
    return 0


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with official archives; default: the drawn sample")
    parser.add_argument("--rows", default=",".join(PARTS), help="parts to measure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="at most (default: %(default)s)")
    parser.add_argument("--budget-minutes", type=float, default=22.0, help="in all, about (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few photos, one round, no peers: does it run")
    parser.add_argument("--name", default="table", help="of the files, behind the date (default: %(default)s)")
    parser.add_argument("--out", type=Path, help=f"where they are kept (default: {RESULTS}; with --quick nowhere)")
    options = parser.parse_args(words)
    unknown = set(options.rows.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--rows: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.data is not None and not options.data.is_dir():
        parser.error(f"--data: {options.data} is no folder")
    if options.out is None and not options.quick:
        options.out = RESULTS
    return options


def given(data: Path | None) -> dict[str, str]:
    """What stands for the folder of the archives."""
    return {} if data is None else {str(data): "DATA", str(data.resolve()): "DATA"}


def official(data: Path) -> Path:
    """The folder that holds the archives: `data`, or its ilsvrc2010."""
    return data / "ilsvrc2010" if (data / "ilsvrc2010").is_dir() else data


def measure(setup: Setup, options: argparse.Namespace, words: list[str]) -> Result:
    """Every chosen part, in the order of the table, within the budget: what is left is shared by the parts to come."""
    names = [name for name in PARTS if name in options.rows.split(",")]
    began, load = time.monotonic(), machine.load_average()
    end = began + 60 * options.budget_minutes
    parts, failures = [], {}
    for place, name in enumerate(names):
        work, share = PARTS[name]
        left = end - time.monotonic()
        if left < 0:
            failures[name] = "not begun: the minutes were over"
            continue
        seconds = max(1.0, left * 0.6 * share / sum(PARTS[other][1] for other in names[place:]))
        print(f"{name}: rounds for {seconds:.0f} s, {left / 60:.1f} minutes left", file=sys.stderr, flush=True)
        try:
            parts.append(work(setup, seconds))
        except ContenderError as error:
            failures[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    facts = {
        "date": datetime.datetime.now().isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "benchmarks.table", *words]),
        "photos": "drawn" if options.data is None else "of DATA, official archives",
        "hardware": machine.hardware(),
        "cores used": len(setup.cpus),
        "load average before": load,
        "load average after": machine.load_average(),
        "minutes": f"{(time.monotonic() - began) / 60:.1f}",
        "versions": versions(),
        **({"failed": failures} if failures else {}),
    }
    return Result(facts=facts, parts=tuple(parts))


def versions() -> dict[str, str]:
    """Of what ours stands on, and the pinned ones of every peer."""
    ours = {name: version(name) for name in ("alexnet-replication", "numpy", "torch", "simplejpeg", "grain")}
    pins = [line for path in sorted(PEERS.glob("*.txt")) for line in path.read_text().split() if "==" in line]
    peers = {f"peer {name}": pin for name, _, pin in (line.partition("==") for line in pins) if name not in ours}
    return {**ours, **{name: str(fact) for name, fact in decoder_facts().items()}, **peers}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
