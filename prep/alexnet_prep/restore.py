"""What a run needs to go on, taken from the manifest of a split whose `.build` was deleted."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_prep.build import ShardJob
from alexnet_prep.outstore import OutputStore
from alexnet_prep.sidecar import Sidecar
from alexnet_prep.sourcesizes import Sizes, check_sizes
from alexnet_shards.errors import FormatError
from alexnet_shards.index import INDEX_DTYPE, load_index
from alexnet_shards.manifest import Manifest, index_path, load_manifest, manifest_path


def finished_split(out: Path, split: str) -> Manifest | None:
    """The manifest of a split that alexnet-prep finished in `out`; None where there is none that can be read."""
    try:
        manifest = load_manifest(manifest_path(out, split))
    except FormatError:
        return None
    return manifest if manifest.recipe else None


def share_to_make(out: Path, split: str, store: OutputStore | None = None) -> float:
    """Which share of a split's shards is not there, by the manifest of the finished split; 1.0 where there is none."""
    manifest = finished_split(out, split)
    if manifest is None or not manifest.shards:
        return 1.0
    if store is not None:
        names = store.names(f"{split}-*.tar")
        return 1.0 - sum(fact.name in names for fact in manifest.shards) / len(manifest.shards)
    there = sum(
        (out / fact.name).is_file() and (out / fact.name).stat().st_size == fact.bytes for fact in manifest.shards
    )
    return 1.0 - there / len(manifest.shards)


def bound_facts(manifest: Manifest, facts: dict[str, Any]) -> dict[str, Any]:
    """What `bind_plan` compares with `facts`, of a finished split; what its manifest is silent about is taken as equal."""
    return {
        "edition": manifest.edition,
        "labels": manifest.label_order,
        "seed": manifest.seed,
        "num_shards": len(manifest.shards),
        "recipe": manifest.recipe,
        "libraries": facts["libraries"] | manifest.libraries,
        "source": {name: manifest.source.get(name, value) for name, value in facts["source"].items()},
    }


def restored_sidecars(out: Path, manifest: Manifest, jobs: list[ShardJob]) -> list[Sidecar]:
    """The sidecars of a finished split's shards; [] where its index is lost: then every shard is built anew.

    `jobs` are the split's shards in their order, by the plan that made them.
    """
    path = index_path(out, manifest.split)
    try:
        rows = load_index(path)
        if manifest.index_sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != manifest.index_sha256:
            return []
    except (FormatError, OSError):
        return []
    if len(rows) != manifest.samples or len(jobs) != len(manifest.shards):
        return []
    report = manifest.report
    shard_of = {bytes(key).decode("utf-8", "surrogateescape"): job.number for job in jobs for key in job.keys}
    dropped, patched, given_up = (
        _by_shard(report.get(name, []), shard_of) for name in ("dropped", "patched", "given_up")
    )
    converted = {kind: _by_shard(keys, shard_of) for kind, keys in report.get("converted", {}).items()}
    sidecars = []
    for job, fact in zip(jobs, manifest.shards, strict=True):
        own = np.array(rows[rows["shard"] == job.number], INDEX_DTYPE)
        sidecars.append(
            Sidecar(
                number=job.number,
                name=job.name,
                samples=len(own),
                bytes=fact.bytes,
                sha256=fact.sha256,
                rows=base64.b64encode(own.tobytes()).decode(),
                dropped=[(entry["key"], entry["reason"]) for entry in dropped[job.number]],
                converted={kind: keys[job.number] for kind, keys in converted.items() if keys[job.number]},
                patched=patched[job.number],
                given_up=given_up[job.number],
            )
        )
    return sidecars


def kept_sizes(out: Path, sidecars: Sequence[Sidecar], split: str) -> Sizes:
    """The sizes of a split's sources as its manifest has them, where it lists these very shards; else {}.

    A sidecar that was restored has none, and equal shards are made of equal sources.
    """
    manifest = finished_split(out, split)
    if manifest is None or [fact.sha256 for fact in manifest.shards] != [sidecar.sha256 for sidecar in sidecars]:
        return {}
    sizes: Sizes = manifest.report.get("sizes", {})
    try:
        check_sizes(sizes)
    except ValueError:
        return {}
    return sizes


def _by_shard(entries: list[Any], shard_of: dict[str, int]) -> dict[int, list[Any]]:
    """Keys, or entries with a `key`, by the number of the shard that they belong to."""
    found: dict[int, list[Any]] = defaultdict(list)
    for entry in entries:
        number = shard_of.get(entry["key"] if isinstance(entry, dict) else entry)
        if number is not None:
            found[number].append(entry)
    return found
