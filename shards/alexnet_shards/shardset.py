"""The chosen shards: their paths, index rows, labels and classes, checked against the manifest when they are opened."""

import functools
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_shards.adopt import first_index, repair_index
from alexnet_shards.errors import FormatError
from alexnet_shards.index import NO_LABEL, IndexRows, check_index, load_index
from alexnet_shards.labels import CLS, LabelNumbers
from alexnet_shards.locks import locked
from alexnet_shards.manifest import ClassFact, Manifest, is_nameless, load_manifest
from alexnet_shards.pattern import Patterns, expand_patterns
from alexnet_shards.scan import member_at as member_at
from alexnet_shards.scan import scan_shards
from alexnet_shards.sets import SetFiles, find_sets
from alexnet_shards.stale import find_stale
from alexnet_shards.stats import Stats

HASHED_INDEX_BYTES = 8 << 20  # a larger one is hashed by verify alone: opening costs milliseconds

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardSet:
    """The shards of one run, in the order of their manifest whatever the order of the pattern.

    `rows` are the (N,) rows of INDEX_DTYPE of these shards only; field `shard` counts `paths` from 0. `manifest` lists
    these shards only. `split_fingerprint` is of every shard of the split, chosen or not. `paths` are as they were spelled
    and count from the folder `opened_in`.
    """

    paths: tuple[str, ...]
    rows: IndexRows
    manifest: Manifest
    split_fingerprint: str
    opened_in: str = ""

    @property
    def num_samples(self) -> int:
        """N, the number of samples."""
        return len(self.rows)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths from the root, for reading: the process may have changed its folder since, or be another one."""
        return tuple(os.path.join(self.opened_in, path) for path in self.paths)  # noqa: PTH118  of a thousand

    @property
    def classes(self) -> tuple[ClassFact, ...]:
        """The class list; a class's place is its label."""
        return self.manifest.classes

    @functools.cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) int64 labels, NO_LABEL where the label is private."""
        return self.rows["label"].astype(np.int64)

    @functools.cached_property
    def fingerprint(self) -> str:
        """64 hex digits that name the content of the chosen shards."""
        return self.manifest.fingerprint()

    @functools.cached_property
    def rows_sha256(self) -> str:
        """64 hex digits that name the chosen samples in their order, labels included.

        Two sets of the same shards differ in it where they are joined in another order, or where labels do not stand in
        .cls and were read from elsewhere.
        """
        return hashlib.sha256(np.ascontiguousarray(self.rows).view(np.uint8).data).hexdigest()

    def key_of(self, row: int) -> str:
        """ "SHARD, KEY" of the sample of an index row, for messages; the key is looked up in the tar."""
        entry = self.rows[row]
        number = int(entry["shard"])
        return f"{self.paths[number]}, {member_at(self.files[number], int(entry['offset']))}"


def open_shards(patterns: Patterns, *, split: str | None = None) -> ShardSet:
    """Open the shards that `patterns` name (see alexnet_shards.pattern) by the manifest and index beside them.

    Of a folder those of `split` are meant, where that is None those of the one split that it holds.

    Costs milliseconds, as no tar is read but a few headers; shards that were made elsewhere get their manifest and index
    first, and a lost index is made again (see alexnet_shards.adopt). No file that is there is written over. Raises
    PatternError where the pattern is bad, FormatError where a shard is missing, of another size than its manifest says,
    of another class list, or its index is damaged or of other content.
    """
    opened = join_sets([_open_set(files) for files in find_sets(expand_patterns(patterns, split))])
    with suppress(OSError):  # the current folder is gone, and paths count from the root
        return replace(opened, opened_in=os.getcwd())  # noqa: PTH109
    return opened


def check_stats(stats: Stats, shards: ShardSet, where: Path) -> None:
    """Raise FormatError unless `stats`, read from `where`, are of `shards` or of their whole split."""
    if stats.fingerprint not in (shards.fingerprint, shards.split_fingerprint):
        raise FormatError(
            f"{where}: statistics of other shards (fingerprint {stats.fingerprint[:12]}, expected "
            f"{shards.fingerprint[:12]}); make them again with alexnet-prep compute-stats"
        )


def _open_set(files: SetFiles) -> ShardSet:
    """The chosen shards of one set, its index made first where there is none."""
    if not files.manifest.exists() or not files.index.exists():
        _make_index_once(files)
    try:
        names = {path.rpartition("/")[2] for path in files.paths}
        with os.scandir(files.directory) as entries:
            facts = {entry.name: entry.stat() for entry in entries if entry.name in names}
        index_facts = files.index.stat()
    except OSError as error:
        raise FormatError(f"{files.directory}: cannot be read ({error.strerror}); check the files") from error
    sizes = {name: status.st_size for name, status in facts.items()}
    hash_index = index_facts.st_size <= HASHED_INDEX_BYTES
    shards = choose_shards(files.manifest, files.index, files.paths, sizes, hash_index)
    changed = [facts[fact.name].st_mtime_ns > index_facts.st_mtime_ns for fact in shards.manifest.shards]
    labels = CLS if shards.manifest.recipe else LabelNumbers.of(shards.manifest.source, shards.manifest.classes)
    stale = find_stale(shards.paths, shards.rows, [number for number, newer in enumerate(changed) if newer], labels)
    if stale is None:
        return shards
    if shards.manifest.recipe:
        raise FormatError(
            f"{stale}: the shard is not the one that was indexed; see what is damaged with alexnet-prep verify"
        )
    LOGGER.warning("%s; reading the shards once more; keep what is found with alexnet-prep index", stale)
    scanned = scan_shards([Path(path) for path in shards.paths], labels=labels)
    manifest = replace(shards.manifest, shards=scanned.facts)
    check_rows(files.index, scanned.rows, manifest)
    return replace(shards, rows=scanned.rows, manifest=manifest, split_fingerprint=manifest.fingerprint())


def _make_index_once(files: SetFiles) -> None:
    """Make the index of shards that have none; processes that ask at once wait for the first."""
    with locked(files.directory):
        has_manifest = files.manifest.exists()
        if has_manifest and files.index.exists():
            return
        lost = "index" if has_manifest else "manifest and index"
        if not os.access(files.directory, os.W_OK):
            raise FormatError(
                f"{files.directory}: no {lost} of {files.name} beside the shards, and the directory cannot be written; "
                "run alexnet-prep index where it can"
            )
        LOGGER.warning("%s: no %s of %s; reading its shards once to make them", files.directory, lost, files.name)
        if has_manifest:
            repair_index(files)
        else:
            first_index(files)


def choose_shards(
    manifest_file: Path,
    index_file: Path,
    chosen: Sequence[str],
    sizes: Mapping[str, int],
    hash_index: bool = True,
) -> ShardSet:
    """The shards at the paths or URLs `chosen`, all of the split of `manifest_file`, with its rows of `index_file`.

    `sizes` are bytes by file name, of those that are known; `hash_index` False leaves the index's sha256 to
    `alexnet-prep verify`. Raises FormatError where manifest, index and shards do not fit together.
    """
    manifest, rows = load_manifest(manifest_file), load_index(index_file)
    if hash_index:
        check_index(index_file, manifest.index_sha256, manifest_file)
    path_of = {path.rpartition("/")[2]: path for path in chosen}
    numbers = [number for number, fact in enumerate(manifest.shards) if fact.name in path_of]
    if len(numbers) != len(chosen):
        known = {fact.name for fact in manifest.shards}
        alien = next((path for name, path in path_of.items() if name not in known), chosen[0])
        raise FormatError(f"{alien}: not in {manifest_file}; make the index again with alexnet-prep index")
    facts = tuple(manifest.shards[number] for number in numbers)
    for fact in facts:
        if sizes.get(fact.name, fact.bytes) != fact.bytes:
            raise FormatError(
                f"{path_of[fact.name]}: {sizes[fact.name]} bytes, expected {fact.bytes} by its manifest: truncated or "
                "replaced; see what is damaged with alexnet-prep verify"
            )
    check_rows(index_file, rows, manifest)
    if len(numbers) < len(manifest.shards):
        rows = _choose_rows(rows, numbers, len(manifest.shards))
    return ShardSet(
        paths=tuple(path_of[fact.name] for fact in facts),
        rows=rows,
        manifest=replace(manifest, shards=facts),
        split_fingerprint=manifest.fingerprint(),
    )


def check_rows(index: Path, rows: IndexRows, manifest: Manifest) -> None:
    """Raise FormatError unless the index agrees with its manifest in counts, places and labels."""
    samples = np.array([fact.samples for fact in manifest.shards], np.int64)
    lengths = np.array([fact.bytes for fact in manifest.shards], np.uint64)
    shard = rows["shard"]
    agree = len(rows) == samples.sum() and (len(rows) == 0 or int(shard.max()) < len(samples))
    agree = agree and np.array_equal(np.bincount(shard, minlength=len(samples)), samples)
    offset = rows["offset"]
    agree = agree and int(offset.max(initial=0)) < 2**63  # else offset + size may be more than 64 bits hold
    agree = agree and bool(np.all(offset + rows["size"] <= lengths[shard]))
    if not agree:
        raise FormatError(f"{index}: not the index of the manifest beside it; make it again with alexnet-prep index")
    lowest, largest = int(rows["label"].min(initial=0)), int(rows["label"].max(initial=0))
    if lowest < NO_LABEL or (manifest.classes and largest >= len(manifest.classes)):
        raise FormatError(
            f"{index}: label {lowest if lowest < NO_LABEL else largest} in a set of {len(manifest.classes)} classes; "
            "make the index again with alexnet-prep index"
        )


def _choose_rows(rows: IndexRows, numbers: Sequence[int], num_shards: int) -> IndexRows:
    """The rows of the shards `numbers`, renumbered by their places there."""
    place = np.full(num_shards, -1, np.int64)
    place[list(numbers)] = np.arange(len(numbers))
    kept: IndexRows = rows[place[rows["shard"]] >= 0]
    kept["shard"] = place[kept["shard"]]
    return kept


def _check_same_classes(first: ShardSet, other: ShardSet) -> None:
    ours, theirs = [fact.wnid for fact in first.classes], [fact.wnid for fact in other.classes]
    if ours != theirs and not (is_nameless(first.classes) and is_nameless(other.classes)):
        shorter = min(len(ours), len(theirs))
        place = next((label for label in range(shorter) if ours[label] != theirs[label]), shorter)
        raise FormatError(
            f"{other.paths[0]}: other classes than {first.paths[0]} ({len(theirs)} and {len(ours)} classes, the first "
            f"difference at label {place}); name shards of one class list"
        )


def join_sets(parts: Sequence[ShardSet]) -> ShardSet:
    """Several splits or directories as one set; raises FormatError where their classes differ and are not but numbers."""
    if len(parts) == 1:
        return parts[0]
    for part in parts[1:]:
        _check_same_classes(parts[0], part)
    rows, first_shard = [], 0
    for part in parts:
        moved = part.rows.copy()
        moved["shard"] += first_shard
        first_shard += len(part.paths)
        rows.append(moved)
    facts = tuple(fact for part in parts for fact in part.manifest.shards)
    manifest = replace(parts[0].manifest, shards=facts, classes=max((part.classes for part in parts), key=len))
    return ShardSet(
        paths=tuple(path for part in parts for path in part.paths),
        rows=np.concatenate(rows),
        manifest=manifest,
        split_fingerprint=manifest.fingerprint(),
    )
