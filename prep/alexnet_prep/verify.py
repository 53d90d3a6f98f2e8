"""Verification: every shard hashed, every sample decoded, and the ones that are not what was written named."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_command.progress import Progress
from alexnet_prep.named import NamedSets
from alexnet_prep.outstore import OutputStore
from alexnet_prep.samples import BadSampleError, decode_sample
from alexnet_shards.errors import FormatError
from alexnet_shards.index import IndexRows, check_index, load_index
from alexnet_shards.labels import CLS, LabelNumbers
from alexnet_shards.manifest import Manifest, ShardFact, index_path, load_manifest, manifest_path
from alexnet_shards.pool import Workers, worker_pool
from alexnet_shards.scan import scan_shard
from alexnet_shards.sets import Fetch
from alexnet_shards.sidefiles import INFO_NAME, info_trouble


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with a shard, or with one sample of it (`key`, None where the whole shard is meant)."""

    shard: str
    key: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """Outcome over one or more splits; `bad` is empty where every byte is what was written."""

    shards: int
    samples: int
    bad: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that `alexnet-prep verify --json` prints."""
        return {"shards": self.shards, "samples": self.samples, "bad": [vars(entry) for entry in self.bad]}


def verify_or_repair(sets: NamedSets, source: Path | str | None, workers: Workers) -> VerifyReport:
    """As `verify`, shown on stderr; where something is wrong and there is a `source`, it is made again, and verified."""
    from alexnet_prep.pipeline import make_shards, repair_requests
    from alexnet_prep.progress import RunProgress

    with Progress("verify", "shards") as progress:
        report = verify(sets, workers, progress.at)
    if not report.bad or source is None:
        return report
    store, bad = None, _bad_splits(sets, report)
    if sets.remote is not None:
        store = OutputStore.at(sets.remote.place.folder, None)
        for split, finding in product(bad, report.bad):
            store.forget(split, finding.shard)  # what the store has of it counts no more, whatever it says of it
    with Progress("repair", "images") as progress:
        for request in repair_requests(sets.directory, bad, source, workers):
            asked = request if store is None else replace(request, out=store.work, store=store)
            make_shards(asked, RunProgress(progress))
    if sets.remote is not None:
        for split in sets.splits:
            sets.remote.bring_set(split)
    with Progress("verify", "shards") as progress:
        return verify(sets, workers, progress.at)


def _bad_splits(sets: NamedSets, report: VerifyReport) -> tuple[str, ...]:
    """The splits with findings: the source need not have the others any more. All where none is any split's."""
    named = {finding.shard for finding in report.bad}

    def names(split: str) -> set[str]:
        listed = {fact.name for fact in load_manifest(manifest_path(sets.directory, split)).shards}
        return {index_path(sets.directory, split).name, *listed, *sets.shards_there(split)}

    return tuple(split for split in sets.splits if named & names(split)) or sets.splits


def verify(sets: NamedSets, workers: Workers, progress: Callable[[int, int], None]) -> VerifyReport:
    """Hash every shard of `sets`, check and decode every sample, with `workers` processes.

    `progress(done, total)` counts shards. Raises FormatError where a manifest or index itself cannot be used.
    """
    directory, splits = sets.directory, sets.splits
    jobs = [job for split in splits for job in _jobs(directory, split)]
    bad = [stray for split in splits for stray in _strays(sets, split)]
    check = partial(check_fetched, sets.fetch)
    with worker_pool(workers, len(jobs), sets.shown) as pool:
        for done, found in enumerate(pool.map(check, *zip(*jobs, strict=True)) if jobs else (), 1):
            bad.extend(found)
            progress(done, len(jobs))
    if not bad:  # else the rows that were changed are named already
        bad = [changed for split in splits for changed in _changed_index(directory, split)]
        trouble = info_trouble(directory)
        bad += [Finding(shard=INFO_NAME, key=None, reason=trouble)] if trouble else []
    return VerifyReport(shards=len(jobs), samples=sum(len(rows) for _, _, rows, _ in jobs), bad=tuple(bad))


def _jobs(directory: Path, split: str) -> Iterator[tuple[Path, ShardFact, IndexRows, LabelNumbers]]:
    manifest: Manifest = load_manifest(manifest_path(directory, split))
    rows = load_index(index_path(directory, split))
    if len(rows) != manifest.samples:
        raise FormatError(
            f"{index_path(directory, split)}: {len(rows)} rows, expected {manifest.samples} by the manifest; "
            "run alexnet-prep index, which makes the index again from the shards"
        )
    order = np.argsort(rows["shard"], kind="stable")
    bounds = np.searchsorted(rows["shard"][order], np.arange(len(manifest.shards) + 1))
    if bounds[-1] != len(rows):
        raise FormatError(
            f"{index_path(directory, split)}: names a shard that the manifest does not have; make it again with "
            "alexnet-prep index"
        )
    labels = CLS if manifest.recipe else LabelNumbers.of(manifest.source, manifest.classes)
    for number, fact in enumerate(manifest.shards):
        yield directory / fact.name, fact, np.array(rows[order[bounds[number] : bounds[number + 1]]]), labels


def _strays(sets: NamedSets, split: str) -> Iterator[Finding]:
    """Shards of a split of ours that its manifest does not list: a glob over the directory would train on them."""
    manifest = load_manifest(manifest_path(sets.directory, split))
    known = {fact.name for fact in manifest.shards}
    for name in sets.shards_there(split) if manifest.recipe else ():
        if name not in known:
            yield Finding(shard=name, key=None, reason="the manifest does not list this shard; remove it")


def _changed_index(directory: Path, split: str) -> Iterator[Finding]:
    """The index of a split, where it is not the file that the manifest names."""
    manifest_file, index_file = manifest_path(directory, split), index_path(directory, split)
    try:
        check_index(index_file, load_manifest(manifest_file).index_sha256, manifest_file)
    except FormatError as error:
        yield Finding(shard=index_file.name, key=None, reason=str(error).removeprefix(f"{index_file}: "))


def check_fetched(fetch: Fetch, path: Path, fact: ShardFact, rows: IndexRows, labels: LabelNumbers) -> list[Finding]:
    """As `check_shard`, of a shard that is brought to where it can be read."""
    with fetch(path) as local:
        return check_shard(local, fact, rows, labels)


def check_shard(path: Path, fact: ShardFact, rows: IndexRows, labels: LabelNumbers = CLS) -> list[Finding]:
    """Everything that is wrong with one shard, by its manifest entry, its (N,) index rows and where its labels stand."""
    if not os.path.lexists(path):
        return [Finding(shard=fact.name, key=None, reason="the shard is missing")]
    try:
        scan = scan_shard(path, int(rows["shard"][0]) if len(rows) else 0, labels)
    except FormatError as error:
        return [Finding(shard=fact.name, key=None, reason=str(error).removeprefix(f"{path}: "))]
    bad = [
        Finding(shard=fact.name, key=key, reason=reason)
        for key, reason in _bad_samples(path, rows, scan.rows, scan.keys)
    ]
    if not bad:
        bad = [Finding(shard=fact.name, key=None, reason=reason) for reason in _bad_facts(scan.fact, fact)]
    return bad


def _bad_facts(found: ShardFact, fact: ShardFact) -> Iterator[str]:
    """What the manifest says otherwise of a shard whose samples are whole."""
    for name in ("bytes", "samples"):
        if getattr(found, name) != getattr(fact, name):
            yield f"{name} {getattr(found, name)}, expected {getattr(fact, name)} by the manifest"
    if found.sha256 != fact.sha256:
        yield f"sha256 {found.sha256[:12]}…, expected {fact.sha256[:12]}…, though every sample is whole"


def _bad_samples(path: Path, rows: IndexRows, scanned: IndexRows, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    found: dict[int, list[tuple[str, np.void]]] = {}  # two at one place where one is a link to the other
    for row, key in zip(scanned, keys, strict=True):
        found.setdefault(int(row["offset"]), []).append((key, row))
    with path.open("rb") as shard:
        for row in rows:
            there = found.get(int(row["offset"]), [])
            if not there:
                yield f"byte {row['offset']}", "the index names a sample that is not in the tar"
                continue
            place = next((place for place, (_, other) in enumerate(there) if other["label"] == row["label"]), 0)
            key, other = there.pop(place)
            for name, words in (("label", "its label is"), ("size", "its length in bytes is")):
                if other[name] != row[name]:
                    yield key, f"{words} {other[name]}, expected {row[name]}"
            try:
                decode_sample(shard, row)
            except BadSampleError as error:
                yield key, str(error)
    for there in found.values():
        for key, _ in there:
            yield key, "a sample that the index does not name"
