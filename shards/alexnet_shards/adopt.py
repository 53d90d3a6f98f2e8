"""Index and manifest for shards made elsewhere, and a lost index made again, so that they can be streamed and verified."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.index import NO_LABEL, load_index, save_index
from alexnet_shards.labels import CLS, SOURCE_FIELD, LabelNumbers, LabelPlace, class_lines, class_numbers
from alexnet_shards.manifest import (
    BUILD_DIRECTORY,
    ClassFact,
    Manifest,
    check_shard_name,
    load_manifest,
    save_manifest,
    set_name,
)
from alexnet_shards.parsing import Where, read_bounded
from alexnet_shards.pattern import expand_patterns
from alexnet_shards.pool import Workers
from alexnet_shards.scan import OnShard, PassedOver, Scanned, check_labelled, check_labels, scan_shards
from alexnet_shards.sets import Fetch, SetFiles, find_sets, here, with_siblings
from alexnet_shards.sidefiles import write_info

MAX_CLASS_LIST_BYTES = 16 << 20

Counted = Callable[[int, int], None]  # (shards done, shards in all)


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """Where the labels stand (None: as numbers in .cls), their classes where a list names them, and whether every sample
    must have a label."""

    place: LabelPlace | None = None
    classes: tuple[ClassFact, ...] | None = None
    are_needed: bool = True

    def numbers(self) -> LabelNumbers:
        """How a scan reads them."""
        if self.place is None:
            return CLS
        return LabelNumbers(self.place, class_numbers(self.classes or ()), takes_names=True)


ANY_LABELS = LabelRules(are_needed=False)


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What became of the shards that were indexed: their manifest, what of them belongs to no sample, by kind, and the
    shards beside them that were not read."""

    manifest: Manifest
    passed_over: PassedOver = field(default_factory=dict)
    neighbours: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The object that `alexnet-prep index --json` prints."""
        return {
            "split": self.manifest.split,
            "shards": len(self.manifest.shards),
            "samples": self.manifest.samples,
            "classes": len(self.manifest.classes),
            **(
                {"passed_over": {kind: count for kind, (count, _) in self.passed_over.items()}}
                if self.passed_over
                else {}
            ),
            **({"neighbours": len(self.neighbours)} if self.neighbours else {}),
        }

    def lines(self) -> list[str]:
        """What the command prints: the counts, then a line for each kind of member that belongs to no sample."""
        counts = [(name, value) for name, value in self.as_json().items() if name not in ("passed_over", "neighbours")]
        lines = [", ".join(f"{name} {value}" for name, value in counts)]
        lines += [f"passed over: {count} x {kind}, first {name}" for kind, (count, name) in self.passed_over.items()]
        if self.neighbours:
            lines.append(f"not named and not read: {len(self.neighbours)} shards beside them, as {self.neighbours[0]}")
        return lines


def index_shards(
    patterns: Sequence[str],
    workers: Workers,
    progress: Counted,
    labels: LabelRules = ANY_LABELS,
    fetch: Fetch = here,
) -> Indexed:
    """Write index and manifest of the shards that `patterns` name, all in one directory, and timm's `_info.json` of the
    directory; they are one set.

    `fetch` brings a shard to where it can be read.
    Of shards that alexnet-prep made, and whose sha256 are those of their manifest, the index alone is made again.
    Raises PatternError for a bad pattern and FormatError for what cannot be indexed; see adopt_shards.
    """
    paths = expand_patterns(patterns)
    sets = [replace(files, fetch=fetch) for files in find_sets(paths)]
    own = [files for files in sets if _is_own(files)]
    if len({files.directory for files in sets}) > 1 or (own and len(sets) > 1):
        names = ", ".join(str(files.directory / files.name) for files in sets[:4])
        raise FormatError(f"{patterns[0]}: names {len(sets)} sets ({names}); index one at a time")
    if own:
        found = _index_again(own[0], workers, progress, labels.classes)
        write_info(own[0].directory)
        return found
    name = set_name([Path(path).name for path in paths])
    files = SetFiles(directory=sets[0].directory, name=name, paths=paths, fetch=fetch)
    chosen = sorted(map(Path, paths), key=lambda path: path.name)
    neighbours = tuple(path.name for path in sorted(with_siblings(files)[1]))
    indexed = adopt_shards(files, chosen, workers, counted(progress, len(chosen)), labels)
    write_info(files.directory)
    return replace(indexed, neighbours=neighbours)


def counted(progress: Counted, total: int) -> OnShard:
    """A scan's progress as counts."""
    done = iter(range(1, total + 1))
    return lambda _: progress(next(done), total)


def adopt_shards(
    files: SetFiles,
    paths: Sequence[Path],
    workers: Workers = 1,
    progress: OnShard | None = None,
    labels: LabelRules = ANY_LABELS,
    optional: Collection[Path] = (),
) -> Indexed:
    """Scan the shards `paths` and write index and manifest of `files` beside them; `optional` ones that cannot be read
    are left out.

    A class list of None keeps the names of the manifest that is there, or names each class by its label, up to the largest
    that is used. Raises FormatError where alexnet-prep is at work on the split, for labels beyond the class list, samples
    without one where each must have one, damaged shards, and where nothing can be written.
    """
    if (files.directory / BUILD_DIRECTORY / files.name).is_dir():
        raise FormatError(
            f"{files.directory}: alexnet-prep shards has not finished {files.name}; start it again, it goes on from there"
        )
    _check_names(paths)
    numbers, classes = labels.numbers(), labels.classes
    scanned = scan_shards(paths, workers, progress, optional, numbers, files.fetch)
    if labels.are_needed:
        check_labelled(paths, scanned, numbers)
    check_labels(paths, scanned, None if classes is None else len(classes))
    manifest = Manifest(split=files.name, classes=_class_list(files, scanned, classes), shards=scanned.facts)
    if numbers.takes_names:
        manifest = replace(manifest, source={SOURCE_FIELD: str(numbers.place)})
    manifest = write_set(files, manifest, scanned)
    return Indexed(manifest=manifest, passed_over=scanned.passed_over)


def write_set(files: SetFiles, manifest: Manifest, scanned: Scanned) -> Manifest:
    """Write the index, then the manifest with its sha256."""
    manifest = replace(manifest, index_sha256=save_index(files.index, scanned.rows))
    save_manifest(files.manifest, manifest)
    return manifest


def repair_index(files: SetFiles, workers: Workers = 1, progress: OnShard | None = None) -> Scanned:
    """Make the index of `files` again from the shards of its manifest, and touch nothing else.

    Raises FormatError where a shard is missing or its size or sha256 is not the manifest's.
    """
    manifest = load_manifest(files.manifest)
    paths = [files.directory / fact.name for fact in manifest.shards]
    for path, fact in zip(paths, manifest.shards, strict=True):
        size = path.stat().st_size if path.is_file() else None
        if size != fact.bytes:
            words = "missing" if size is None else f"{size} bytes"
            raise FormatError(
                f"{path}: {words}, expected {fact.bytes} bytes by {files.manifest.name}; {_remedy(manifest)}"
            )
    labels = CLS if manifest.recipe else LabelNumbers.of(manifest.source, manifest.classes)
    scanned = scan_shards(paths, workers, progress, labels=labels, fetch=files.fetch)
    for path, fact, found in zip(paths, manifest.shards, scanned.facts, strict=True):
        if found.sha256 != fact.sha256 or found.samples != fact.samples:
            raise FormatError(
                f"{path}: its sha256 is {found.sha256[:12]}…, {files.manifest.name} has {fact.sha256[:12]}…: it was "
                f"changed; {_remedy(manifest)}"
            )
    sha256 = save_index(files.index, scanned.rows)
    if manifest.index_sha256 not in ("", sha256):
        save_manifest(files.manifest, replace(manifest, index_sha256=sha256))
    return scanned


def first_index(files: SetFiles) -> None:
    """The index and manifest that a set of shards made elsewhere gets when it is first opened; overwrites nothing.

    Raises FormatError as adopt_shards does, and where an index is there without its manifest and of other shards.
    """
    paths, siblings = with_siblings(files)
    if files.index.exists():
        there, scanned = load_index(files.index), scan_shards(paths, optional=siblings)
        if not np.array_equal(there, scanned.rows):
            raise FormatError(
                f"{files.index}: an index without its manifest, and not of the shards beside it; restore "
                f"{files.manifest.name}, or make both again with alexnet-prep index"
            )
    adopt_shards(files, paths, optional=siblings)


def read_classes(path: Path) -> tuple[ClassFact, ...]:
    """Classes of a text file, `WNID words…` a line, in label order; raises FormatError where it has none."""
    where = Where(path=path, what="class list", remedy="expected a line `WNID words` a label")
    try:
        facts = class_lines(read_bounded(where, MAX_CLASS_LIST_BYTES).decode("utf-8"))
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise where.unreadable(error.strerror if isinstance(error, OSError) else "no UTF-8") from error
    if not facts or len({fact.wnid for fact in facts}) != len(facts):
        raise FormatError(
            f"{path}: {len(facts)} classes, or one twice; expected a line `WNID words` a label (names with spaces end at a "
            "tab, in every line)"
        )
    return facts


def _index_again(files: SetFiles, workers: Workers, progress: Counted, classes: Sequence[ClassFact] | None) -> Indexed:
    manifest = load_manifest(files.manifest)
    if classes is not None and tuple(classes) != manifest.classes:
        raise FormatError(
            f"{files.manifest}: alexnet-prep made these shards and knows their classes; leave out --classes"
        )
    scanned = repair_index(files, workers, counted(progress, len(manifest.shards)))
    return Indexed(manifest=manifest, passed_over=scanned.passed_over)


def _is_own(files: SetFiles) -> bool:
    """Whether alexnet-prep made these shards: their manifest then has what cannot be made again from them."""
    return files.manifest.exists() and bool(load_manifest(files.manifest).recipe)


def _remedy(manifest: Manifest) -> str:
    if manifest.recipe:
        return "rebuild it with alexnet-prep verify --repair --source DIR"
    return "fetch it again, or index what is there with alexnet-prep index"


def _check_names(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            check_shard_name(path.name)
        except ValueError as error:
            raise FormatError(f"{path}: {error}; rename it") from error
    names = [path.name for path in paths]
    if len(set(names)) != len(names):
        raise FormatError(f"{paths[0].parent}: two shards of one name; index one directory at a time")


def _class_list(files: SetFiles, scanned: Scanned, classes: Sequence[ClassFact] | None) -> tuple[ClassFact, ...]:
    if classes is not None:
        return tuple(classes)
    largest = int(scanned.rows["label"].max(initial=NO_LABEL))
    numbers = tuple(ClassFact(wnid=str(label)) for label in range(largest + 1))
    try:
        before = load_manifest(files.manifest).classes if os.path.lexists(files.manifest) else ()
    except AlexnetError:
        before = ()
    named = any(fact.wnid != str(label) or fact.words for label, fact in enumerate(before))
    return before if named and largest < len(before) else numbers
