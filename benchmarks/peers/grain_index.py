"""Grain over our index: global shuffle, ShardDataset's reader, random crops by its own seeds; WORKERS threads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
from common import BATCH_SIZE, CROP_PX, LAST_OFFSET_PX, WORKERS, run
from dataset_loader import Keys

from alexnet_stream import ShardDataset


class Samples:
    """(number, image, label) by number."""

    def __init__(self, folder: Path) -> None:
        self.dataset = ShardDataset([f"{folder}/train-*.tar"])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> tuple[int, Any, int]:
        return (int(number), *self.dataset[int(number)])

    def key(self, number: int) -> str:
        return self.dataset.shards.key_of(number).rpartition(", ")[2]


def crop(sample: tuple[int, Any, int], drawn: np.random.Generator) -> dict[str, Any]:
    number, whole_hwc, label = sample
    top, left = (int(offset) for offset in drawn.integers(0, LAST_OFFSET_PX + 1, 2))
    image = np.ascontiguousarray(whole_hwc[top : top + CROP_PX, left : left + CROP_PX])
    return {"images": image, "labels": label, "keys": number, "tops": top, "lefts": left}


def make_iterator(samples: Samples, epochs: int) -> Any:
    every = grain.MapDataset.source(samples).seed(1).shuffle().repeat(epochs).random_map(crop).batch(BATCH_SIZE)
    return iter(every.to_iter_dataset(grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=4)))


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    samples = Samples(folder)
    for batch in make_iterator(samples, min(epochs, 1000)):
        yield {**batch, "keys": Keys(samples.key, batch["keys"])}


def resumed(folder: Path, taken: int) -> Callable[[], Iterator[dict[str, Any]]]:
    iterator = make_iterator(Samples(folder), 1)
    state = iterator.get_state()
    for _ in zip(range(taken), iterator, strict=False):
        state = iterator.get_state()

    def go_on() -> Iterator[dict[str, Any]]:
        samples = Samples(folder)
        fresh = make_iterator(samples, 1)
        fresh.set_state(state)
        return ({**batch, "keys": Keys(samples.key, batch["keys"])} for batch in fresh)

    return go_on


run(batches, resumed)
