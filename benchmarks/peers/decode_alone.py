"""The limit: every JPEG of the shards decoded by simplejpeg into one buffer, WORKERS threads, nothing else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from common import BATCH_SIZE, WORKERS, run

from alexnet_shards.shardset import open_shards


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    shards = open_shards([f"{folder}/train-*.tar"])
    jpegs = []
    for path, number in zip(shards.paths, range(len(shards.paths)), strict=True):
        content = Path(path).read_bytes()
        rows = shards.rows[shards.rows["shard"] == number]
        jpegs += [content[int(row["offset"]) : int(row["offset"]) + int(row["size"])] for row in rows]
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(epochs):
            for start in range(0, len(jpegs), BATCH_SIZE):
                part = jpegs[start : start + BATCH_SIZE]
                list(pool.map(decode_all, [part[number::WORKERS] for number in range(WORKERS)]))
                yield {"labels": part}


def decode_all(jpegs: list[bytes]) -> None:
    whole_hwc = np.empty((256, 256, 3), np.uint8)
    for jpeg in jpegs:
        simplejpeg.decode_jpeg(jpeg, "RGB", buffer=whole_hwc)


run(batches)
