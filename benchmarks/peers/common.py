"""What every loader's script shares: its arguments, its loop, and the samples it hands over to be checked."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 128
CROP_PX, LAST_OFFSET_PX = 224, 32
CHECKED = 96

Batches = Callable[[Path, int], Iterator[dict[str, Any]]]


def random_crop(image_hwc: Any) -> tuple[Any, int, int]:
    """A contiguous random 224 crop of an (256, 256, 3) uint8 array, and where it was taken."""
    top, left = (int(offset) for offset in np.random.randint(0, LAST_OFFSET_PX + 1, 2))
    return np.ascontiguousarray(image_hwc[top : top + CROP_PX, left : left + CROP_PX]), top, left


def run(batches: Batches) -> None:
    """Stream `epochs` epochs and forget them; with --check write some samples with key and crop to a file.

    A batch has images (B, 224, 224, 3) uint8, labels, keys, and the crops' tops and lefts.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("epochs", type=int)
    parser.add_argument("--check", type=Path)
    options = parser.parse_args()
    count = 0
    kept: dict[str, list[Any]] = {"images": [], "keys": [], "tops": [], "lefts": []}
    for batch in batches(options.folder, options.epochs):
        count += len(batch["labels"])
        if options.check and len(kept["keys"]) < CHECKED:
            for name, values in kept.items():
                values += [np.asarray(value) for value in batch[name]]
    if options.check:
        np.savez(options.check, **{name: np.stack(values[:CHECKED]) for name, values in kept.items()})
    print(count)
