"""What --shards names: the sets of one folder, on this machine or in a store."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alexnet_remote import RemoteFolder, bring_sets, remote_folder
from alexnet_shards.adopt import Counted, Indexed, LabelRules, index_shards
from alexnet_shards.errors import FormatError, PatternError
from alexnet_shards.files import write_atomic
from alexnet_shards.manifest import index_path, manifest_path, shards_of, split_of
from alexnet_shards.pattern import expand_patterns, is_folder
from alexnet_shards.pool import Workers
from alexnet_shards.sets import Fetch, find_sets, here
from alexnet_shards.splits import ALL_SPLITS, split_in

MANIFEST_SUFFIX = ".manifest.json"


@dataclass(frozen=True, kw_only=True)
class NamedSets:
    """The sets `splits` of a folder. `directory` holds their manifests and indices: it is the folder, or, of one in a
    store (`remote`), a copy of the small files there."""

    directory: Path
    splits: tuple[str, ...]
    remote: RemoteFolder | None = None

    @property
    def shown(self) -> str:
        """The folder as messages have it."""
        return str(self.directory) if self.remote is None else self.remote.shown

    @property
    def fetch(self) -> Fetch:
        """Brings a shard to where it can be read."""
        return here if self.remote is None else self.remote.fetched

    def shards_there(self, split: str) -> list[str]:
        """Names of the shards of a split that the folder holds, as far as a server lists them."""
        if self.remote is not None:
            return self.remote.names(f"{split}-*.tar")
        return [path.name for path in shards_of(self.directory, split)]


@contextmanager
def named_sets(patterns: Sequence[str], split: str) -> Iterator[NamedSets]:
    """The sets that a user means by `patterns`: of a folder all or just `split`, of shards theirs.

    Raises PatternError for bad patterns, FormatError where there is no such split, or more than one directory.
    """
    if not is_remote(patterns):
        directory, splits = named_splits(patterns, split)
        yield NamedSets(directory=directory, splits=splits)
        return
    with remote_folder(patterns, None if split == "all" else split) as (folder, names):
        yield NamedSets(directory=folder.copy, splits=bring_sets(folder, names, split), remote=folder)


def is_remote(patterns: Sequence[str]) -> bool:
    """Whether patterns are addresses; raises PatternError where some are and some are not."""
    remote = ["://" in pattern for pattern in patterns]
    if any(remote) and not all(remote):
        raise PatternError("local and remote shards in one pattern; name either")
    return any(remote)


def named_splits(patterns: Sequence[str], split: str) -> tuple[Path, tuple[str, ...]]:
    """(directory, names of the splits) of local `patterns`; raises as `named_sets`."""
    plain = not glob.has_magic(patterns[0]) and not patterns[0].endswith(".tar")
    if len(patterns) == 1 and (plain or is_folder(patterns[0])):
        directory = Path(patterns[0])
        return directory, splits_in(directory) if split == "all" else (split,)
    sets = find_sets(expand_patterns(patterns, None if split == "all" else split))
    if len({files.directory for files in sets}) > 1:
        raise FormatError(f"{patterns[0]}: names shards of {len(sets)} sets in several directories; name one directory")
    directory = sets[0].directory
    names = {files.name for files in sets} & set(splits_in(directory))
    if split != "all":
        names &= {split}
    if not names:
        raise FormatError(f"{patterns[0]}: no shards of a split with a manifest; make it with alexnet-prep index")
    return directory, tuple(sorted(names))


def splits_in(directory: Path) -> tuple[str, ...]:
    """Splits whose manifest lies in `directory`; raises FormatError where there is none."""
    splits = tuple(sorted(path.name.removesuffix(MANIFEST_SUFFIX) for path in directory.glob(f"*{MANIFEST_SUFFIX}")))
    if not splits:
        raise FormatError(
            f"{directory}: no manifest of a split there; expected a directory that alexnet-prep shards finished"
        )
    return splits


def index_named(
    patterns: Sequence[str], workers: Workers, progress: Counted, labels: LabelRules
) -> tuple[Indexed, ...]:
    """As alexnet_shards.adopt.index_shards, for shards in a store too: index and manifest are uploaded there.

    Shards whose names say different splits are a set each; a folder is all of its shards.
    """
    if not is_remote(patterns):
        groups = by_split(expand_patterns(patterns, ALL_SPLITS))
        return tuple(index_shards(paths, workers, progress, labels) for paths in groups)
    with remote_folder(patterns, None) as (folder, names):
        names = names or tuple(folder.names("*.tar"))
        if not names:
            raise PatternError(f"{folder.shown}: no shards are listed there; name them, as train-{{000..999}}.tar")
        folder.check_writable()
        for name in folder.names(f"*{MANIFEST_SUFFIX}"):
            folder.bring_set(name.removesuffix(MANIFEST_SUFFIX))
        for name in names:  # no more than names and sizes
            write_atomic(folder.copy / name, b"")
            os.truncate(folder.copy / name, folder.size_of(name))
        found = list[Indexed]()
        for paths in by_split([str(folder.copy / name) for name in names]):
            found.append(index_shards(paths, workers, progress, labels, folder.fetched))
            split = found[-1].manifest.split
            folder.put(index_path(folder.copy, split).name)
            folder.put(manifest_path(folder.copy, split).name)
        return tuple(found)


def by_split(paths: Sequence[str]) -> list[list[str]]:
    """Shards by the splits that their names say; where those are not two at least, all of them together."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(split_in(split_of(path)[1]), []).append(path)
    return list(groups.values()) if len(groups.keys() - {""}) > 1 else [list(paths)]
