"""Whole 256x256 images, one thread, crc32 checked: ours by the stream, or (DATASET=1) by ShardDataset, 128 rows a call."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import BATCH_SIZE, CROP_PX, run
from ours import Keys

from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream import ShardDataset, Stream, StreamConfig


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    shards = open_shards([f"{folder}/train-*.tar"])
    loaded = by_rows(shards, epochs) if os.environ.get("DATASET") == "1" else by_stream(shards, epochs)
    corner = slice(0, CROP_PX)
    for rows, images_nhwc, labels in loaded:
        crops = Corners(images_nhwc, corner)
        zeros = np.zeros(len(labels), np.int64)
        yield {"images": crops, "labels": labels, "keys": Keys(shards, rows), "tops": zeros, "lefts": zeros}


class Corners:
    """The corner of each image, which is only taken where it is checked."""

    def __init__(self, images_nhwc: Any, corner: slice) -> None:
        self._images_nhwc, self._corner = images_nhwc, corner

    def __iter__(self) -> Iterator[Any]:
        return (np.asarray(image_hwc)[self._corner, self._corner] for image_hwc in self._images_nhwc)


def by_stream(shards: ShardSet, epochs: int) -> Iterator[tuple[Any, Any, Any]]:
    config = StreamConfig(batch_size=BATCH_SIZE, seed=1, threads=1, crop="none", last="drop")
    with Stream(shards, config) as stream:
        for _ in range(epochs):
            for batch in stream:
                yield batch.rows, batch.images_nhwc, batch.labels


def by_rows(shards: ShardSet, epochs: int) -> Iterator[tuple[Any, Any, Any]]:
    with ShardDataset(shards) as dataset:
        for epoch in range(epochs):
            order = np.random.default_rng(epoch).permutation(len(dataset))
            for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
                rows = order[start : start + BATCH_SIZE]
                samples = dataset.__getitems__(rows)
                yield rows, [image_hwc for image_hwc, _ in samples], [label for _, label in samples]


if __name__ == "__main__":
    run(batches)
