"""What engines cost: shards of one source by local processes, array parts and Dask workers, at one and two workers.

Wall and CPU seconds of whole commands, and by a second source of a fifth of the images what a start and what an image more
costs; Dask's scheduler and workers count to its CPU seconds, their start not to the wall. Medians over `--repeats` rounds in
which the engines take turns, and the ratio of each to local processes.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed

PREP = [sys.executable, "-m", "alexnet_prep.cli"]
DASK = [sys.executable, "-m", "dask"]


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[str]:
    """The address of a scheduler with so many worker processes of a thread each."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = ["--no-dashboard", "--scheduler-file", str(file)]
    processes = [subprocess.Popen([*DASK, "scheduler", "--port", "0", *words], **quiet)]
    try:
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.1)
        flags = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
        processes += [subprocess.Popen([*DASK, "worker", *words, *flags], **quiet) for _ in range(workers)]
        address = json.loads(file.read_text())["address"]
        client: Any = distributed.Client
        with client(address) as known:
            known.wait_for_workers(workers)
        yield address
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def wall(*commands: list[str]) -> float:
    """Seconds until all of the commands, which run at once, have ended."""
    started = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    if any(process.wait() for process in running):
        raise SystemExit(f"failed: {commands[0]}")
    return time.perf_counter() - started


def local(words: list[str], workers: int, folder: Path) -> float:
    """One command with processes of its own."""
    return wall([*words, "--workers", str(workers)])


def parts(words: list[str], workers: int, folder: Path) -> float:
    """A command a part, all at once, and the one that joins them."""
    made = wall(*([*words, "--workers", "1", "--part", f"{number}/{workers}"] for number in range(1, workers + 1)))
    return made + wall([*words, "--workers", str(workers), "--finish"])


def dask(words: list[str], workers: int, folder: Path) -> float:
    """A command that gives its jobs to a cluster, which is there already."""
    with dask_cluster(folder, workers) as address:
        return wall([*words, "--scheduler", address])


ENGINES: dict[str, Callable[[list[str], int, Path], float]] = {"processes": local, "parts": parts, "dask": dask}


def draw(images: int, folder: Path) -> Path:
    """A source of about so many training photos in ten classes."""
    counts = ["--train-per-class", str(images // 10), "--val-per-class", "1", "--test-per-class", "1"]
    subprocess.run([*PREP, "sample", str(folder), *counts], check=True, capture_output=True)
    return folder


def measure(images: int, shards: int, repeats: int) -> dict[str, Any]:
    """Medians and ratios."""
    sizes = (images // 5, images)
    found: dict[tuple[str, int], dict[int, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "out"
        sources = {size: draw(size, folder / str(size)) for size in sizes}
        for _ in range(repeats):
            for size, source in sources.items():
                words = [*PREP, "shards", "--source", str(source), "--split", "train", "--read", "in-place"]
                words += ["--num-shards", str(max(1, shards * size // images)), "--out", str(out)]
                for workers in (1, 2):
                    for engine, run in ENGINES.items():
                        times = found.setdefault((engine, workers), {}).setdefault(size, [])
                        before = cpu_seconds()
                        seconds = run(words, workers, folder)
                        times.append((round(seconds, 2), round(cpu_seconds() - before, 2)))
                        shutil.rmtree(out)
    rows = [row_of(engine, workers, times) for (engine, workers), times in found.items()]
    facts = {(row["engine"], row["workers"]): row for row in rows}
    ratios = {
        f"{engine}_over_processes_{workers}_{what}": round(row[what] / facts["processes", workers][what], 3)
        for (engine, workers), row in facts.items()
        if engine != "processes"
        for what in ("seconds", "cpu_ms_an_image")
    }
    versions = {"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    return {"ratios": ratios, "rows": rows, "images": images, "shards": shards, "versions": versions}


def cpu_seconds() -> float:
    """Of all processes that have ended, ours and theirs: what is busy beside them does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def row_of(engine: str, workers: int, times: dict[int, list[tuple[float, float]]]) -> dict[str, Any]:
    """Medians of the larger source, and by the line through both sizes CPU time an image and of the start."""
    (few, short), (many, long) = (
        (size, [statistics.median(column) for column in zip(*each, strict=True)])
        for size, each in sorted(times.items())
    )
    an_image = (long[1] - short[1]) / (many - few)
    row = {"engine": engine, "workers": workers, "seconds": round(long[0], 2), "cpu_seconds": round(long[1], 2)}
    start = {"cpu_seconds_of_the_start": round(long[1] - many * an_image, 2)}
    return {**row, **start, "cpu_ms_an_image": round(1e3 * an_image, 3), "all": times}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="unused: taken as the other benchmarks take it")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    print(json.dumps(measure(options.images, options.shards, options.repeats), indent=None if options.json else 1))
