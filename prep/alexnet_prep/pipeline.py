"""The path: a source's archives become a split's shards, index and manifest."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_pixels import decoder_facts
from alexnet_prep.archive import utf8_name
from alexnet_prep.build import ShardJob
from alexnet_prep.errors import SourceError
from alexnet_prep.identity import content_sample
from alexnet_prep.job import BuildSetup
from alexnet_prep.mirror import mirrored, shown_source
from alexnet_prep.nodes import job_engine
from alexnet_prep.official import check_md5
from alexnet_prep.once import OncePass, once_pass, remove_stretches
from alexnet_prep.plan import Plan, make_plan
from alexnet_prep.progress import RunProgress
from alexnet_prep.report import SplitReport, split_report
from alexnet_prep.request import ShardsRequest as ShardsRequest
from alexnet_prep.request import repair_requests as repair_requests
from alexnet_prep.restore import bound_facts, finished_split, kept_sizes, restored_sidecars
from alexnet_prep.rundir import (
    bind_plan,
    check_space,
    expected_bytes,
    has_plan,
    locked_directory,
    remove_temporaries,
)
from alexnet_prep.shardsums import remove_sums, split_stats
from alexnet_prep.share import collect_shards, share_facts
from alexnet_prep.sidecar import Sidecar, save_sidecar
from alexnet_prep.source import OTHERS, ArchivedSource, Source, find_source, stamps
from alexnet_prep.split import SplitSource, load_split, save_split
from alexnet_prep.splitfiles import missing_splits
from alexnet_shards.editions import plain_name
from alexnet_shards.index import INDEX_DTYPE, save_index
from alexnet_shards.locks import locked
from alexnet_shards.manifest import (
    BUILD_DIRECTORY,
    Manifest,
    ShardFact,
    index_path,
    manifest_path,
    save_manifest,
)
from alexnet_shards.shown import public_address
from alexnet_shards.sidefiles import write_info
from alexnet_shards.stats import save_stats

SOURCE_CACHE_NAME = "source.npz"
STATS_NAME = "stats.npz"
SHARDS_HELD = 32  # at most, of a run whose shards go to a store: one a worker
INDEX_VERSION = 3  # of what the cache of an index holds


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A split that is known to be usable: its images, its plan, and what binds the output directory to them.

    `cache_key` names the state of the archives at which the index was made, "" for folders, which are read each time.
    `once` is the pass that reads them, where they are not read in place.
    """

    images: SplitSource
    plan: Plan
    facts: dict[str, Any]
    cache_key: str
    once: OncePass | None = None


def make_shards(request: ShardsRequest, progress: RunProgress) -> list[dict[str, Any]]:
    """Make the shards that `request` asks for and return a report (SplitReport.as_json, or share_facts) a split.

    Every split is indexed, planned and given room before the first image is decoded. What is there already is verified
    and kept. Raises SourceError for a source that cannot be used, RunError for an output directory that cannot.
    """
    if request.store is not None:
        with request.store.locked() as lock:
            return _make_shards(replace(request, check_lock=lock.check), progress)
    return _make_shards(request, progress)


def _make_shards(request: ShardsRequest, progress: RunProgress) -> list[dict[str, Any]]:
    directory = mirrored(request.source, request.out, request.edition, request.split)
    source = find_source(directory, request.edition, request.rules, request.fields)
    shown, splits = shown_source(request.source), source.splits if request.split == "all" else (request.split,)
    if request.split not in ("all", *source.splits):
        raise SourceError(f"{shown}: has no {request.split} split; found {', '.join(source.splits)}")
    progress.say(f"{shown}: edition {source.edition}, with {', '.join(source.splits)}")
    if request.split == "all" and source.edition in OTHERS and (line := missing_splits(directory, source.splits)):
        progress.say(line)
    if request.checksum:
        files = {path.name: path for path in source.files() if path.is_file()}
        with progress.hashing() as hashed:
            lines = check_md5(files, hashed)
        for line in lines:
            progress.say(line)
    with locked_directory(request.out, request.share):
        for split in splits:
            if request.store is not None:
                request.store.pull(split)
        begun = _begin(request, source, splits, progress)
        warning = check_space(request.out, sum(_needed_bytes(request, prepared) for prepared, _ in begun))
        if warning:
            progress.say(warning)
        make = _make_split if request.share is None else _make_share
        return [make(request, *each, progress) for each in begun]


def _begin(
    request: ShardsRequest, source: Source, splits: Sequence[str], progress: RunProgress
) -> list[tuple[_Prepared, BuildSetup]]:
    """Index, plan and bind every split; of several parts one at a time, so that an archive's headers are read once."""
    with ExitStack() as held:
        key = _cache_key(request, source)
        cached = bool(key)
        turn = locked(request.out / BUILD_DIRECTORY) if request.share is not None else nullcontext()
        if cached:
            held.enter_context(turn)
            if source.splits[0] not in splits and (first := load_split(_cache(request, source.splits[0]), key)):
                source = source.after(first)
        prepared = list[_Prepared]()
        for split in splits:
            prepared.append(_prepare(request, source, split, progress))
            source = source.after(prepared[-1].images)
        if not cached:
            held.enter_context(turn)
        return [(each, _bind(request, each)) for each in prepared]


def _make_split(
    request: ShardsRequest, prepared: _Prepared, setup: BuildSetup, progress: RunProgress
) -> dict[str, Any]:
    started = time.monotonic()
    images, plan = prepared.images, prepared.plan
    if request.finish:
        with progress.counted(plan.split, len(images)):
            sidecars = collect_shards(_jobs(images, plan), setup, request.workers, progress)
    else:
        sidecars = _built(request, prepared, setup, progress)
    report = split_report(images, sidecars, kept_sizes(request.out, sidecars, plan.split))
    manifest = _save(request, prepared, sidecars, report)
    if setup.moments:
        save_stats(request.out / STATS_NAME, split_stats(setup, sidecars, manifest.fingerprint()))
        remove_sums(setup, sidecars)
    remove_stretches(setup.sidecars)
    return report.as_json(len(images) / (time.monotonic() - started))


def _make_share(
    request: ShardsRequest, prepared: _Prepared, setup: BuildSetup, progress: RunProgress
) -> dict[str, Any]:
    started = time.monotonic()
    sidecars = _built(request, prepared, setup, progress)
    images = sum(sidecar.samples for sidecar in sidecars)
    return share_facts(str(request.share), prepared.plan.split, sidecars, images / (time.monotonic() - started))


def _built(request: ShardsRequest, prepared: _Prepared, setup: BuildSetup, progress: RunProgress) -> list[Sidecar]:
    """The sidecars of all shards, or of the request's share of them, in their order, once they are there."""
    images, plan = prepared.images, prepared.plan
    numbers = _numbers(request, plan)
    names = {plan.name(number) for number in numbers}
    sidecars: list[Sidecar] = []
    if prepared.once is not None:
        try:
            return prepared.once.build(setup, images, list(_jobs(images, plan)), plan.order)
        finally:
            remove_temporaries(request.out, plan.split)
    with progress.counted(plan.split, sum(len(plan.rows(number)) for number in numbers)):
        try:
            with job_engine(request.workers, setup, request.hang_seconds, progress) as engine:
                sidecars.extend(engine.run(_jobs(images, plan, numbers), len(numbers)))
        finally:
            remove_temporaries(request.out, plan.split, names if request.share else None)
    return sorted(sidecars, key=lambda sidecar: sidecar.number)


def _numbers(request: ShardsRequest, plan: Plan) -> range:
    return range(plan.num_shards) if request.share is None else request.share.shards(plan.num_shards)


def _prepare(request: ShardsRequest, source: Source, split: str, progress: RunProgress) -> _Prepared:
    """Index and plan a split; nothing is written but the cache of an index that is there already."""
    if request.share is None:
        remove_temporaries(request.out, split)
    key = _cache_key(request, source)
    images = load_split(_cache(request, split), key) if key else None
    known = {"seed": request.seed, "recipe": request.recipe.as_dict(), "libraries": _libraries()}
    once = once_pass(request, source, split, known, progress)
    if images is None and once is not None and isinstance(source, ArchivedSource):
        images = once.index(source, request.label_order, partial(progress.indexing, split))
    with progress.patience(f"{split}: reading the source", request.hang_seconds):
        if images is None:
            images = source.read(split, request.label_order, progress.indexing(split))
        plan = make_plan(images, request.seed, request.num_shards)
        content = content_sample(images, once.digests(images).digest) if once else content_sample(images)
    facts = {
        **known,
        "edition": images.edition,
        "labels": images.label_order,
        "num_shards": plan.num_shards,
        "source": {
            "members": images.identity(),
            "content": content,
            "max_member_bytes": request.max_member_bytes,
            **source.choices(),
        },
    }
    return _Prepared(images=images, plan=plan, facts=facts, cache_key=key, once=once)


def _bind(request: ShardsRequest, prepared: _Prepared) -> BuildSetup:
    """Bind the output directory to a split, or find that it is bound to the same: by the plan that it began with, or
    by the manifest of a finished split, from which the rest is then restored."""
    images, plan, out = prepared.images, prepared.plan, request.out
    manifest = None if has_plan(out, plan.split) else finished_split(out, plan.split)
    sidecars = bind_plan(out, plan.split, prepared.facts, bound_facts(manifest, prepared.facts) if manifest else None)
    if request.store is not None:
        request.store.put_plan(plan.split)
    if prepared.cache_key:
        save_split(_cache(request, plan.split), images, prepared.cache_key)
    setup = BuildSetup(
        containers=images.containers,
        recipe=request.recipe,
        out=out,
        sidecars=sidecars,
        max_member_bytes=request.max_member_bytes,
        sparse=images.sparse,
        moments=request.stats and plan.split == "train",
        image_column=images.image_column,
        store=request.store,
    )
    if manifest is not None:
        for sidecar in restored_sidecars(out, manifest, list(_jobs(images, plan))):
            save_sidecar(setup, sidecar)
    return setup


def _cache(request: ShardsRequest, split: str) -> Path:
    return request.out / BUILD_DIRECTORY / split / SOURCE_CACHE_NAME


def _cache_key(request: ShardsRequest, source: Source) -> str:
    if not source.is_cached:
        return ""
    said = (request.label_order, source.choices(), request.rules.listed)
    return repr((INDEX_VERSION, source.edition, _source_name(request), stamps(source), *said))


def _source_name(request: ShardsRequest) -> str:
    source = request.source
    return public_address(source) if isinstance(source, str) else str(source.resolve())


def _libraries() -> dict[str, str]:
    return {name: str(value) for name, value in decoder_facts().items()}


def _needed_bytes(request: ShardsRequest, prepared: _Prepared) -> int:
    """About how many bytes the shards that are not there yet will have."""
    plan = prepared.plan
    missing = sum(not (request.out / plan.name(number)).is_file() for number in _numbers(request, plan))
    if request.store is not None:  # shards do not stay here
        missing = min(missing, SHARDS_HELD)
    listed = 2 if prepared.once is not None and not prepared.once.archives else 1  # the stretches are still to be made
    return listed * expected_bytes(prepared.images.locations["size"]) * missing // plan.num_shards


def _jobs(images: SplitSource, plan: Plan, numbers: range | None = None) -> Iterator[ShardJob]:
    for number in range(plan.num_shards) if numbers is None else numbers:
        rows = plan.rows(number)
        yield ShardJob(
            number=number,
            name=plan.name(number),
            keys=images.keys[rows],
            file_names=images.names[rows],
            locations=images.locations[rows],
            labels=images.labels[rows],
            patched=images.patched[rows],
        )


def _save(request: ShardsRequest, prepared: _Prepared, sidecars: list[Sidecar], report: SplitReport) -> Manifest:
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
        libraries=_libraries(),
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
