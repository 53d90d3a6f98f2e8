"""NVIDIA DALI's CPU pipeline: webdataset reader, decoding of random crops alone; WORKERS threads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import BATCH_SIZE, WORKERS, run
from nvidia.dali import fn, pipeline_def


@pipeline_def  # type: ignore[untyped-decorator]
def crops(paths: list[str], indexes: list[str]) -> Any:
    jpegs, labels = fn.readers.webdataset(
        paths=paths,
        index_paths=indexes,
        ext=["jpg", "cls"],
        random_shuffle=True,
        initial_fill=1000,
        name="shards",
        dont_use_mmap=False,
    )
    down, across = fn.random.uniform(range=(0.0, 1.0)), fn.random.uniform(range=(0.0, 1.0))
    images = fn.decoders.image_crop(jpegs, device="cpu", crop=(224, 224), crop_pos_y=down, crop_pos_x=across)
    return images, labels, down, across, fn.get_property(jpegs, key="source_info")


def make_pipeline(folder: Path, checkpoint: str | None = None, **options: Any) -> Any:
    paths = sorted(str(path) for path in folder.glob("train-*.tar"))
    settings = {"batch_size": BATCH_SIZE, "num_threads": WORKERS, "device_id": None, "seed": 1, **options}
    indexes = [path.replace(".tar", ".idx") for path in paths]  # as wds2idx writes them
    pipeline = crops(
        paths,
        indexes if Path(indexes[0]).exists() else [],
        **settings,
        **({"checkpoint": checkpoint} if checkpoint else {}),
    )
    pipeline.build()
    return pipeline


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    pipeline = make_pipeline(folder)
    yield from run_batches(pipeline, epochs * pipeline.epoch_size("shards") // BATCH_SIZE)


def run_batches(pipeline: Any, steps: int) -> Iterator[dict[str, Any]]:
    for _ in range(steps):
        images, labels, down, across, sources = pipeline.run()
        yield {
            "images": images.as_array(),
            "labels": labels,
            "keys": Lazy(lambda i, sources=sources: bytes(sources.at(i)).decode().rpartition(":")[2].split(".")[0]),
            "tops": Lazy(lambda i, down=down: round(float(np.asarray(down.at(i))) * 32)),
            "lefts": Lazy(lambda i, across=across: round(float(np.asarray(across.at(i))) * 32)),
        }


def resumed(folder: Path, taken: int) -> Callable[[], Iterator[dict[str, Any]]]:
    pipeline = make_pipeline(folder, enable_checkpointing=True)
    for _ in run_batches(pipeline, taken):
        pass
    state = pipeline.checkpoint()
    return lambda: run_batches(make_pipeline(folder, state, enable_checkpointing=True), 1)


class Lazy:
    """Values that are only computed where they are checked."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __iter__(self) -> Iterator[Any]:
        return (self._value(i) for i in range(BATCH_SIZE))


run(batches, resumed)
