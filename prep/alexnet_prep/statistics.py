"""Statistics of shards: every sample decoded once, exact sums merged, and the published values beside ours."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from alexnet_prep.moments import NO_MOMENTS, Moments, MomentSums
from alexnet_prep.samples import BadSampleError, decode_sample
from alexnet_remote import STATS_BYTES, RemoteShards, RemoteShardSet, check_writable, open_shards, remote_folder
from alexnet_shards.address import Address
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import output_path, worded
from alexnet_shards.index import IndexRows
from alexnet_shards.pool import Workers, worker_pool
from alexnet_shards.shardset import ShardSet
from alexnet_shards.shown import public_address
from alexnet_shards.stats import Stats, load_stats, save_stats

SAMPLES_A_JOB = 512
STATS_NAME = "stats.npz"


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published statistics of an ImageNet training set, 0..255 RGB: mean, and deviations along three axes."""

    source: str
    rgb_mean: tuple[float, float, float]
    axis_deviations: tuple[float, float, float]
    axes: tuple[tuple[float, float, float], ...]


PUBLISHED = (
    Published(
        source="cuda-convnet2, input_meta",
        rgb_mean=(127.305, 119.715, 104.913),
        axis_deviations=(121.780, 37.094, 19.721),
        axes=((-0.5635, -0.5762, -0.5920), (-0.7126, -0.0235, 0.7012), (0.4180, -0.8170, 0.3973)),
    ),
    Published(
        source="fb.resnet.torch (2012, random subset)",
        rgb_mean=(123.68, 116.28, 103.53),
        axis_deviations=(118.9, 34.96, 17.11),
        axes=((-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203)),
    ),
)


def beside(shards: ShardSet) -> Path | str:
    """Where statistics lie whose place nobody names: a path, or an address."""
    if isinstance(shards, RemoteShardSet):
        return replace(Address.parse(shards.source.urls[0]), name=STATS_NAME).url
    return Path(shards.paths[0]).parent / STATS_NAME


def kept_stats(shards: ShardSet, out: Path | str) -> Stats | None:
    """The statistics at `out`, where they are whole and of just these shards: there is nothing to compute then."""
    try:
        with stats_file(out, write=False) as path:
            stats = load_stats(path)
    except AlexnetError:
        return None
    return stats if (stats.fingerprint, stats.images) == (shards.fingerprint, shards.num_samples) else None


def compute_stats(
    patterns: ShardSet | Sequence[str], out: Path | str, workers: Workers, progress: Callable[[int, int], None]
) -> Stats:
    """Compute the statistics of the shards that `patterns` name with `workers` processes and save them at `out`.

    `patterns` may be an open set; of a folder the training shards are meant. `progress(done, total)` counts samples. The
    result is the same to the last bit for any number of workers. Raises FormatError or PatternError for shards that cannot
    be used, naming shard and key of a bad sample, and FileError where `out` cannot be written.
    """
    if isinstance(out, str):
        check_writable(out)
    else:
        _check_place(output_path(out))
    shards = patterns if isinstance(patterns, ShardSet) else open_shards(patterns, split="train")
    if shards.num_samples == 0:
        raise FormatError(f"{shards.paths[0]}: its manifest lists no sample; name shards with images")
    moments = NO_MOMENTS
    for part in _run(shards, workers):
        moments = moments.merge(part)
        progress(moments.images, shards.num_samples)
    stats = moments.to_stats(shards.fingerprint)
    with stats_file(out, write=True) as path:
        save_stats(path, stats)
    return stats


def _check_place(target: Path) -> None:
    """Raise FileError where nothing can be written beside `target`: known before the shards are decoded, not after."""
    with worded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass


@contextmanager
def stats_file(out: Path | str, write: bool) -> Iterator[Path]:
    """A path for the file at `out`: its own, or, of an address, a copy's that is fetched first or uploaded afterwards."""
    if isinstance(out, Path):
        target = output_path(out)
        if write:
            with worded(out):
                target.parent.mkdir(parents=True, exist_ok=True)
        yield target
        return
    place = Address.parse(out)
    with remote_folder([f"{place.folder}/"], None) as (folder, _):
        folder = replace(folder, place=place)
        if not write and folder.bring(place.name, STATS_BYTES) is None:
            raise FormatError(f"{public_address(out)}: not there")
        yield folder.copy / place.name
        if write:
            folder.put(place.name)


def _run(shards: ShardSet, workers: Workers) -> Iterator[Moments]:
    jobs = [
        (start, min(start + SAMPLES_A_JOB, shards.num_samples)) for start in range(0, shards.num_samples, SAMPLES_A_JOB)
    ]
    rows = (np.array(shards.rows[start:end]) for start, end in jobs)
    # a worker may stand in another folder
    paths = [str(Path(path).absolute()) for path in shards.paths if "://" not in path]
    source = shards.source if isinstance(shards, RemoteShardSet) else paths
    with worker_pool(workers, len(jobs), shards.paths[0].rpartition("/")[0] or ".") as pool:
        for (start, _), outcome in zip(jobs, pool.map(sum_samples, [source] * len(jobs), rows), strict=True):
            if isinstance(outcome, tuple):
                place, reason = outcome
                raise FormatError(
                    f"{shards.key_of(start + place)}: {reason}; see what is damaged with alexnet-prep verify"
                )
            yield outcome


def sum_samples(source: Sequence[str] | RemoteShards, rows: IndexRows) -> Moments | tuple[int, str]:
    """Moments of the samples of `rows`, or (place in `rows`, reason) for the first that cannot be used."""
    sums = MomentSums()
    for number, run in groupby(enumerate(rows), key=lambda entry: int(entry[1]["shard"])):
        try:
            with _opened(source, number) as shard:
                for place, row in run:
                    try:
                        sums.add(decode_sample(shard, row))
                    except BadSampleError as error:
                        return place, str(error)
        except OSError as error:
            return int(np.argmax(rows["shard"] == number)), f"its shard cannot be read ({error.strerror})"
    return sums.moments()


def _opened(source: Sequence[str] | RemoteShards, number: int) -> BinaryIO:
    """A shard, or the local copy of one in a store."""
    return os.fdopen(source.open(number), "rb") if isinstance(source, RemoteShards) else Path(source[number]).open("rb")


def comparison(stats: Stats) -> list[dict[str, Any]]:
    """Ours and the published statistics: RGB mean, deviations along the axes, and the angle to our axes in degrees."""
    ours = {"source": "these shards", "rgb_mean": stats.rgb_mean, "axis_deviations": np.sqrt(stats.eigenvalues)}
    rows = [{**ours, "angles_degrees": np.zeros(3)}]
    for published in PUBLISHED:
        axes = np.array(published.axes).T
        facts = {
            "source": published.source,
            "rgb_mean": published.rgb_mean,
            "axis_deviations": published.axis_deviations,
        }
        rows.append({**facts, "angles_degrees": angles_degrees(stats.eigenvectors, axes)})
    return [
        {name: value if isinstance(value, str) else [float(v) for v in value] for name, value in row.items()}
        for row in rows
    ]


def angles_degrees(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3,) angles between the columns of two (3, 3) matrices, 0..90: an axis has no direction."""
    lengths = np.linalg.norm(ours, axis=0) * np.linalg.norm(theirs, axis=0)
    cosines = np.abs((ours * theirs).sum(axis=0)) / lengths
    angles: npt.NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0)))
    return angles
