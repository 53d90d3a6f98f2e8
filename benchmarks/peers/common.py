"""What every loader's script shares: its arguments, its loop, its CPU meter, and the samples it hands over to be checked."""

import argparse
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 128
CROP_PX, LAST_OFFSET_PX = 224, 32
CHECKED = 96
ENDLESS = 1 << 30

WORKERS = int(os.environ.get("WORKERS", "1"))

Batches = Callable[[Path, int], Iterator[dict[str, Any]]]
Resumed = Callable[[Path, int], Callable[[], Iterator[dict[str, Any]]]]


def random_crop(image_hwc: Any) -> tuple[Any, int, int]:
    """A contiguous random 224 crop of an (256, 256, 3) uint8 array, and where it was taken."""
    top, left = (int(offset) for offset in np.random.randint(0, LAST_OFFSET_PX + 1, 2))
    return np.ascontiguousarray(image_hwc[top : top + CROP_PX, left : left + CROP_PX]), top, left


def run(batches: Batches, resumed: Resumed | None = None) -> None:
    """Print what the arguments ask for as one JSON object; or write a check file.

    A batch has images (B, 224, 224, 3) uint8, labels, keys, and the crops' tops and lefts. `resumed` takes so many batches
    of an epoch, saves the loader's state and returns what makes a new loader go on from there; without it a loader
    resumes by reading again what it has read.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--check", type=Path)
    parser.add_argument("--order", action="store_true")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if options.check:
        write_check(batches(options.folder, 1), options.check)
    elif options.order:
        print(json.dumps(order_of(batches(options.folder, 1))), flush=True)
    elif options.resume:
        print(json.dumps(resume(batches, resumed, options.folder)), flush=True)
    else:
        print(json.dumps(count(batches, options)), flush=True)


def count(batches: Batches, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of CPU time, of the process and all its workers, and of wall time for `images`, after the warm-up.

    Counting begins with the last batch of the first epoch, of --images images, and ends with that of the first epoch after
    --seconds of CPU time: whole epochs, with start-up, imports and index building outside and as many batches under way
    at both ends. `first_seconds` is from the start of the process to its first batch.
    """
    seen, began_at, began_seconds, began = 0, 0, 0.0, 0.0
    first_seconds = 0.0
    for batch in batches(options.folder, ENDLESS):
        first_seconds = first_seconds or age_seconds()
        epochs_before = seen // options.images
        seen += len(batch["labels"])
        if seen // options.images == epochs_before:  # the meter itself costs CPU time: it is read once an epoch
            continue
        if not began_at:
            began_at, began_seconds, began = seen, cpu_seconds(os.getpid()), time.perf_counter()
        elif (spent := cpu_seconds(os.getpid()) - began_seconds) >= options.seconds:
            wall = time.perf_counter() - began
            return {"seconds": spent, "wall_seconds": wall, "images": seen - began_at, "first_seconds": first_seconds}
    raise SystemExit("the loader has ended before it was measured")


def age_seconds() -> float:
    """How long this process has been running."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def order_of(batches: Iterator[dict[str, Any]]) -> dict[str, str]:
    """sha256 of an epoch's keys in their order, batch by batch, and of where its crops are."""
    digests = {"order": hashlib.sha256(), "crops": hashlib.sha256()}
    for batch in batches:
        keys, tops, lefts = ([str(value) for value in batch[name]] for name in ("keys", "tops", "lefts"))
        digests["order"].update(json.dumps(keys).encode())
        digests["crops"].update(json.dumps([keys, tops, lefts]).encode())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def resume(batches: Batches, resumed: Resumed | None, folder: Path) -> dict[str, Any]:
    """Seconds from a saved state in mid-epoch to the next batch, and whether it is the batch that would have come."""
    orders = [list(map(str, batch["keys"])) for batch in batches(folder, 1)]
    half = len(orders) // 2

    def read_again() -> Iterator[dict[str, Any]]:
        return itertools.islice(batches(folder, 1), half, None)

    go_on = read_again if resumed is None else resumed(folder, half)
    started = time.perf_counter()
    batch = next(go_on())
    seconds = time.perf_counter() - started
    return {
        "resume_seconds": seconds,
        "exact": list(map(str, batch["keys"])) == orders[half],
        "state": resumed is not None,
    }


def write_check(batches: Iterator[dict[str, Any]], path: Path) -> None:
    """Write CHECKED samples with key and crop to a file."""
    kept: dict[str, list[Any]] = {"images": [], "keys": [], "tops": [], "lefts": []}
    for batch in batches:
        for name, values in kept.items():
            values += [np.array(value) for value in batch[name]]  # copies: the next batch may reuse the memory
        if len(kept["keys"]) >= CHECKED:
            break
    np.savez(path, **{name: np.stack(values[:CHECKED]) for name, values in kept.items()})


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of a process, of its living descendants, and of those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread or process that has ended since it was listed has its time in its parent's.
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):
                    total += cpu_seconds(int(child))
    return total
