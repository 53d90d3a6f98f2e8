"""Which shards are one set: those that one pattern names in one directory, unless a manifest there says otherwise."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from alexnet_shards.errors import FormatError
from alexnet_shards.manifest import index_path, load_manifest, manifest_path, name_style, set_name, split_of

MANIFEST_SUFFIX = ".manifest.json"
INDEX_SUFFIX = ".index.npy"
# Where a shard can be read, as long as the block lasts; it can be pickled.
Fetch = Callable[[Path], AbstractContextManager[Path]]


def here(path: Path) -> AbstractContextManager[Path]:
    """A shard that lies at its own path."""
    return nullcontext(path)


@dataclass(frozen=True, kw_only=True)
class SetFiles:
    """The chosen shards of one set, as they were spelled, and the directory and the name of its manifest and index.

    `fetch` brings a shard to where it can be read.
    """

    directory: Path
    name: str
    paths: tuple[str, ...]
    fetch: Fetch = here

    @property
    def manifest(self) -> Path:
        """Where its manifest lies, or will."""
        return manifest_path(self.directory, self.name)

    @property
    def index(self) -> Path:
        """Where its index lies, or will."""
        return index_path(self.directory, self.name)


def find_sets(paths: Sequence[str]) -> list[SetFiles]:
    """The sets of existing shards `paths`, in the order in which they are first named.

    Shards whose split has a manifest or an index belong to it, others to the manifest of their directory that lists
    them; all that is left of a directory is one set, whatever the names. Raises FormatError for a name that is no tar's.
    """
    by_directory: dict[str, list[str]] = {}
    for path in paths:
        by_directory.setdefault(os.path.normpath(split_of(path)[0]), []).append(path)
    sets = [found for directory, chosen in by_directory.items() for found in _sets_in(Path(directory), chosen)]
    place = {path: number for number, path in enumerate(paths)}
    return sorted(sets, key=lambda found: place[found.paths[0]])


def _sets_in(directory: Path, paths: Sequence[str]) -> list[SetFiles]:
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries]
    with_files = {name.removesuffix(suffix) for suffix in (MANIFEST_SUFFIX, INDEX_SUFFIX) for name in names}
    with_files -= set(names)
    chosen: dict[str, list[str]] = {}
    rest = []
    for path in paths:
        split = split_of(path)[1]
        if split in with_files:
            chosen.setdefault(split, []).append(path)
        else:
            rest.append(path)
    if rest:
        listed = _listed(directory, {name.removesuffix(MANIFEST_SUFFIX) for name in names} & with_files - chosen.keys())
        name_of_rest = set_name([path.rpartition("/")[2] for path in rest])
        for path in rest:
            chosen.setdefault(listed.get(path.rpartition("/")[2], name_of_rest), []).append(path)
    return [SetFiles(directory=directory, name=name, paths=tuple(found)) for name, found in chosen.items()]


def _listed(directory: Path, splits: set[str]) -> dict[str, str]:
    """{shard name: split} of the manifests of `splits`; one that cannot be read is none of these shards' business."""
    found = {}
    for split in sorted(splits):
        try:
            found.update({fact.name: split for fact in load_manifest(manifest_path(directory, split)).shards})
        except FormatError:
            continue
    return found


def with_siblings(files: SetFiles) -> tuple[list[Path], frozenset[Path]]:
    """(shards to read for a set's first index, those of them that were not named): numbered alike, in one directory."""
    chosen = [Path(path) for path in files.paths]
    styles, names = {name_style(path.name) for path in chosen}, {path.name for path in chosen}
    siblings = [
        path
        for path in sorted(files.directory.glob("*.tar"))
        if not path.name.startswith(".") and path.name not in names and name_style(path.name) in styles
    ]
    real = {os.path.realpath(path) for path in chosen}
    siblings = [path for path in siblings if os.path.realpath(path) not in real]
    return sorted([*chosen, *siblings], key=lambda path: path.name), frozenset(siblings)
