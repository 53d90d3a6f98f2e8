"""Sources with a directory a class, as torchvision's ImageFolder reads them, and Kaggle's copy of ILSVRC-2012."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_prep.archive import Members, Names, Tick, base_name, merge_members, read_directory
from alexnet_prep.classes import (
    ClassList,
    ClassRules,
    account_beside,
    class_directories,
    has_image,
    listed_classes,
    named_as_folders,
    refuse_empty,
    refuse_missing,
    shown_names,
)
from alexnet_prep.errors import SourceError
from alexnet_prep.keys import folder_keys
from alexnet_prep.split import Labels, SplitSource, sort_members
from alexnet_prep.splitfiles import split_folder
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact
from alexnet_shards.splits import SPELLINGS

KAGGLE_IMAGES = Path("ILSVRC/Data/CLS-LOC")
KAGGLE_VAL_LABELS = "LOC_val_solution.csv"
LOOKED_AT = 3  # folders, to tell whether there are images: annotations lie in as many, and each file is opened
KAGGLE_HEADER = "ImageId"
WORDS_NAME = "words.txt"  # Tiny ImageNet's, of all of WordNet
FLAT_FOLDER = "images"  # of Tiny ImageNet's validation and test sets


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """`images`/SPLIT/CLASS/**/* (or SPLIT/* with labels in a table beside `directory`, in Kaggle's copy)."""

    directory: Path
    images: Path
    edition: str
    splits: tuple[str, ...]
    rules: ClassRules = field(default_factory=ClassRules)
    why_once: str = ""
    is_cached: bool = False  # thousands of folders are read as fast as they are compared

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split; labels are places in the source's class list, else count the sorted class names, which is the
        WNID order for ImageNet's.

        Raises SourceError where the devkit's order is asked for, an image has no class, a class is unknown, has no folder
        or no image.
        """
        if label_order == "devkit":
            raise SourceError(
                f"{self.directory}: a folder source has no devkit order; leave --labels out, or use --labels wnid"
            )
        classes = self._classes()
        directories = class_directories(self._folder(split))
        if not directories or self._is_flat(split, classes):
            return self._read_flat(split, classes, tick)
        return self._read_classes(split, classes, directories, tick)

    def _is_flat(self, split: str, classes: ClassList) -> bool:
        """Whether a split's only folder holds the images of all classes, as in Tiny ImageNet: with labels in a table, or, to
        test, without."""
        folder = self._folder(split)
        alone = list(class_directories(folder)) == [FLAT_FOLDER] and FLAT_FOLDER not in {
            c.wnid for c in classes.classes
        }
        return alone and (split == "test" or annotations_path(folder, split).is_file())

    def _folder(self, split: str) -> Path:
        return split_folder(self.images, split)

    def after(self, images: SplitSource) -> "FolderSource":
        """The same: class folders are read in no time."""
        return self

    def files(self) -> tuple[Path, ...]:
        """The files and folders that say what the source is; its images are looked up at every start."""
        tables = (self.directory / KAGGLE_VAL_LABELS, annotations_path(self._folder("val"), "val"))
        return tuple(path for path in tables if path.is_file())

    def choices(self) -> dict[str, Any]:
        """Nothing: a repair has the classes from the manifest."""
        return {}

    def _classes(self) -> ClassList:
        """The listed classes, else those of the training split, or of the first split that has class directories."""
        listed = listed_classes(self.directory, self.rules)
        if listed is not None:
            return named_as_folders(
                listed, {name for split in self.splits for name in class_directories(self._folder(split))}
            )
        for split in self.splits:
            directories = class_directories(self._folder(split))
            empty = [name for name, path in directories.items() if not has_image(path)]
            if empty and not self.rules.allow_empty:
                refuse_empty(self._folder(split), empty)
            if directories:
                words = _read_words(self.directory / WORDS_NAME)
                return ClassList(classes=tuple(ClassFact(wnid=name, words=words.get(name, "")) for name in directories))
        return ClassList(classes=())

    def _read_classes(self, split: str, classes: ClassList, directories: Mapping[str, Path], tick: Tick) -> SplitSource:
        label_of = {fact.wnid: number for number, fact in enumerate(classes.classes)}
        strangers = [name for name in directories if name not in label_of]
        if strangers:
            raise SourceError(
                f"{directories[strangers[0]]}: no class of {classes.origin or 'the training split'} has this name; "
                f"expected one of {len(classes.classes)} (unknown: {shown_names(strangers)})"
            )
        missing = self._missing(split, classes, directories)
        parts = []
        for group, directory in enumerate(directories.values()):
            parts.append(read_directory(directory, group, group))
            tick(len(parts[-1].names))
        empty = [name for name, part in zip(directories, parts, strict=True) if not len(part.names)]
        if empty and not self.rules.allow_empty:
            refuse_empty(self._folder(split), empty)
        _refuse_folders_too_deep(directories, parts, classes)
        notes = [f"{split}: {name} is a class without images" for name in empty]
        notes += _order_lines(split, classes)
        if missing:
            of_all = f"{len(missing):,} of the {len(classes.classes):,} of {classes.origin or 'the training split'}"
            notes.append(f"{split}: no folder of class {shown_names(missing)} ({of_all})")
        members = merge_members(parts, tuple(directories), account_beside(self._folder(split)).account())
        labels = np.array([label_of[name] for name in members.groups], np.int32)[members.locations["group"]]
        ordered = sort_members(members, labels, folder_keys(members), str(self._folder(split)))
        found = self._split(split, classes, list(directories.values()), ordered, notes)
        return replace(found, missing=found.missing + len(missing))

    def _missing(self, split: str, classes: ClassList, directories: Mapping[str, Path]) -> list[str]:
        """Classes without a folder; raises SourceError where a list names them and nothing allows it."""
        missing = [fact.wnid for fact in classes.classes if fact.wnid not in directories]
        if missing and classes.origin and not self.rules.allow_missing:
            refuse_missing(self._folder(split), missing, classes)
        return missing

    def _read_flat(self, split: str, classes: ClassList, tick: Tick) -> SplitSource:
        directory = self._folder(split)
        if split == "train":
            raise SourceError(
                f"{directory}: no class folder there; expected train/CLASS/*, as images to train on have labels"
            )
        members = replace(read_directory(directory, 0, 0), groups=(split,))
        tick(len(members.names))
        ordered = sort_members(members, np.full(len(members.names), NO_LABEL, np.int32), None, str(self.images))
        members, labels, keys = ordered
        absent = self._label_by_table(directory, classes, members, labels) if split == "val" else []
        notes = []
        if (labels == NO_LABEL).all():
            notes = [f"{split}: written without labels: the images are in no class directory"]
        elif absent:
            verb = (
                "images that have a label are not there" if len(absent) > 1 else "image that has a label is not there"
            )
            notes = [f"{split}: {len(absent):,} {verb}: {shown_names(absent)}"]
        found = self._split(split, classes, [directory], (members, labels, keys), notes)
        return replace(found, missing=found.missing + len(absent))

    def _label_by_table(self, directory: Path, classes: ClassList, members: Members, labels: Labels) -> list[str]:
        """Write the labels of validation images to `labels`, by Tiny ImageNet's or Kaggle's table; which images it has that
        are not there."""
        table = annotations_path(directory, "val")
        if table.is_file():
            wnid_of = _read_annotations(table)
        else:
            table = self.directory / KAGGLE_VAL_LABELS
            wnid_of = _read_val_labels(table)
        label_of = {fact.wnid: number for number, fact in enumerate(classes.classes)}
        for row, name in enumerate(name.decode("utf-8", "surrogateescape") for name in members.names):
            wnid = wnid_of.pop(base_name(name).rpartition(".")[0], "")
            if wnid not in label_of:
                raise SourceError(f"{directory / name}: no class in {table}; expected every image of val there")
            labels[row] = label_of[wnid]
        return sorted(wnid_of)

    def _split(
        self,
        split: str,
        classes: ClassList,
        directories: Sequence[Path],
        ordered: tuple[Members, Labels, Names],
        notes: Sequence[str],
    ) -> SplitSource:
        members, labels, keys = ordered
        if not len(keys):
            raise SourceError(f"{self._folder(split)}: holds no image; expected a directory a class")
        return SplitSource(
            split=split,
            edition=self.edition,
            label_order=classes.label_order,
            classes=classes.classes,
            containers=tuple(directories),
            names=members.names,
            keys=keys,
            locations=members.locations,
            labels=labels,
            patched=np.zeros(len(keys), np.bool_),
            notes=(*notes, *members.account.lines(split)),
            account=members.account,
            missing=members.account.lost(),
        )


def _refuse_folders_too_deep(directories: Mapping[str, Path], parts: Sequence[Members], classes: ClassList) -> None:
    """Raise SourceError for a single class all of whose images lie in several folders below it: those are the classes, as
    where an archive was unpacked into a folder of its own name."""
    if len(directories) != 1 or classes.origin:
        return
    (path,) = directories.values()
    below = {bytes(name).rpartition(b"/")[0] for name in parts[0].names}
    if len(below) > 1 and b"" not in below:
        shown = shown_names(sorted(name.decode("utf-8", "surrogateescape") for name in below))
        raise SourceError(
            f"{path}: is the only class folder, and its images lie in folders below it ({shown}); if those are the classes, "
            "move them up, or list the one class there is with --classes"
        )


def _order_lines(split: str, classes: ClassList) -> list[str]:
    """A line where class folders are numbers that do not count as texts do."""
    names = [fact.wnid for fact in classes.classes]
    if classes.origin or not all(name.isascii() and name.isdigit() for name in names):
        return []
    place = next((place for place, name in enumerate(sorted(names, key=int)) if names[place] != name), None)
    if place is None:
        return []
    line = f"{split}: class folders are numbers, sorted as texts: {names[place]} is class {place}"
    return [f"{line}; another order is given by --classes"]


def find_folder_source(directory: Path, splits: Sequence[str], rules: ClassRules | None = None) -> FolderSource | None:
    """The folder source in `directory`, None where there is none: at least one split with a directory a class."""
    for images, edition in ((directory / KAGGLE_IMAGES, "2012"), (directory, "folder")):
        found = tuple(split for split in splits if split_folder(images, split).is_dir())
        if any(class_directories(split_folder(images, split)) for split in found):
            return FolderSource(
                directory=directory, images=images, edition=edition, splits=found, rules=rules or ClassRules()
            )
    return None


def unnamed_folders(directory: Path) -> list[Path]:
    """Folders beside the splits' whose names are no split's, and which hold class folders with images."""
    others = [path for name, path in class_directories(directory).items() if name not in SPELLINGS]
    return [path for path in others if any(islice(map(has_image, class_directories(path).values()), LOOKED_AT))]


def annotations_path(folder: Path, split: str) -> Path:
    """Tiny ImageNet's table of labels in the folder of a split."""
    return folder / f"{split}_annotations.txt"


def _read_words(path: Path) -> dict[str, str]:
    """Words by WNID, from lines of `n00001740<tab>entity`; nothing where there is no such file."""
    try:
        rows = (line.split("\t") for line in path.read_text("utf-8", "replace").splitlines())
        return {row[0]: row[1].strip() for row in rows if len(row) == 2}
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); expected lines of `WNID<tab>words`") from error


def _read_annotations(path: Path) -> dict[str, str]:
    """WNID by image, from Tiny ImageNet's table: `val_0.JPEG\tn03444034\t0\t32\t44\t62`."""
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error}); expected the labels of the validation images") from error
    labels = _one_label_each(path, [(row[0].rpartition(".")[0], row[1].strip()) for row in rows if len(row) > 1])
    if not labels:
        raise SourceError(f"{path}: holds no label; expected lines of `image.JPEG<tab>wnid<tab>…`")
    return labels


def _read_val_labels(path: Path) -> dict[str, str]:
    """WNID by image, from Kaggle's table: `ILSVRC2012_val_00000001,n01751748 111 108 ...`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read ({error}); expected the labels of the validation images") from error
    labels = _one_label_each(path, [(row[0], row[1].split()[0]) for row in rows if len(row) == 2 and row[1].strip()])
    labels.pop(KAGGLE_HEADER, None)
    if not labels:
        raise SourceError(f"{path}: holds no label; expected lines of `image,wnid …`")
    return labels


def _one_label_each(path: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The class by image; raises SourceError for an image that a table gives two."""
    labels: dict[str, str] = {}
    for image, wnid in pairs:
        if labels.setdefault(image, wnid) != wnid:
            raise SourceError(f"{path}: {image} is of {labels[image]} and of {wnid} there; expected one class an image")
    return labels
