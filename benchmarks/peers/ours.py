"""Our stream: global shuffle, random crops, crc32 checked, one thread (or THREADS, or in a child process)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import BATCH_SIZE, WORKERS, run

from alexnet_shards.shardset import open_shards
from alexnet_stream.epoch import epoch_table
from alexnet_stream.stream import Stream, StreamConfig

THREADS = int(os.environ.get("THREADS", WORKERS))
CHILD = os.environ.get("CHILD") == "1"


def open_stream(folder: Path) -> tuple[Any, Stream]:
    shards = open_shards([f"{folder}/train-*.tar"])
    config = StreamConfig(batch_size=BATCH_SIZE, seed=1, threads=THREADS, child_process=CHILD, last="drop")
    return shards, Stream(shards, config)


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    shards, stream = open_stream(folder)
    with stream:
        for epoch in range(epochs):
            yield from whole_epoch(shards, stream, epoch)


def whole_epoch(shards: Any, stream: Stream, epoch: int) -> Iterator[dict[str, Any]]:
    """The rest of an epoch."""
    place = stream.state_dict()["position"]
    table = epoch_table(shards.num_samples, 1, epoch)
    for batch in stream.epoch():
        places = slice(place, place + len(batch.rows))
        yield {
            "images": batch.images_nhwc,
            "labels": batch.labels,
            "keys": Keys(shards, batch.rows),
            "tops": table.crop_top_px[places],
            "lefts": table.crop_left_px[places],
        }
        place = places.stop


def resumed(folder: Path, taken: int) -> Callable[[], Iterator[dict[str, Any]]]:
    _, stream = open_stream(folder)
    with stream:
        state = stream.state_dict()
        for _ in zip(range(taken), stream.epoch(), strict=False):
            state = stream.state_dict()

    def go_on() -> Iterator[dict[str, Any]]:
        shards, stream = open_stream(folder)
        with stream:
            stream.load_state_dict(state)
            yield from whole_epoch(shards, stream, 0)

    return go_on


class Keys:
    """Keys that are only looked up where they are asked for."""

    def __init__(self, shards: Any, rows: Any) -> None:
        self._shards, self._rows = shards, rows

    def __iter__(self) -> Iterator[str]:
        return (self._shards.key_of(int(row)).rpartition(", ")[2] for row in self._rows)


if __name__ == "__main__":
    run(batches, resumed)
