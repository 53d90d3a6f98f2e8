"""Sources with a directory a class, as torchvision's ImageFolder reads them, and Kaggle's copy of ILSVRC-2012."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_prep.archive import Members, Names, Tick, merge_members, read_directory
from alexnet_prep.errors import SourceError
from alexnet_prep.split import Labels, SplitSource, sort_members, stems
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact

KAGGLE_IMAGES = Path("ILSVRC/Data/CLS-LOC")
KAGGLE_VAL_LABELS = "LOC_val_solution.csv"
KAGGLE_CLASSES = "LOC_synset_mapping.txt"


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """`images`/SPLIT/CLASS/* (or SPLIT/* with labels in a table beside `directory`, in Kaggle's copy)."""

    directory: Path
    images: Path
    edition: str
    splits: tuple[str, ...]

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split; labels count the sorted class names, which is the WNID order for ImageNet's.

        Raises SourceError where the devkit's order is asked for, an image has no class, or a class is unknown.
        """
        if label_order not in (None, "wnid"):
            raise SourceError(
                f"{self.directory}: a folder source has no devkit order; leave --labels out, or use --labels wnid"
            )
        classes = self._classes()
        if self._is_flat(split):
            return self._read_flat(split, classes, tick)
        return self._read_classes(split, classes, tick)

    def files(self) -> tuple[Path, ...]:
        """Every directory and table the source is made of."""
        tables = [self.directory / name for name in (KAGGLE_VAL_LABELS, KAGGLE_CLASSES)]
        directories = [self.images / split for split in self.splits]
        classes = [path for split in directories for path in class_directories(split)]
        return (*(path for path in tables if path.is_file()), *directories, *classes)

    def _is_flat(self, split: str) -> bool:
        return not class_directories(self.images / split)

    def _classes(self) -> list[ClassFact]:
        """Classes by sorted name: those of the training split, or of the first split that has class directories."""
        words = self._words()
        for split in self.splits:
            names = [path.name for path in class_directories(self.images / split)]
            if names:
                return [ClassFact(wnid=name, words=words.get(name, "")) for name in names]
        return [ClassFact(wnid=name, words=text) for name, text in sorted(words.items())]

    def _words(self) -> dict[str, str]:
        path = self.directory / KAGGLE_CLASSES
        lines = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
        return {wnid: words for wnid, _, words in (line.partition(" ") for line in lines if line.strip())}

    def _read_classes(self, split: str, classes: Sequence[ClassFact], tick: Tick) -> SplitSource:
        label_of = {fact.wnid: number for number, fact in enumerate(classes)}
        directories = class_directories(self.images / split)
        parts = []
        for group, directory in enumerate(directories):
            if directory.name not in label_of:
                raise SourceError(
                    f"{directory}: no class of the training split has this name; expected one of {len(classes)}"
                )
            parts.append(read_directory(directory, group, group))
            tick(sum(len(part.names) for part in parts))
        members = merge_members(parts, tuple(directory.name for directory in directories))
        labels = np.array([label_of[name] for name in members.groups], np.int32)[members.locations["group"]]
        keys = _unique_keys(members)
        return self._split(split, classes, directories, sort_members(members, labels, keys))

    def _read_flat(self, split: str, classes: Sequence[ClassFact], tick: Tick) -> SplitSource:
        directory = self.images / split
        members = read_directory(directory, 0, 0)
        tick(len(members.names))
        keys = stems(members.names)
        labels = np.full(len(keys), NO_LABEL, np.int32)
        table = self.directory / KAGGLE_VAL_LABELS
        if split == "val":
            wnid_of = _read_val_labels(table)
            label_of = {fact.wnid: number for number, fact in enumerate(classes)}
            for row, key in enumerate(keys):
                wnid = wnid_of.get(bytes(key).decode("utf-8", "replace"), "")
                if wnid not in label_of:
                    raise SourceError(
                        f"{directory / members.names[row].decode('utf-8', 'replace')}: no class in {table}"
                    )
                labels[row] = label_of[wnid]
        return self._split(split, classes, [directory], sort_members(members, labels, keys))

    def _split(
        self,
        split: str,
        classes: Sequence[ClassFact],
        directories: Sequence[Path],
        ordered: tuple[Members, Labels, Names],
    ) -> SplitSource:
        members, labels, keys = ordered
        if not len(keys):
            raise SourceError(f"{self.images / split}: holds no image; expected a directory a class")
        notes = [f"{split}: {name} is a dotfile, not a member" for name in members.ignored]
        if (labels == NO_LABEL).all():
            notes.append(f"{split}: written without labels: the images are in no class directory")
        return SplitSource(
            split=split,
            edition=self.edition,
            label_order="wnid",
            classes=tuple(classes),
            containers=tuple(directories),
            names=members.names,
            keys=keys,
            locations=members.locations,
            labels=labels,
            patched=np.zeros(len(keys), np.bool_),
            notes=tuple(notes),
        )


def find_folder_source(directory: Path, splits: Sequence[str]) -> FolderSource | None:
    """The folder source in `directory`, None where there is none: at least one split with a directory a class."""
    for images, edition in ((directory / KAGGLE_IMAGES, "2012"), (directory, "folder")):
        found = tuple(split for split in splits if (images / split).is_dir())
        if any(class_directories(images / split) for split in found):
            return FolderSource(directory=directory, images=images, edition=edition, splits=found)
    return None


def class_directories(split: Path) -> list[Path]:
    """The class directories of a split, by sorted name; dot directories are none."""
    if not split.is_dir():
        return []
    return sorted(
        (path for path in split.iterdir() if path.is_dir() and not path.name.startswith(".")), key=lambda p: p.name
    )


def _unique_keys(members: Members) -> Names:
    """Stems where they are unique over all classes, else CLASS_STEM: folder sets often count from 0 in each class."""
    keys = stems(members.names)
    if len(np.unique(keys)) == len(keys):
        return keys
    groups = [members.groups[group].encode() for group in members.locations["group"]]
    return np.array([group.replace(b".", b"_") + b"_" + key for group, key in zip(groups, keys, strict=True)])


def _read_val_labels(path: Path) -> dict[str, str]:
    """WNID by image, from Kaggle's table: `ILSVRC2012_val_00000001,n01751748 111 108 ...`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read ({error}); expected the labels of the validation images") from error
    labels = {row[0]: row[1].split()[0] for row in rows if len(row) == 2 and row[1].strip()}
    if not labels:
        raise SourceError(f"{path}: holds no label; expected lines of `image,wnid …`")
    return labels
