"""What every loader's script shares: its arguments, its loop, its CPU meter, and the samples it hands over to be checked."""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 128
CROP_PX, LAST_OFFSET_PX = 224, 32
CHECKED = 96
WARM_UP_EPOCHS = 2
ENDLESS = 1 << 30

Batches = Callable[[Path, int], Iterator[dict[str, Any]]]


def random_crop(image_hwc: Any) -> tuple[Any, int, int]:
    """A contiguous random 224 crop of an (256, 256, 3) uint8 array, and where it was taken."""
    top, left = (int(offset) for offset in np.random.randint(0, LAST_OFFSET_PX + 1, 2))
    return np.ascontiguousarray(image_hwc[top : top + CROP_PX, left : left + CROP_PX]), top, left


def run(batches: Batches) -> None:
    """Print {"seconds", "images"}: CPU time of the process and all its workers after the warm-up; or write a check file.

    Counting begins after WARM_UP_EPOCHS epochs of --images images and ends at the first batch after --seconds of CPU time,
    so start-up, imports and index building are outside, and at both ends as many batches are under way. A batch has
    images (B, 224, 224, 3) uint8, labels, keys, and the crops' tops and lefts.
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
        seen += len(batch["labels"])
        if not began_at and seen >= WARM_UP_EPOCHS * options.images:
            began_at, began_seconds = seen, cpu_seconds(os.getpid())
        elif began_at and (spent := cpu_seconds(os.getpid()) - began_seconds) >= options.seconds:
            print(json.dumps({"seconds": spent, "images": seen - began_at}), flush=True)
            break


def write_check(batches: Iterator[dict[str, Any]], path: Path) -> None:
    """Write CHECKED samples with key and crop to a file."""
    kept: dict[str, list[Any]] = {"images": [], "keys": [], "tops": [], "lefts": []}
    for batch in batches:
        if len(kept["keys"]) < CHECKED:
            for name, values in kept.items():
                values += [np.asarray(value) for value in batch[name]]
    np.savez(path, **{name: np.stack(values[:CHECKED]) for name, values in kept.items()})


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of a process, of its living descendants, and of those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                total += cpu_seconds(int(child))
            except (FileNotFoundError, ProcessLookupError):  # it has ended since
                continue
    return total
