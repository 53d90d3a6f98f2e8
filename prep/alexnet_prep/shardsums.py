"""The sums of one shard's images beside its sidecar, so that statistics cost no second decoding."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alexnet_prep.job import BuildSetup
from alexnet_prep.moments import NO_MOMENTS, PAIRS, Moments, MomentSums
from alexnet_prep.samples import BadSampleError, decode_sample
from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.index import IndexRows
from alexnet_shards.manifest import Manifest
from alexnet_shards.parsing import Where, load_npz
from alexnet_shards.pool import Workers, worker_pool
from alexnet_shards.stats import Stats, load_stats

SUMS_SUFFIX = ".sums.npz"
SHAPE = (IMAGE_PX, IMAGE_PX, 3)
LIMITS = {"images": 64, "sum_hwc": IMAGE_PX * IMAGE_PX * 3 * 8, "products": 8 * len(PAIRS), "sha256": 64 * 4}
SAMPLES_A_SIGN = 64


def sums_path(setup: BuildSetup, name: str) -> Path:
    """Where the sums of the shard `name` lie."""
    return setup.sidecars / f"{name}{SUMS_SUFFIX}"


def save_sums(path: Path, moments: Moments, sha256: str) -> None:
    """Write the sums of the shard that has this sha256, whole or not at all."""
    arrays: dict[str, Any] = {"sum_hwc": moments.sum_hwc, "products": np.array(moments.products, np.int64)}
    with atomic_file(path) as file:
        np.savez(file, images=np.asarray(moments.images), sha256=np.asarray(sha256), **arrays)


def load_sums(path: Path, sha256: str) -> Moments:
    """The sums at `path`; raises FileNotFoundError, and FormatError where they are damaged or of another shard."""
    where = Where(path=path, what="sums of a shard", remedy="start again: they are made of the shard")
    arrays = load_npz(where, LIMITS)
    sums, products = arrays["sum_hwc"], arrays["products"]
    if str(arrays["sha256"]) != sha256 or sums.shape != SHAPE or products.shape != (len(PAIRS),):
        raise where.wrong("of another shard")
    return Moments(
        images=int(arrays["images"]), sum_hwc=sums.astype(np.int64), products=tuple(int(each) for each in products)
    )


def has_sums(path: Path, sha256: str) -> bool:
    """Whether the sums of the shard that has this sha256 are at `path`."""
    try:
        load_sums(path, sha256)
    except (FileNotFoundError, FormatError):
        return False
    return True


def sum_shard(shard: Path, rows: IndexRows, on_samples: Callable[[], None]) -> Moments:
    """The sums of a shard's images, which `rows` of its index name; `on_samples` comes now and then.

    Raises FormatError for a sample that cannot be decoded.
    """
    sums = MomentSums()
    with shard.open("rb") as file:
        for number, row in enumerate(rows):
            if number % SAMPLES_A_SIGN == 0:
                on_samples()
            try:
                sums.add(decode_sample(file, row))
            except BadSampleError as error:
                raise FormatError(f"{shard}: sample {number} {error}; remove the shard and start again") from error
    return sums.moments()


class WrittenShard(Protocol):
    """What is known of a shard that was written."""

    @property
    def name(self) -> str:
        """Its file's."""

    @property
    def sha256(self) -> str:
        """Of its bytes."""

    def index_rows(self) -> IndexRows:
        """Its rows of the index."""


def sum_written(setup: BuildSetup, shard: WrittenShard, on_samples: Callable[[], None] = lambda: None) -> Moments:
    """As `sum_shard`, of a shard that was written, here or to the run's store."""
    with nullcontext(setup.out / shard.name) if setup.store is None else setup.store.fetched(shard.name) as path:
        return sum_shard(path, shard.index_rows(), on_samples)


def split_stats(setup: BuildSetup, shards: Sequence[WrittenShard], fingerprint: str, workers: Workers) -> Stats:
    """The statistics of all shards of a split, from their sums: those of `alexnet-prep compute-stats`.

    Shards whose sums are not there are decoded by `workers`. Raises FormatError for a sample that cannot be.
    """
    moments, missing = NO_MOMENTS, list[WrittenShard]()
    for shard in shards:
        try:
            moments = moments.merge(load_sums(sums_path(setup, shard.name), shard.sha256))
        except (FileNotFoundError, FormatError):
            missing.append(shard)
    if missing:
        light = replace(setup, containers=(), sparse={})
        with worker_pool(workers, len(missing), str(setup.out)) as pool:
            for part in pool.map(sum_written, [light] * len(missing), missing):
                moments = moments.merge(part)
    return moments.to_stats(fingerprint)


def has_stats(path: Path, manifest: Manifest | None) -> bool:
    """Whether the statistics of a split that is whole are at `path`."""
    if manifest is None:
        return False
    try:
        stats = load_stats(path)
    except FormatError:
        return False
    return (stats.fingerprint, stats.images) == (manifest.fingerprint(), manifest.samples)


def remove_sums(setup: BuildSetup, shards: Sequence[WrittenShard]) -> None:
    """Remove the sums of shards, once they are in the statistics."""
    for shard in shards:
        sums_path(setup, shard.name).unlink(missing_ok=True)
