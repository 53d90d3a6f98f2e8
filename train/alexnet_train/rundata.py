"""What a run reads: its training and validation shards and the statistics, opened and checked against each other."""

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_remote import RemoteFileMissingError, SplitMissingError, file_beside, open_shards, split_beside
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import BUILD_DIRECTORY, manifest_path, shards_of, split_of
from alexnet_shards.shardset import ShardSet, check_stats
from alexnet_shards.shown import public_address
from alexnet_shards.splits import counterparts, listed
from alexnet_shards.stats import Stats, load_stats
from alexnet_train.classlist import check_validation_classes
from alexnet_train.distributed import World
from alexnet_train.recipe import Recipe

STATS_NAME = "stats.npz"
TRAIN_SPLIT, VAL_SPLIT = "train", "val"  # what a folder stands for


@dataclass(frozen=True, kw_only=True, eq=False)
class RunData:
    """The opened inputs of a run; `val` is None where there is nothing to validate on."""

    train: ShardSet
    val: ShardSet | None
    stats: Stats


def open_run_data(
    shards: Sequence[str],
    val_shards: Sequence[str],
    stats: Path | None,
    say: Callable[[str], None] = lambda line: None,
) -> RunData:
    """Open training shards, validation shards and statistics; where the last two are silent, the files beside serve.

    `say` hears why there is no validation set, and of training shards that are left out. Raises AlexnetError where one is
    missing or damaged, the classes differ, labels are private, or the statistics are of other shards.
    """
    train = open_shards(shards, split=TRAIN_SPLIT)
    if line := _left_out(train):
        say(line)
    val = open_shards(val_shards, split=VAL_SPLIT) if val_shards else _val_beside(train, say)
    stats_path = stats or _stats_beside(train)
    try:
        found = load_stats(stats_path)
    except FormatError as error:
        if stats is None and "://" in train.paths[0]:  # the copy is as it came: what is wrong is wrong at its address
            raise FormatError(str(error).replace(str(stats_path), f"{_folder(train)}/{STATS_NAME}")) from error
        raise
    check_stats(found, train, stats_path)
    for part in (train, val):
        if part is not None and bool((part.labels == NO_LABEL).any()):
            raise AlexnetError(f"{part.paths[0]}: its labels are private; name shards with labels")
    if val is not None:
        if val.num_samples == 0:  # it would be said after the first epoch, and again after each start
            raise AlexnetError(f"{val.paths[0]}: no samples to validate on; name other shards with --val-shards")
        check_validation_classes(train.classes, val.classes, (train.paths[0], val.paths[0]))
    return RunData(train=train, val=val, stats=found)


def _left_out(train: ShardSet) -> str:
    """How many shards of the training split lie beside those that were named; "" where none does, or it is not on this disk.

    A range that was right for another set leaves photos out that nobody would miss.
    """
    folders = {path.rpartition("/")[0] or "." for path in train.paths}
    if len(folders) > 1 or "://" in train.paths[0]:
        return ""
    folder, split = folders.pop(), train.manifest.split
    named = {Path(path).name for path in train.paths}
    others = [path for path in shards_of(Path(folder), split) if path.name not in named]
    if not others:
        return ""
    return (
        f"{folder}: {len(others):,} of {len(named) + len(others):,} shards of {split} are left out, {others[0].name} first; "
        f"--shards {shlex.quote(folder)} takes all"
    )


def _val_beside(train: ShardSet, say: Callable[[str], None]) -> ShardSet | None:
    """The validation shards beside the training shards; None, and a line that says why, where there are none.

    They go by the training set's name in either spelling: val or validation beside train. None of a store is one that
    says so: where it cannot be asked, that is an error.
    """
    begin = "no validation set, so errors are of training images alone"
    directory = train.paths[0].rpartition("/")[0] or "."
    local = None if "://" in directory else Path(directory)
    names = counterparts(train.manifest.split, VAL_SPLIT)
    reasons = []
    for name in names:
        if local and (why := _unusable(local, name)):
            say(f"{begin}: {directory} holds {why}")
            return None
        try:
            found = split_beside(train, name)
        except SplitMissingError as error:
            reasons.append(str(error))
            continue
        if found.num_samples == 0:
            say(f"{begin}: {public_address(directory)} holds a {name} split without samples")
            return None
        if local and (others := [other for other in names if other != name and shards_of(local, other)]):
            say(
                f"{directory}: validated on {name}-*.tar; {others[0]}-*.tar lies there too, choose it with --val-shards"
            )
        return found
    looked_for = (
        f"{directory} holds no {' or '.join(f'{name}-*.tar' for name in names)}" if local else "; ".join(reasons)
    )
    say(f"{begin}: {looked_for}{_what_lies_there(local, train) if local else ''}; name others with --val-shards")
    return None


def _unusable(directory: Path, name: str) -> str:
    """Why the split `name` that was begun in a directory cannot serve; "" where nothing speaks against it."""
    manifest = manifest_path(directory, name)
    if (directory / BUILD_DIRECTORY / name).exists() and not manifest.exists():
        return f"an unfinished {name} split; run alexnet-prep there again to finish it"
    if manifest.exists() and not shards_of(directory, name):
        return f"{manifest.name} but none of its shards"
    return ""


def _what_lies_there(directory: Path, train: ShardSet) -> str:
    """The tars beside the training shards, by what they are called and how many there are."""
    own = {fact.name for fact in train.manifest.shards}
    tars = (path.name for path in directory.glob("*.tar") if not path.name.startswith("."))
    found = Counter(split_of(name)[1] for name in tars if name not in own)
    shown = listed(f"{name} ({count:,} {'shards' if count > 1 else 'shard'})" for name, count in sorted(found.items()))
    return f" (beside the training shards lie {shown})" if shown else ""


def check_processes_agree(data: RunData, world: World) -> None:
    """Raise AlexnetError, in the first process alone, where one has opened other shards, or no validation set.

    A store or a file system that is not the same everywhere would let some wait for a validation that others leave out.
    """
    mine = f"{data.train.fingerprint} {data.val.fingerprint if data.val else 'no validation set'}"
    if world.any([world.told(mine) != mine])[0]:
        world.on_main(lambda: _refuse_processes(data))


def _refuse_processes(data: RunData) -> None:
    raise AlexnetError(
        f"{data.train.paths[0]}: the processes of this run have opened different training or validation shards; let all "
        "see the same files, then start again"
    )


def check_plateau(recipe: Recipe, data: RunData) -> None:
    """Raise AlexnetError where the rates wait for a validation error that nobody measures."""
    if recipe.optim.plateau_epochs and data.val is None:
        raise AlexnetError(
            f"optim.plateau_epochs is {recipe.optim.plateau_epochs} but there are no validation shards beside "
            f"{data.train.paths[0]}; give --val-shards, or a recipe whose phases say when the rates drop"
        )


def _folder(train: ShardSet) -> str:
    """Where the training shards lie, as it may be shown."""
    return train.paths[0].partition("?")[0].rpartition("/")[0] or "."


def _stats_beside(train: ShardSet) -> Path:
    why = ""
    try:
        path = file_beside(train, STATS_NAME)
        if path.exists():
            return path
    except RemoteFileMissingError as error:
        why = f" ({error})"
    raise AlexnetError(
        f"{_folder(train)}/{STATS_NAME}: no statistics beside the training shards{why}; give --stats FILE, or make them "
        f"there with alexnet-prep compute-stats --shards {shlex.quote(_folder(train))}"
    )


def with_classes(recipe: Recipe, train: ShardSet) -> Recipe:
    """The recipe with num_classes 0 replaced by the shards' number; raises AlexnetError where it is too small."""
    given, needed = recipe.model.num_classes, len(train.classes)
    if given == 0 and needed == 0:
        raise AlexnetError(f"{train.paths[0]}: its manifest lists no classes; say how many with --set num_classes=N")
    if given and given < max(needed, int(train.labels.max()) + 1):
        raise AlexnetError(f"num_classes is {given}, but the shards have {needed} classes; leave it out or raise it")
    return replace(recipe, model=replace(recipe.model, num_classes=given or needed))


def sort_paths(shards: Sequence[str], val_shards: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(training, validation) patterns. The shell expands unquoted braces and globs to many words, of which --val-shards
    gets the first alone; those of the validation split that came to `shards` belong to it."""
    if val_shards is None or not val_shards.endswith(".tar"):  # a folder is one word in any shell
        return tuple(shards), () if val_shards is None else (val_shards,)
    val_split = split_of(val_shards)
    val_paths = [path for path in shards[1:] if path.endswith(".tar") and split_of(path) == val_split]
    return (*shards[:1], *(path for path in shards[1:] if path not in val_paths)), (val_shards, *val_paths)
