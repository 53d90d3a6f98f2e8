"""Shards as a map-style data set: for torch's DataLoader, samplers, Grain, torchdata, timm and whoever indexes by number."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from alexnet_remote import Stop, open_shards
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.pattern import Patterns
from alexnet_shards.shardset import ShardSet
from alexnet_stream.loader import Job, SampleLoader
from alexnet_stream.prefetch import source_of

Transform = Callable[[Any], Any]


class ShardDataset(Dataset[tuple[Any, int]]):
    """Sample i is (image, label): the image of index row i, whole, (256, 256, 3) uint8 RGB, and its label, an int.

    With `as_torch` the image is a (3, 256, 256) uint8 tensor. `transform` is given the image. Pickling keeps the names of
    the shards and their index, never an open file, and each process opens the shards for itself, so that it may be used
    after a fork as well as in spawned workers. Private labels are -1.
    """

    def __init__(
        self,
        shards: ShardSet | Patterns,
        transform: Transform | None = None,
        *,
        as_torch: bool = False,
        check_crc: bool = True,
    ) -> None:
        """`shards` is an open set, or patterns for open_shards; raises AlexnetError as that does."""
        self.shards = shards if isinstance(shards, ShardSet) else open_shards(shards)
        self._transform, self._as_torch, self._check_crc = transform, as_torch, check_crc
        self._loader: tuple[int, SampleLoader] | None = None

    def __len__(self) -> int:
        """How many samples there are."""
        return self.shards.num_samples

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """Sample `number`, negative ones from the end; raises IndexError past it, AlexnetError for a damaged sample."""
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[tuple[Any, int]]:
        """Many samples by one call of the compiled reader, in the order asked for; raises as __getitem__ does."""
        rows = np.array([self._row(int(number)) for number in numbers], np.int64)
        images_nhwc = np.empty((len(rows), IMAGE_PX, IMAGE_PX, 3), np.uint8)
        chosen = self.shards.rows[rows]
        report = self._samples().load(Job(rows=chosen), 0, len(rows), images_nhwc)
        if report.failures:
            place, reason = report.failures[0]
            raise AlexnetError(f"{self.shards.key_of(int(rows[place]))}: {reason}; see all with alexnet-prep verify")
        labels = chosen["label"].tolist()
        return [(self._out(image_hwc), label) for image_hwc, label in zip(images_nhwc, labels, strict=True)]

    def close(self) -> None:
        """Close the shards that this process has open; the next access opens them again."""
        if self._loader is not None and self._loader[0] == os.getpid():
            self._loader[1].close()
        self._loader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loader": None}

    def _row(self, number: int) -> int:
        row = number + len(self) if number < 0 else number
        if not 0 <= row < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        return row

    def _samples(self) -> SampleLoader:
        """This process's reader: one that was made before a fork has the locks and threads of another process."""
        if self._loader is None or self._loader[0] != os.getpid():
            self._loader = os.getpid(), SampleLoader(source_of(self.shards, Stop()), self._check_crc)
        return self._loader[1]

    def _out(self, image_hwc: npt.NDArray[np.uint8]) -> Any:
        image = torch.from_numpy(image_hwc).permute(2, 0, 1) if self._as_torch else image_hwc
        return image if self._transform is None else self._transform(image)
