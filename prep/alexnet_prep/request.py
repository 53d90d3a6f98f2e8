"""What `alexnet-prep shards` was asked for, and what a repair asks for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from alexnet_pixels import PixelRecipe
from alexnet_prep.choice import AUTO
from alexnet_prep.classes import MANIFEST, ClassRules
from alexnet_prep.errors import RunError
from alexnet_prep.fields import Fields
from alexnet_prep.job import MAX_MEMBER_BYTES, BuildSetup
from alexnet_prep.nodes import JobEngine
from alexnet_prep.outstore import OutputStore
from alexnet_prep.share import Share
from alexnet_prep.source import OTHERS
from alexnet_shards.editions import EDITIONS
from alexnet_shards.manifest import Manifest, load_manifest, manifest_path
from alexnet_shards.pool import Workers

HANG_SECONDS = 120.0


def no_engine(setup: BuildSetup) -> JobEngine:
    """Before a run has begun there is none."""
    raise RuntimeError("the run has not begun")


@dataclass(frozen=True, kw_only=True)
class ShardsRequest:
    """What `alexnet-prep shards` was asked for; `split` may be "all", `num_shards` and `label_order` None.

    `share` is the part to make of every split, None for the whole; `finish` joins parts that are made already. `read` is
    IN_PLACE, ONCE or AUTO; with `stats` the training split's statistics are made as well. `source` may be an address; with
    a `store` shards go there, and `out` is its work folder; `check_lock` raises once another process has the store's lock.
    `engine_for` is the run's own, once it has begun.
    """

    source: Path | str
    out: Path
    split: str
    edition: str
    num_shards: int | None
    workers: Workers
    seed: int
    label_order: str | None
    recipe: PixelRecipe
    hang_seconds: float
    checksum: bool = False
    rules: ClassRules = field(default_factory=ClassRules)
    fields: Fields = field(default_factory=Fields)
    max_member_bytes: int = MAX_MEMBER_BYTES
    share: Share | None = None
    finish: bool = False
    read: str = AUTO
    stats: bool = False
    store: OutputStore | None = None
    check_lock: Callable[[], None] = lambda: None
    engine_for: Callable[[BuildSetup], JobEngine] = no_engine

    def seen_from(self, workers: Workers) -> "ShardsRequest":
        """The same for `workers`; those of other machines, which stand in folders of their own, with absolute paths."""
        if isinstance(workers, int):
            return self
        source = self.source.absolute() if isinstance(self.source, Path) else self.source
        return replace(self, source=source, out=self.out.absolute())


def repair_requests(out: Path, splits: Sequence[str], source: Path | str, workers: Workers) -> Iterator[ShardsRequest]:
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
            edition=manifest.edition if manifest.edition in (*EDITIONS, *OTHERS) else "auto",
            num_shards=len(manifest.shards),
            workers=workers,
            seed=manifest.seed,
            label_order=manifest.label_order,
            recipe=PixelRecipe.from_dict(manifest.recipe),
            hang_seconds=HANG_SECONDS,
            rules=ClassRules(listed=manifest.classes, list_name=MANIFEST, allow_empty=True, allow_missing=True),
            fields=fields_of(manifest),
            max_member_bytes=manifest.source.get("max_member_bytes", MAX_MEMBER_BYTES),
        ).seen_from(workers)


def fields_of(manifest: Manifest) -> Fields:
    """Where pictures and labels stood in the source of a split; raises RunError where its manifest says nonsense."""
    try:
        return Fields.of(manifest.source)
    except ValueError as error:
        raise RunError(f"{manifest.split}.manifest.json: its source names no fields ({error}); restore it") from error
