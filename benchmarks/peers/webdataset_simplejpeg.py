"""The best of webdataset: simplejpeg, uint8 crops, flip left to the device; WORKERS workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import simplejpeg
import torch
import webdataset
from common import BATCH_SIZE, WORKERS, random_crop, run


def prepare(sample: dict[str, Any]) -> dict[str, Any]:
    image, top, left = random_crop(simplejpeg.decode_jpeg(sample["jpg"], "RGB"))
    return {"images": image, "labels": int(sample["cls"]), "keys": sample["__key__"], "tops": top, "lefts": left}


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    shards = sorted(str(path) for path in folder.glob("train-*.tar"))
    stream = webdataset.WebDataset(shards, shardshuffle=100).shuffle(1000).map(prepare)
    loader = torch.utils.data.DataLoader(stream, batch_size=BATCH_SIZE, num_workers=WORKERS, persistent_workers=True)
    for _ in range(epochs):
        yield from loader


run(batches)
