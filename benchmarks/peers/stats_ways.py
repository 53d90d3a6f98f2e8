"""Mean and covariance of the RGB pixels of shards in the way that WAY names. Prints them with the seconds they took."""

import json
import os
import resource
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

Answer = tuple[Any, Any]


def images(folder: Path) -> Iterator[Any]:
    """(65536, 3) uint8 of every sample."""
    for path in sorted(folder.glob("train-*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".jpg"):
                    content = archive.extractfile(member).read()  # type: ignore[union-attr]
                    yield simplejpeg.decode_jpeg(content, "RGB").reshape(-1, 3)


def two_pass(folder: Path) -> Answer:
    count, total = 0, np.zeros(3)
    for image in images(folder):
        pixels = image.astype(np.float64)
        count, total = count + len(pixels), total + pixels.sum(0)
    mean, moments = total / count, np.zeros((3, 3))
    for image in images(folder):
        centred = image.astype(np.float64) - mean
        moments += centred.T @ centred
    return mean, moments / count


def incremental_pca(folder: Path) -> Answer:
    from sklearn.decomposition import IncrementalPCA

    pca = IncrementalPCA()
    for image in images(folder):
        pca.partial_fit(image)
    return pca.mean_, pca.get_covariance()


def averages(folder: Path) -> Answer:
    """The mean of the images' means, and of their covariances, in float32."""
    means, covariances = [], []
    for image in images(folder):
        pixels = image.astype(np.float32)
        means.append(pixels.mean(0))
        covariances.append(np.cov(pixels.T))
    return np.mean(means, 0), np.mean(covariances, 0)


def ours(folder: Path) -> Answer:
    from alexnet_prep.statistics import sum_samples
    from alexnet_shards.shardset import open_shards

    shards = open_shards([f"{folder}/train-*.tar"])
    moments: Any = sum_samples(shards.paths, np.array(shards.rows))
    stats = moments.to_stats("")
    return stats.rgb_mean, stats.covariance


WAYS: dict[str, Callable[[Path], Answer]] = {
    "ours": ours,
    "two pass": two_pass,
    "pca": incremental_pca,
    "averages": averages,
}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    way = WAYS[os.environ["WAY"]]
    if os.environ["WAY"] == "pca":
        import sklearn.decomposition  # noqa: F401
    if os.environ["WAY"] == "ours":
        import alexnet_prep.statistics  # noqa: F401
    started, cpu_started = time.perf_counter(), cpu_seconds()
    mean, covariance = way(Path(sys.argv[1]))
    seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu_started}
    print(json.dumps({**seconds, "mean": np.asarray(mean).tolist(), "covariance": np.asarray(covariance).tolist()}))
