"""Verification: every shard hashed, every sample decoded, and the ones that are not what was written named."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_prep.samples import SampleError, decode_sample
from alexnet_shards.errors import FormatError
from alexnet_shards.index import IndexRows, load_index
from alexnet_shards.manifest import Manifest, ShardFact, index_path, load_manifest, manifest_path, shards_of
from alexnet_shards.processes import worker_pool
from alexnet_shards.scan import scan_shard

Progress = Callable[[int, int], None]
MANIFEST_SUFFIX = ".manifest.json"


@dataclass(frozen=True, kw_only=True)
class BadSample:
    """What is wrong with a shard, or with one sample of it (`key`, None where the whole shard is meant)."""

    shard: str
    key: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """Outcome over one or more splits; `bad` is empty where every byte is what was written."""

    shards: int
    samples: int
    bad: tuple[BadSample, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that `alexnet-prep verify --json` prints."""
        return {"shards": self.shards, "samples": self.samples, "bad": [vars(entry) for entry in self.bad]}


def splits_in(directory: Path) -> tuple[str, ...]:
    """Splits whose manifest lies in `directory`; raises FormatError where there is none."""
    splits = tuple(sorted(path.name.removesuffix(MANIFEST_SUFFIX) for path in directory.glob(f"*{MANIFEST_SUFFIX}")))
    if not splits:
        raise FormatError(
            f"{directory}: no manifest of a split there; expected a directory that alexnet-prep shards finished"
        )
    return splits


def verify(directory: Path, splits: Sequence[str], workers: int, progress: Progress) -> VerifyReport:
    """Hash every shard of `splits`, check and decode every sample, with `workers` processes.

    `progress(done, total)` counts shards. Raises FormatError where a manifest or index itself cannot be used.
    """
    jobs = [job for split in splits for job in _jobs(directory, split)]
    bad = [stray for split in splits for stray in _strays(directory, split)]
    with worker_pool(workers, len(jobs), str(directory)) as pool:
        for done, found in enumerate(pool.map(check_shard, *zip(*jobs, strict=True)), 1):
            bad.extend(found)
            progress(done, len(jobs))
    return VerifyReport(shards=len(jobs), samples=sum(len(rows) for _, _, rows in jobs), bad=tuple(bad))


def _jobs(directory: Path, split: str) -> Iterator[tuple[Path, ShardFact, IndexRows]]:
    manifest: Manifest = load_manifest(manifest_path(directory, split))
    rows = load_index(index_path(directory, split))
    if len(rows) != manifest.samples:
        raise FormatError(
            f"{index_path(directory, split)}: {len(rows)} rows, expected {manifest.samples} by the manifest; "
            "run alexnet-prep shards again, or alexnet-prep index for shards made elsewhere"
        )
    bounds = np.searchsorted(rows["shard"], np.arange(len(manifest.shards) + 1))
    for number, fact in enumerate(manifest.shards):
        yield directory / fact.name, fact, np.array(rows[bounds[number] : bounds[number + 1]])


def _strays(directory: Path, split: str) -> Iterator[BadSample]:
    """Shards of a split that its manifest does not list: a glob over the directory would train on them."""
    known = {fact.name for fact in load_manifest(manifest_path(directory, split)).shards}
    for path in shards_of(directory, split):
        if path.name not in known:
            yield BadSample(shard=path.name, key=None, reason="the manifest does not list this shard; remove it")


def check_shard(path: Path, fact: ShardFact, rows: IndexRows) -> list[BadSample]:
    """Everything that is wrong with one shard, by its manifest entry and its (N,) index rows."""
    try:
        scan = scan_shard(path, int(rows["shard"][0]) if len(rows) else 0)
    except FileNotFoundError:
        return [BadSample(shard=fact.name, key=None, reason="the shard is missing")]
    except (FormatError, OSError) as error:
        reason = (
            str(error).removeprefix(f"{path}: ")
            if isinstance(error, FormatError)
            else f"cannot be read ({error.strerror})"
        )
        return [BadSample(shard=fact.name, key=None, reason=reason)]
    bad = [
        BadSample(shard=fact.name, key=key, reason=reason)
        for key, reason in _bad_samples(path, rows, scan.rows, scan.keys)
    ]
    if scan.fact.sha256 != fact.sha256 and not bad:
        reason = f"sha256 {scan.fact.sha256[:12]}…, expected {fact.sha256[:12]}…, though every sample is whole"
        bad.append(BadSample(shard=fact.name, key=None, reason=reason))
    return bad


def _bad_samples(path: Path, rows: IndexRows, scanned: IndexRows, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    key_at = {int(row["offset"]): (key, int(row["label"])) for row, key in zip(scanned, keys, strict=True)}
    with path.open("rb") as shard:
        for row in rows:
            key, label = key_at.pop(int(row["offset"]), (f"byte {row['offset']}", None))
            if label is None:
                yield key, "the index names a sample that is not in the tar"
            elif label != row["label"]:
                yield key, f"its label is {label}, expected {row['label']}"
            try:
                decode_sample(shard, row)
            except SampleError as error:
                yield key, str(error)
    for key, _ in key_at.values():
        yield key, "a sample that the index does not name"
