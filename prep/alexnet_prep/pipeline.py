"""The path: a source's archives become a split's shards, index and manifest."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_pixels import PixelRecipe, decoder_facts
from alexnet_prep.build import BuildSetup, ShardJob, Sidecar
from alexnet_prep.engine import Engine
from alexnet_prep.errors import RunError, SourceError
from alexnet_prep.official import check_md5
from alexnet_prep.plan import Plan, make_plan
from alexnet_prep.progress import RunProgress
from alexnet_prep.report import SplitReport, split_report
from alexnet_prep.rundir import bind_plan, check_space, locked_directory, remove_temporaries
from alexnet_prep.source import Source, find_source, stamps
from alexnet_prep.split import SplitSource, load_split, save_split
from alexnet_shards.index import INDEX_DTYPE, save_index
from alexnet_shards.manifest import (
    BUILD_DIRECTORY,
    Manifest,
    ShardFact,
    index_path,
    load_manifest,
    manifest_path,
    save_manifest,
)

# Mean length of a 256x256 photo at quality 95, 4:2:0, with its tar headers and label.
SAMPLE_BYTES = 33_000
HANG_SECONDS = 120.0
SOURCE_CACHE_NAME = "source.npz"


@dataclass(frozen=True, kw_only=True)
class ShardsRequest:
    """What `alexnet-prep shards` was asked for; `split` may be "all", `num_shards` and `label_order` None."""

    source: Path
    out: Path
    split: str
    edition: str
    num_shards: int | None
    workers: int
    seed: int
    label_order: str | None
    recipe: PixelRecipe
    hang_seconds: float
    checksum: bool = False


def make_shards(request: ShardsRequest, progress: RunProgress) -> list[dict[str, Any]]:
    """Make the shards that `request` asks for and return a report (SplitReport.as_json) a split.

    What is there already is verified and kept. Raises SourceError for a source that cannot be used, RunError for an
    output directory that cannot.
    """
    source = find_source(request.source, request.edition)
    splits = source.splits if request.split == "all" else (request.split,)
    if request.split not in ("all", *source.splits):
        raise SourceError(f"{request.source}: has no {request.split} split; found {', '.join(source.splits)}")
    progress.say(f"{request.source}: edition {source.edition}, with {', '.join(source.splits)}")
    if request.checksum:
        files = {path.name: path for path in source.files() if path.is_file()}
        with progress.hashing() as hashed:
            lines = check_md5(files, hashed)
        for line in lines:
            progress.say(line)
    with locked_directory(request.out):
        return [_make_split(request, source, split, progress) for split in splits]


def _make_split(request: ShardsRequest, source: Source, split: str, progress: RunProgress) -> dict[str, Any]:
    started = time.monotonic()
    images, plan, setup = _prepare(request, source, split, progress)
    sidecars: list[Sidecar] = []
    progress.begin(split, len(images))
    try:
        with Engine(setup, request.workers, request.hang_seconds, progress) as engine:
            for sidecar in engine.run(_jobs(images, plan), plan.num_shards):
                sidecars.append(sidecar)
    finally:
        remove_temporaries(request.out, split)
        progress.end()
    sidecars.sort(key=lambda sidecar: sidecar.number)
    report = split_report(images, sidecars)
    _save(request, images, sidecars, report)
    return report.as_json(len(images) / (time.monotonic() - started))


def _prepare(
    request: ShardsRequest, source: Source, split: str, progress: RunProgress
) -> tuple[SplitSource, Plan, BuildSetup]:
    """Index and plan a split, and bind the output directory to them."""
    remove_temporaries(request.out, split)
    made_of = stamps(source)
    cache = request.out / BUILD_DIRECTORY / split / SOURCE_CACHE_NAME
    key = repr((source.edition, str(request.source.resolve()), made_of, request.label_order))
    images = load_split(cache, key)
    if images is None:
        images = source.read(split, request.label_order, progress.indexing(split))
    plan = make_plan(images, request.seed, request.num_shards)
    facts = {
        "edition": images.edition,
        "labels": images.label_order,
        "seed": request.seed,
        "num_shards": plan.num_shards,
        "recipe": request.recipe.as_dict(),
        "libraries": decoder_facts(),
        "source": {name: made_of[name] for name in _places(source, images)},
        "members": images.identity(),
    }
    sidecars = bind_plan(request.out, split, facts)
    save_split(cache, images, key)
    missing = [number for number in range(plan.num_shards) if not (request.out / plan.name(number)).is_file()]
    warning = check_space(request.out, SAMPLE_BYTES * len(images) * len(missing) // plan.num_shards)
    if warning:
        progress.say(warning)
    return (
        images,
        plan,
        BuildSetup(containers=images.containers, recipe=request.recipe, out=request.out, sidecars=sidecars),
    )


def _places(source: Source, images: SplitSource) -> list[str]:
    return [container.relative_to(source.directory).as_posix() for container in images.containers]


def _jobs(images: SplitSource, plan: Plan) -> Iterator[ShardJob]:
    for number in range(plan.num_shards):
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


def _save(request: ShardsRequest, images: SplitSource, sidecars: list[Sidecar], report: SplitReport) -> None:
    """Write the index, then the manifest: a split is whole when its manifest is there."""
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
        libraries={name: str(value) for name, value in decoder_facts().items()},
        source={"containers": [container.name for container in images.containers], "members": images.identity()},
        report=report.manifest_entry(),
        index_sha256=index_sha256,
    )
    save_manifest(manifest_path(request.out, images.split), manifest)


def repair_requests(out: Path, splits: Sequence[str], source: Path, workers: int) -> Iterator[ShardsRequest]:
    """The requests that made the splits in `out`, to be made again: what is whole is kept, the rest is rebuilt.

    Raises RunError for shards that alexnet-prep did not make.
    """
    for split in splits:
        manifest = load_manifest(manifest_path(out, split))
        if not manifest.recipe:
            raise RunError(f"{out}: {split} was not made by alexnet-prep shards; repair it where it was made")
        yield ShardsRequest(
            source=source,
            out=out,
            split=split,
            edition="auto",
            num_shards=len(manifest.shards),
            workers=workers,
            seed=manifest.seed,
            label_order=manifest.label_order,
            recipe=PixelRecipe.from_dict(manifest.recipe),
            hang_seconds=HANG_SECONDS,
        )
