"""A split made ready for its shards: indexed, planned, and bound to the output directory or found bound to it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from alexnet_pixels import decoder_facts
from alexnet_prep.build import ShardJob
from alexnet_prep.identity import content_sample
from alexnet_prep.job import BuildSetup
from alexnet_prep.once import OncePass, once_pass
from alexnet_prep.outstore import STATS_NAME
from alexnet_prep.plan import Plan, make_plan
from alexnet_prep.progress import RunProgress
from alexnet_prep.request import ShardsRequest
from alexnet_prep.restore import bound_facts, finished_split, restored_sidecars
from alexnet_prep.rundir import PLAN_NAME, bind_plan, difference, remove_temporaries
from alexnet_prep.shardsums import has_stats
from alexnet_prep.sidecar import save_sidecar, sidecar_path
from alexnet_prep.source import ArchivedSource, Source, stamps
from alexnet_prep.split import SplitSource, load_split, save_split
from alexnet_shards.files import file_sha256
from alexnet_shards.locks import locked
from alexnet_shards.manifest import BUILD_DIRECTORY
from alexnet_shards.shown import public_address

SOURCE_CACHE_NAME = "source.npz"
INDEX_VERSION = 5  # of what the cache of an index holds


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A split that is known to be usable: its images, its plan, and what binds the output directory to them.

    `cache_key` names the state of the archives at which the index was made, "" for folders, which are read each time.
    `once` is the pass that reads them, where they are not read in place.
    """

    images: SplitSource
    plan: Plan
    facts: dict[str, Any]
    cache_key: str
    once: OncePass | None = None


def begin(
    request: ShardsRequest, source: Source, splits: Sequence[str], progress: RunProgress
) -> list[tuple[Prepared, BuildSetup]]:
    """Index, plan and bind every split; of several parts one at a time, so that an archive's headers are read once."""
    with ExitStack() as held:
        key = _cache_key(request, source)
        cached = bool(key)

        def turn() -> AbstractContextManager[object]:
            return locked(request.out / BUILD_DIRECTORY) if request.share is not None else nullcontext()

        if request.store is not None:
            with turn():
                request.store.claim()
                for split in splits:
                    request.store.pull(split, is_alone=request.share is None)
        if cached:
            held.enter_context(turn())
            if source.splits[0] not in splits and (first := load_split(_cache(request, source.splits[0]), key)):
                source = source.after(first)
        prepared = list[Prepared]()
        for split in splits:
            prepared.append(_prepare(request, source, (split, key), progress))
            source = source.after(prepared[-1].images)
        if not cached:
            held.enter_context(turn())
        return [(each, _bind(request, each)) for each in prepared]


def _prepare(request: ShardsRequest, source: Source, wanted: tuple[str, str], progress: RunProgress) -> Prepared:
    """Index and plan a split, `wanted` with its cache key; nothing is written but the cache of an index that is there
    already."""
    split, key = wanted
    if request.share is None:
        remove_temporaries(request.out, split)
    images = load_split(_cache(request, split), key) if key else None
    known = known_facts(request)
    once = once_pass(request, source, split, known, progress)
    if images is None and once is not None and once.archives and isinstance(source, ArchivedSource):
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
    return Prepared(images=images, plan=plan, facts=facts, cache_key=key, once=once)


def known_facts(request: ShardsRequest) -> dict[str, Any]:
    """What of a plan is known before the source is read."""
    return {"seed": request.seed, "recipe": request.recipe.as_dict(), "libraries": libraries()}


def _bind(request: ShardsRequest, prepared: Prepared) -> BuildSetup:
    """Bind the output directory to a split, or find that it is bound to the same: by the plan that it began with, or
    by the manifest of a finished split, from which what is missing is restored."""
    images, plan, out = prepared.images, prepared.plan, request.out
    manifest = finished_split(out, plan.split)
    finished = bound_facts(manifest, prepared.facts) if manifest is not None else None
    is_new = not (out / BUILD_DIRECTORY / plan.split / PLAN_NAME).exists()
    sidecars = bind_plan(out, plan.split, prepared.facts, finished)
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
        moments=request.stats and plan.split == "train" and not has_stats(out / STATS_NAME, manifest),
        image_column=images.image_column,
        store=request.store,
        plan=file_sha256(sidecars / PLAN_NAME),
    )
    names = map(plan.name, range(plan.num_shards))
    lost = {name for name in names if is_new or not sidecar_path(setup, name).exists()}
    if manifest is not None and finished is not None and lost and not difference(finished, prepared.facts):
        for sidecar in restored_sidecars(out, manifest, list(jobs_of(images, plan))):
            if sidecar.name in lost:  # whoever removed it, or was killed at this very place
                save_sidecar(setup, replace(sidecar, plan=setup.plan))
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


def libraries() -> dict[str, str]:
    """What decodes, as a manifest has it."""
    return {name: str(value) for name, value in decoder_facts().items()}


def jobs_of(images: SplitSource, plan: Plan, numbers: range | None = None) -> Iterator[ShardJob]:
    """The jobs of all shards of a plan, or of those `numbers`."""
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
