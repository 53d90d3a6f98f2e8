"""The training photos nearest to a picture by the features of the last hidden layer (paper section 6.1).

Distances are Euclidean, found by matrix products over blocks of a memory-mapped file (featurefile.py).
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alexnet_command.progress import Progress
from alexnet_command.units import duration_text, size_text
from alexnet_network import Classifier
from alexnet_shards import AlexnetError, ShardSet
from alexnet_shards.errors import FileError
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.locks import locked
from alexnet_stream import ShardDataset
from alexnet_train.featurefile import FeatureFile, spans

NEAREST = 6  # of the paper's figure 4
BLOCK_ROWS = 1024  # computed between two writes: 200 MB of images
BATCH_IMAGES = 64
SEARCH_ROWS = 4096
SPARE = 4  # so many times as wanted are looked at exactly: products of float32 are not


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """Where neighbours are looked for: the features of the chosen `rows` of `shards`, all of them there."""

    shards: ShardSet
    file: FeatureFile
    rows: npt.NDArray[np.int64]

    def of(self, features: npt.NDArray[np.float16]) -> list[list[dict[str, Any]]]:
        """For each picture of (Q, columns) its NEAREST photos, the nearest first, equals by row, as JSON has them."""
        rows, distances = nearest_rows(self.file.mapped(), self.rows, features, NEAREST)
        return [
            [self._fact(int(row), float(distance)) for row, distance in zip(*one, strict=True)]
            for one in zip(rows, distances, strict=True)
        ]

    def _fact(self, row: int, distance: float) -> dict[str, Any]:
        label, classes = int(self.shards.labels[row]), self.shards.classes
        known = 0 <= label < len(classes)
        names = (
            {"wnid": classes[label].wnid, "words": classes[label].words} if known else {"wnid": str(label), "words": ""}
        )
        return {"row": row, **names, "distance": distance}


def nearest_rows(
    features: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], queries: npt.NDArray[np.float16], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(Q, count) of `rows` of (N, D) `features` nearest to each of (Q, D) `queries`, and how far; fewer where rows are."""
    wanted = queries.astype(np.float32)
    kept_rows = np.zeros((len(wanted), 0), np.int64)
    kept = np.zeros((len(wanted), 0), np.float32)
    for part in spans(rows, SEARCH_ROWS):
        block = features[part].astype(np.float32)
        # |q|^2 is the same for all rows.
        squares = np.einsum("ij,ij->i", block, block)[None] - 2 * (wanted @ block.T)
        kept = np.concatenate([kept, squares], axis=1)
        kept_rows = np.concatenate([kept_rows, np.broadcast_to(part, squares.shape)], axis=1)
        best = np.argsort(kept, axis=1, kind="stable")[:, : SPARE * count]
        kept, kept_rows = np.take_along_axis(kept, best, 1), np.take_along_axis(kept_rows, best, 1)
    pairs = list(zip(kept_rows, wanted, strict=True))
    exact = np.stack([np.linalg.norm(features[mine].astype(np.float64) - one, axis=1) for mine, one in pairs])
    order = np.stack([np.lexsort((mine, far)) for mine, far in zip(kept_rows, exact, strict=True)])[:, :count]
    return np.take_along_axis(kept_rows, order, 1), np.take_along_axis(exact, order, 1)


def features_of(classifier: Classifier, images_nhwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    """(B, 256, 256, 3) uint8 -> (B, D) float16: the last hidden layer's activations in the centre view.

    Raises AlexnetError where they are no numbers.
    """
    device = classifier.stats.mean_nchw.device
    parts = []
    for begin in range(0, len(images_nhwc), BATCH_IMAGES):
        images = torch.from_numpy(images_nhwc[begin : begin + BATCH_IMAGES]).to(device)
        parts.append(classifier.features(images).clamp(max=float(np.finfo(np.float16).max)).cpu().half())
    found = torch.cat(parts)
    if not bool(found.isfinite().all()):
        raise AlexnetError("the network's features are no numbers, its training has diverged; use an older checkpoint")
    return found.numpy()


def rows_of_classes(shards: ShardSet, wnids: Sequence[str] | None) -> npt.NDArray[np.int64]:
    """The rows of the photos of those classes, of all for None; raises AlexnetError where there are none."""
    if wnids is None:
        return np.arange(shards.num_samples)
    labels = [label for label, fact in enumerate(shards.classes) if fact.wnid in set(wnids)]
    rows = np.flatnonzero(np.isin(shards.labels, labels))
    if len(rows) == 0:
        raise AlexnetError(
            f"{shards.paths[0]}: no photo of the likeliest classes there; name shards of the same classes"
        )
    return rows


def open_neighbours(
    classifier: Classifier, shards: ShardSet, file: FeatureFile, rows: npt.NDArray[np.int64], progress: Progress
) -> Neighbours:
    """Have the features of `rows` of `shards` on disk, computing those that are missing, and say first what that takes.

    Raises AlexnetError where the disk has no room for them or a sample is damaged.
    """
    if not file.directory.is_dir() or not os.access(file.directory, os.W_OK):
        if not file.done()[rows].all():
            raise FileError(f"{file.directory}: features cannot be written there; name a folder with --features DIR")
        return Neighbours(shards=shards, file=file, rows=rows)
    with locked(file.directory):
        done = file.done()
        missing = rows[~done[rows]]
        if len(missing):
            _say_what_it_takes(classifier, file, len(missing), progress)
            file.create()
            progress.start(len(missing), title="features", unit="images")
            with ShardDataset(shards) as dataset:
                for part in spans(missing, BLOCK_ROWS):
                    images_nhwc = np.stack([image for image, _ in dataset.__getitems__(part.tolist())])
                    file.write(part, features_of(classifier, images_nhwc), done)
                    progress.advance(len(part))
            progress.end()
    return Neighbours(shards=shards, file=file, rows=rows)


def _say_what_it_takes(classifier: Classifier, file: FeatureFile, images: int, progress: Progress) -> None:
    needed = images * file.columns * 2
    free = shutil.disk_usage(file.directory).free
    if needed > free:
        raise AlexnetError(
            f"{file.directory}: features of {images:,} images take {size_text(needed)}, {size_text(free)} are free; name "
            "another folder with --features DIR, or fewer classes with --nearest-classes N"
        )
    blank = np.zeros((BATCH_IMAGES, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    features_of(classifier, blank[:1])
    begun = time.perf_counter()
    features_of(classifier, blank)
    seconds = (time.perf_counter() - begun) / BATCH_IMAGES * images
    progress.say(
        f"{file.path}: features of {images:,} images will be kept there: {size_text(needed)}, about "
        f"{duration_text(seconds)} of the network's time and that of decoding; Ctrl-C keeps what is done, "
        "--nearest-classes N takes the likeliest classes alone"
    )
