"""What a run reads: its training and validation shards and the statistics, opened and checked against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_shards.errors import AlexnetError
from alexnet_shards.index import NO_LABEL
from alexnet_shards.shardset import ShardSet, check_stats
from alexnet_shards.stats import Stats, load_stats
from alexnet_stream import RemoteFileMissingError, file_beside, open_shards, open_split
from alexnet_train.recipe import Recipe

STATS_NAME = "stats.npz"
VAL_SPLIT = "val"


@dataclass(frozen=True, kw_only=True, eq=False)
class RunData:
    """The opened inputs of a run; `val` is None where there is nothing to validate on."""

    train: ShardSet
    val: ShardSet | None
    stats: Stats


def open_run_data(shards: Sequence[str], val_shards: Sequence[str], stats: Path | None) -> RunData:
    """Open training shards, validation shards and statistics; where the last two are silent, the files beside serve.

    Raises AlexnetError where one is missing or damaged, the classes differ, labels are private, or the statistics are
    of other shards.
    """
    train = open_shards(shards)
    directory = train.paths[0].rpartition("/")[0] or "."
    val = open_shards(val_shards) if val_shards else open_split(directory, VAL_SPLIT)
    stats_path = stats or _stats_beside(directory)
    found = load_stats(stats_path)
    check_stats(found, train, stats_path)
    for part in (train, val):
        if part is not None and bool((part.labels == NO_LABEL).any()):
            raise AlexnetError(f"{part.paths[0]}: its labels are private; name shards with labels")
    if val is not None and [fact.wnid for fact in val.classes] != [fact.wnid for fact in train.classes]:
        raise AlexnetError(
            f"{val.paths[0]}: {len(val.classes)} classes that are not the {len(train.classes)} of {train.paths[0]}; "
            "name validation shards of the same class list with --val-shards"
        )
    return RunData(train=train, val=val, stats=found)


def _stats_beside(directory: str) -> Path:
    try:
        path = file_beside(directory, STATS_NAME)
    except RemoteFileMissingError:
        path = None
    if path is None or not path.exists():
        raise AlexnetError(
            f"{directory}/{STATS_NAME}: no statistics beside the training shards; give --stats FILE, or make them there "
            "with alexnet-prep compute-stats"
        )
    return path


def with_classes(recipe: Recipe, train: ShardSet) -> Recipe:
    """The recipe with num_classes 0 replaced by the shards' number; raises AlexnetError where it is too small."""
    given, needed = recipe.model.num_classes, len(train.classes)
    if given == 0 and needed == 0:
        raise AlexnetError(f"{train.paths[0]}: its manifest lists no classes; say how many with --set num_classes=N")
    if given and given < max(needed, int(train.labels.max()) + 1):
        raise AlexnetError(f"num_classes is {given}, but the shards have {needed} classes; leave it out or raise it")
    return replace(recipe, model=replace(recipe.model, num_classes=given or needed))
