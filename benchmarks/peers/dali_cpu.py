"""NVIDIA DALI's CPU pipeline: webdataset reader, decoding of random crops alone; one thread."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import BATCH_SIZE, run
from nvidia.dali import fn, pipeline_def


@pipeline_def  # type: ignore[untyped-decorator]
def crops(paths: list[str]) -> Any:
    jpegs, labels = fn.readers.webdataset(
        paths=paths, ext=["jpg", "cls"], random_shuffle=True, initial_fill=1000, name="shards", dont_use_mmap=False
    )
    down, across = fn.random.uniform(range=(0.0, 1.0)), fn.random.uniform(range=(0.0, 1.0))
    images = fn.decoders.image_crop(jpegs, device="cpu", crop=(224, 224), crop_pos_y=down, crop_pos_x=across)
    return images, labels, down, across, fn.get_property(jpegs, key="source_info")


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    paths = sorted(str(path) for path in folder.glob("train-*.tar"))
    pipeline = crops(paths, batch_size=BATCH_SIZE, num_threads=1, device_id=None)
    pipeline.build()
    total = epochs * pipeline.epoch_size("shards")
    for _ in range(total // BATCH_SIZE):
        images, labels, down, across, sources = pipeline.run()
        yield {
            "images": images.as_array(),
            "labels": labels,
            "keys": Lazy(lambda i, sources=sources: bytes(sources.at(i)).decode().rpartition(":")[2].split(".")[0]),
            "tops": Lazy(lambda i, down=down: round(float(np.asarray(down.at(i))) * 32)),
            "lefts": Lazy(lambda i, across=across: round(float(np.asarray(across.at(i))) * 32)),
        }


class Lazy:
    """Values that are only computed where they are checked."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __iter__(self) -> Iterator[Any]:
        return (self._value(i) for i in range(BATCH_SIZE))


run(batches)
