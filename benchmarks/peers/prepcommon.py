"""What every prep script shares: arguments, one or more processes over the same photos, wall and CPU time of them all."""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path

Job = tuple[int, list[Path], Path]


def run(work: Callable[[Job], object], chunked: bool = False) -> None:
    """Print {"seconds", "cpu_seconds", "images"}: after the imports and the start of the processes.

    `work` makes the photos of (number, paths, out folder) to pictures of 256x256 pixels in out; it is called for a few at
    a time by a pool, or, `chunked`, once a process.
    """
    options = arguments()
    paths = sorted(options.folder.iterdir())
    started, cpu_started = time.perf_counter(), cpu_seconds()
    if options.workers == 1:
        work((0, paths, options.out))
    else:
        few = -(-len(paths) // options.workers) if chunked else 16
        parts = [paths[first : first + few] for first in range(0, len(paths), few)]
        with multiprocessing.Pool(options.workers) as pool:
            pool.map(len, [[]] * options.workers, chunksize=1)
            started = time.perf_counter()
            pool.map(work, [(number, part, options.out) for number, part in enumerate(parts)], chunksize=1)
            pool.close()
            pool.join()
    told(started, cpu_started, len(paths))


def arguments() -> argparse.Namespace:
    """The folder of photos, the one for pictures, and the number of workers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


def told(started: float, cpu_started: float, images: int) -> None:
    """Print what it took since then."""
    seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu_started}
    print(json.dumps({**seconds, "images": images}), flush=True)


def cpu_seconds() -> float:
    """Of this process and those that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def scaled_size(width: int, height: int) -> tuple[int, int]:
    """The size whose shorter side is 256."""
    scale = 256 / min(width, height)
    return max(256, round(width * scale)), max(256, round(height * scale))
