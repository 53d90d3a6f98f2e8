"""What every loader's script shares: its arguments, its loop, its CPU meter, and the samples it hands over to be checked."""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 128
CROP_PX, LAST_OFFSET_PX = 224, 32
CHECKED = 96
ENDLESS = 1 << 30

Batches = Callable[[Path, int], Iterator[dict[str, Any]]]


def random_crop(image_hwc: Any) -> tuple[Any, int, int]:
    """A contiguous random 224 crop of an (256, 256, 3) uint8 array, and where it was taken."""
    top, left = (int(offset) for offset in np.random.randint(0, LAST_OFFSET_PX + 1, 2))
    return np.ascontiguousarray(image_hwc[top : top + CROP_PX, left : left + CROP_PX]), top, left


def run(batches: Batches) -> None:
    """Print {"seconds", "images"}: CPU time of the process and all its workers after the warm-up; or write a check file.

    Counting begins with the last batch of the first epoch, of --images images, and ends with that of the first epoch after
    --seconds of CPU time: whole epochs, with start-up, imports and index building outside and as many batches under way
    at both ends. A batch has images (B, 224, 224, 3) uint8, labels, keys, and the crops' tops and lefts.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--check", type=Path)
    options = parser.parse_args()
    if options.check:
        write_check(batches(options.folder, 1), options.check)
        return
    seen, began_at, began_seconds = 0, 0, 0.0
    for batch in batches(options.folder, ENDLESS):
        epochs_before = seen // options.images
        seen += len(batch["labels"])
        if seen // options.images == epochs_before:  # the meter itself costs CPU time: it is read once an epoch
            continue
        if not began_at:
            began_at, began_seconds = seen, cpu_seconds(os.getpid())
        elif (spent := cpu_seconds(os.getpid()) - began_seconds) >= options.seconds:
            print(json.dumps({"seconds": spent, "images": seen - began_at}), flush=True)
            break


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
