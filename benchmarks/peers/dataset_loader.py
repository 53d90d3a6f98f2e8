"""torch's DataLoader over our ShardDataset, random crops in its WORKERS worker processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import BATCH_SIZE, WORKERS, random_crop, run

from alexnet_stream import ShardDataset


class Crops(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples with their keys."""

    def __init__(self, folder: Path) -> None:
        self._samples = ShardDataset([f"{folder}/train-*.tar"])

    def __len__(self) -> int:
        return len(self._samples)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [
            {"images": image, "labels": label, "keys": number, "tops": top, "lefts": left}
            for number, (whole_hwc, label) in zip(numbers, self._samples.__getitems__(numbers), strict=True)
            for image, top, left in [random_crop(whole_hwc)]
        ]

    def key(self, number: int) -> str:
        return self._samples.shards.key_of(number).rpartition(", ")[2]


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    dataset = Crops(folder)
    drawn = torch.Generator().manual_seed(1)
    loader: Any = torch.utils.data.DataLoader(
        dataset, BATCH_SIZE, shuffle=True, num_workers=WORKERS, persistent_workers=True, generator=drawn
    )
    for _ in range(epochs):
        for batch in loader:
            yield {**batch, "keys": Keys(dataset.key, batch["keys"])}


class Keys:
    """Keys that are only looked up where they are asked for."""

    def __init__(self, key: Callable[[int], str], numbers: Any) -> None:
        self._key, self._numbers = key, numbers

    def __iter__(self) -> Iterator[str]:
        return (self._key(int(number)) for number in self._numbers)


if __name__ == "__main__":
    run(batches)
