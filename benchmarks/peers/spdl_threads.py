"""SPDL's pipeline: a shuffled list of places in the tars, read, simplejpeg and crop in WORKERS threads, then batches."""

import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from common import BATCH_SIZE, WORKERS, random_crop, run
from spdl.pipeline import PipelineBuilder

Place = tuple[int, int, int, int, str]


def places_of(folder: Path) -> list[Place]:
    """(descriptor, offset, size, label, key) of every sample."""
    places = []
    for path in sorted(folder.glob("train-*.tar")):
        descriptor = os.open(path, os.O_RDONLY)
        with tarfile.open(path) as archive:
            members = {member.name: member for member in archive}
            for name, member in members.items():
                key, _, suffix = name.rpartition(".")
                if suffix == "jpg":
                    label = int(archive.extractfile(members[f"{key}.cls"]).read())  # type: ignore[union-attr]
                    places.append((descriptor, member.offset_data, member.size, label, key))
    return places


def load(place: Place) -> tuple[Any, ...]:
    descriptor, offset, size, label, key = place
    image, top, left = random_crop(simplejpeg.decode_jpeg(os.pread(descriptor, size, offset), "RGB"))
    return image, label, key, top, left


def collate(samples: list[tuple[Any, ...]]) -> dict[str, Any]:
    images, labels, keys, tops, lefts = zip(*samples, strict=True)
    return {"images": np.stack(images), "labels": labels, "keys": keys, "tops": tops, "lefts": lefts}


def source(places: list[Place], epochs: int) -> Iterator[Place]:
    drawn = random.Random(1)
    for _ in range(epochs):
        drawn.shuffle(places)
        yield from places


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    builder = PipelineBuilder().add_source(source(places_of(folder), epochs))
    builder = builder.pipe(load, concurrency=WORKERS).aggregate(BATCH_SIZE).pipe(collate).add_sink(2)
    pipeline = builder.build(num_threads=WORKERS)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator(timeout=60)


run(batches)
