"""Which classes a folder source has and what their numbers are: by a list where there is one, else by its folders."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from alexnet_prep import entries
from alexnet_prep.archive import file_head, passed_over, utf8
from alexnet_prep.devkit import read_devkit
from alexnet_prep.entries import Ledger, is_dotfile, is_picture, is_rubbish
from alexnet_prep.errors import SourceError
from alexnet_prep.tree import FILE, list_folder, walk_tree
from alexnet_shards.editions import EDITIONS
from alexnet_shards.labels import class_lines
from alexnet_shards.manifest import ClassFact

KAGGLE_CLASSES = "LOC_synset_mapping.txt"
SHOWN_NAMES = 5
MANIFEST = "the manifest"  # the list of a repair


@dataclass(frozen=True, kw_only=True)
class ClassRules:
    """What the user says of a folder source's classes: their list in label order with its origin, or () for none, and
    whether classes may be without images (`allow_empty`) or without a folder (`allow_missing`)."""

    listed: tuple[ClassFact, ...] = ()
    list_name: str = "--classes"
    allow_empty: bool = False
    allow_missing: bool = False


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """Classes in label order, and what says that these are the classes: a file's name, "" for the folders themselves."""

    classes: tuple[ClassFact, ...]
    origin: str = ""

    @property
    def label_order(self) -> str:
        """`wnid` for sorted names, `list` for a list's own order."""
        names = [fact.wnid for fact in self.classes]
        return "wnid" if names == sorted(names) else "list"


def listed_classes(directory: Path, rules: ClassRules) -> ClassList | None:
    """The classes by `--classes`, Kaggle's mapping or a devkit in `directory`, the first that is there; None without.

    Raises SourceError where a list cannot be read.
    """
    if rules.listed:
        return ClassList(classes=rules.listed, origin=rules.list_name)
    mapping = directory / KAGGLE_CLASSES
    if mapping.is_file():
        return ClassList(classes=_read_mapping(mapping), origin=KAGGLE_CLASSES)
    editions = [edition for edition in EDITIONS.values() if (directory / edition.devkit).is_file()]
    if len(editions) > 1:
        years = " and ".join(edition.year for edition in editions)
        raise SourceError(
            f"{directory}: holds the devkits of {years}; move away the one that is not of these images, or give the classes "
            "with --classes"
        )
    for edition in editions:
        found = sorted(read_devkit(directory / edition.devkit, edition.year).classes, key=lambda each: each.wnid)
        facts = (ClassFact(wnid=each.wnid, words=each.words, official_id=each.official_id) for each in found)
        return ClassList(classes=tuple(facts), origin=edition.devkit)
    return None


def named_as_folders(listed: ClassList, folders: Collection[str]) -> ClassList:
    """A list whose whole lines are names of the `folders`, spaces and all, with those as names; else the list as it is."""
    whole = tuple(ClassFact(wnid=f"{fact.wnid} {fact.words}".strip()) for fact in listed.classes)
    names = {fact.wnid for fact in whole}
    if names <= set(folders) and not {fact.wnid for fact in listed.classes} & (set(folders) - names):
        return replace(listed, classes=whole)
    return listed


def class_list_files(directory: Path) -> tuple[Path, ...]:
    """The files in `directory` that `listed_classes` may read."""
    names = (KAGGLE_CLASSES, *(edition.devkit for edition in EDITIONS.values()))
    return tuple(directory / name for name in names if (directory / name).is_file())


def class_directories(split: Path) -> dict[str, Path]:
    """The class folders of a split by name, sorted; dot folders and what other programs leave are none."""
    if not split.is_dir():
        return {}
    found = sorted(entry.path for entry in list_folder(split) if entry.kind == entries.DIRECTORY)
    return {name: below(split, name) for name in found if not is_dotfile(name) and not is_rubbish(name)}


def below(directory: Path, name: str) -> Path:
    """The path of what a listing calls `name` in `directory`."""
    return directory / os.fsdecode(utf8(name))


def has_image(directory: Path) -> bool:
    """Whether any image lies below a class folder."""
    found = (entry.path for entry in walk_tree(directory) if entry.kind == FILE)
    return any(
        not is_dotfile(path) and not is_rubbish(path) and is_picture(path, partial(file_head, directory, path))
        for path in found
    )


def account_beside(split: Path, taken: Mapping[str, str] = MappingProxyType({})) -> Ledger:
    """Count what lies in a split's folder itself: class folders, and what is no part of them with all that is in it; names
    that are `taken` as the kind that they are of there."""
    ledger = Ledger()
    for entry in list_folder(split):
        ledger.found()
        kind = taken.get(entry.path) or passed_over(entry.path) or entry.kind
        if kind == FILE:
            outside = is_picture(entry.path, partial(file_head, split, entry.path))
            kind = entries.OUTSIDE if outside else entries.SIDECAR
        ledger.ignore(kind, entry.path)
        if entry.kind == entries.DIRECTORY and kind != entries.DIRECTORY:
            _count_all(below(split, entry.path), kind, ledger)
    return ledger


def _count_all(directory: Path, kind: str, ledger: Ledger) -> None:
    try:
        for entry in walk_tree(directory):
            ledger.found()
            ledger.ignore(kind, f"{directory.name}/{entry.path}")
    except SourceError:  # it is no part of the set: what cannot be read there is nobody's loss
        return


def refuse_empty(split: Path, names: Sequence[str]) -> None:
    """Raise SourceError for class folders without images."""
    raise SourceError(
        f"{split}: no image in class {'folders' if len(names) > 1 else 'folder'} {shown_names(names)}; remove what is no "
        "class, or keep it as a class without images with --allow-empty-classes"
    )


def refuse_missing(split: Path, names: Sequence[str], listed: ClassList) -> None:
    """Raise SourceError for listed classes without a folder."""
    raise SourceError(
        f"{split}: no folder of class {shown_names(names)} ({len(names):,} of the {len(listed.classes):,} classes of "
        f"{listed.origin}); add them, or go on without them by --allow-missing-classes: the others keep their numbers"
    )


def shown_names(names: Sequence[str], shown: int = SHOWN_NAMES) -> str:
    """The first few names of a list, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _read_mapping(path: Path) -> tuple[ClassFact, ...]:
    try:
        facts = class_lines(path.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check its permissions and its disk") from error
    if not facts or len({fact.wnid for fact in facts}) != len(facts):
        raise SourceError(f"{path}: {len(facts)} classes, or one twice; expected a line `WNID words` a class")
    return facts
