"""The path: a source's archives become a split's shards, index and manifest."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alexnet_prep.archive import utf8_name
from alexnet_prep.errors import SourceError
from alexnet_prep.job import BuildSetup
from alexnet_prep.mirror import mirrored, shown_source
from alexnet_prep.nodes import Workshop
from alexnet_prep.official import check_md5
from alexnet_prep.once import once_pass, remove_stretches
from alexnet_prep.outstore import STATS_NAME
from alexnet_prep.plan import Plan
from alexnet_prep.prepare import Prepared, begin, jobs_of, known_facts, libraries
from alexnet_prep.progress import RunProgress
from alexnet_prep.report import SplitReport, split_report
from alexnet_prep.request import ShardsRequest as ShardsRequest
from alexnet_prep.request import repair_requests as repair_requests
from alexnet_prep.restore import kept_sizes
from alexnet_prep.rundir import check_space, expected_bytes, locked_directory, remove_temporaries
from alexnet_prep.shardsums import has_stats, remove_sums, split_stats
from alexnet_prep.share import collect_shards, share_facts, stretches_facts
from alexnet_prep.sidecar import Sidecar
from alexnet_prep.source import ArchivedSource, Source, find_source, missing_lines
from alexnet_prep.stagetimes import TIMES_NAME
from alexnet_shards.editions import plain_name
from alexnet_shards.index import INDEX_DTYPE, save_index
from alexnet_shards.manifest import Manifest, ShardFact, index_path, manifest_path, save_manifest
from alexnet_shards.sidefiles import write_info
from alexnet_shards.stats import save_stats

SHARDS_HELD = 32  # at most, of a run whose shards go to a store: one a worker


def make_shards(request: ShardsRequest, progress: RunProgress) -> list[dict[str, Any]]:
    """Make the shards that `request` asks for and return a report (SplitReport.as_json, or share_facts) a split.

    Every split is indexed, planned and given room before the first image is decoded. What is there already is verified
    and kept. Raises SourceError for a source that cannot be used, RunError for an output directory that cannot.
    """
    if request.store is not None:
        with request.store.locked(request.share.lock_name if request.share is not None else "") as lock:
            return _make_shards(replace(request, check_lock=lock.check), progress)
    return _make_shards(request, progress)


def _make_shards(request: ShardsRequest, progress: RunProgress) -> list[dict[str, Any]]:
    directory = mirrored(request.source, request.out, request.edition, request.split)
    source = find_source(directory, request.edition, request.rules, request.fields)
    shown, splits = shown_source(request.source), source.splits if request.split == "all" else (request.split,)
    if request.split not in ("all", *source.splits):
        raise SourceError(f"{shown}: has no {request.split} split; found {', '.join(source.splits)}")
    progress.say(f"{shown}: edition {source.edition}, with {', '.join(source.splits)}")
    for line in missing_lines(source, directory) if request.split == "all" else ():
        progress.say(line)
    if request.checksum:
        files = {path.name: path for path in source.files() if path.is_file()}
        with progress.hashing() as hashed:
            lines = check_md5(files, hashed)
        for line in lines:
            progress.say(line)
    with (
        locked_directory(request.out, request.share),
        Workshop(request.workers, request.hang_seconds, progress) as workshop,
    ):
        request = replace(request, engine_for=workshop.engine)
        found = _share_of_archives(request, source, splits, progress) if request.share is not None else {}
        splits = tuple(split for split in splits if split not in found)
        begun = begin(request, source, splits, progress) if splits else []
        warning = check_space(request.out, sum(_needed_bytes(request, prepared) for prepared, _ in begun))
        if warning:
            progress.say(warning)
        make = _make_split if request.share is None else _make_share
        return [*found.values(), *(make(request, *each, progress) for each in begun)]


def _share_of_archives(
    request: ShardsRequest, source: Source, splits: Sequence[str], progress: RunProgress
) -> dict[str, dict[str, Any]]:
    """The share's stretches, by split, of archives that are read once; nobody knows what is in them before all stretches
    are there."""
    found = {}
    for split in splits:
        if not isinstance(source, ArchivedSource) or not source.archives(split):
            continue
        started, once = time.monotonic(), once_pass(request, source, split, known_facts(request), progress)
        if once is not None:
            stretches = once.convert_share()
            found[split] = stretches_facts(str(request.share), split, stretches, time.monotonic() - started)
    return found


def _make_split(request: ShardsRequest, prepared: Prepared, setup: BuildSetup, progress: RunProgress) -> dict[str, Any]:
    started = time.monotonic()
    images, plan = prepared.images, prepared.plan
    if request.finish and prepared.once is None:
        with progress.counted(plan.split, len(images)):
            sidecars = collect_shards(jobs_of(images, plan), setup, request.workers, progress)
    else:
        sidecars = _built(request, prepared, setup, progress)
    report = split_report(images, sidecars, kept_sizes(request.out, sidecars, plan.split))
    manifest = _save(request, prepared, sidecars, report)
    if request.stats and plan.split == "train":
        if not has_stats(request.out / STATS_NAME, manifest):
            save_stats(request.out / STATS_NAME, split_stats(setup, sidecars, manifest.fingerprint(), request.workers))
            if request.store is not None:
                request.store.put(STATS_NAME)
        remove_sums(setup, sidecars)
    remove_stretches(setup.sidecars)
    return report.as_json(len(images) / (time.monotonic() - started))


def _make_share(request: ShardsRequest, prepared: Prepared, setup: BuildSetup, progress: RunProgress) -> dict[str, Any]:
    started = time.monotonic()
    if prepared.once is not None:
        stretches = prepared.once.convert_share(setup, prepared.images)
        seconds = time.monotonic() - started
        return stretches_facts(str(request.share), prepared.plan.split, stretches, seconds)
    sidecars = _built(request, prepared, setup, progress)
    images = sum(sidecar.samples for sidecar in sidecars)
    return share_facts(str(request.share), prepared.plan.split, sidecars, images / (time.monotonic() - started))


def _built(request: ShardsRequest, prepared: Prepared, setup: BuildSetup, progress: RunProgress) -> list[Sidecar]:
    """The sidecars of all shards, or of the request's share of them, in their order, once they are there."""
    images, plan = prepared.images, prepared.plan
    numbers = _numbers(request, plan)
    names = {plan.name(number) for number in numbers}
    sidecars: list[Sidecar] = []
    if prepared.once is not None:
        try:
            return prepared.once.build(setup, images, list(jobs_of(images, plan)), plan.order)
        finally:
            remove_temporaries(request.out, plan.split)
    total, times = sum(len(plan.rows(number)) for number in numbers), setup.sidecars / TIMES_NAME
    with progress.counted(plan.split, total, times=times):
        try:
            sidecars.extend(request.engine_for(setup).run(jobs_of(images, plan, numbers), len(numbers)))
        finally:
            remove_temporaries(request.out, plan.split, names if request.share else None)
    return sorted(sidecars, key=lambda sidecar: sidecar.number)


def _numbers(request: ShardsRequest, plan: Plan) -> range:
    return range(plan.num_shards) if request.share is None else request.share.shards(plan.num_shards)


def _needed_bytes(request: ShardsRequest, prepared: Prepared) -> int:
    """About how many bytes the shards that are not there yet will have."""
    plan = prepared.plan
    missing = sum(not (request.out / plan.name(number)).is_file() for number in _numbers(request, plan))
    if request.store is not None:  # shards do not stay here
        missing = min(missing, SHARDS_HELD)
    listed = 2 if prepared.once is not None and not prepared.once.archives else 1  # the stretches are still to be made
    return listed * expected_bytes(prepared.images.locations["size"]) * missing // plan.num_shards


def _save(request: ShardsRequest, prepared: Prepared, sidecars: list[Sidecar], report: SplitReport) -> Manifest:
    """Write the index, then the manifest: a split is whole when its manifest is there."""
    images = prepared.images
    rows = np.concatenate([sidecar.index_rows() for sidecar in sidecars]).astype(INDEX_DTYPE)
    index_sha256 = save_index(index_path(request.out, images.split), rows)
    manifest = Manifest(
        split=images.split,
        classes=images.classes,
        shards=tuple(
            ShardFact(name=sidecar.name, samples=sidecar.samples, bytes=sidecar.bytes, sha256=sidecar.sha256)
            for sidecar in sidecars
        ),
        label_order=images.label_order,
        edition=images.edition,
        seed=request.seed,
        recipe=request.recipe.as_dict(),
        libraries=libraries(),
        source={"containers": [plain_name(utf8_name(path)) for path in images.containers], **prepared.facts["source"]},
        report=report.manifest_entry(),
        index_sha256=index_sha256,
    )
    save_manifest(manifest_path(request.out, images.split), manifest)
    write_info(request.out)
    if request.store is not None:
        request.check_lock()
        request.store.put_set(images.split)
    return manifest
