"""Sources of many samples a file: labels as they stand there, numbers or names, become labels of a class list."""

import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from alexnet_prep import entries
from alexnet_prep.archive import Members, Tick
from alexnet_prep.classes import ClassList, ClassRules, class_list_files, listed_classes
from alexnet_prep.entries import Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.keys import archive_keys
from alexnet_prep.split import Labels, SplitSource, sort_members
from alexnet_prep.splitfiles import SplitFiles
from alexnet_shards.index import NO_LABEL
from alexnet_shards.labels import class_numbers
from alexnet_shards.manifest import ClassFact

MAX_CLASSES = 32_768  # that are made of labels alone, without a list
SAMPLES_OF_CAPTIONS = 50  # from so many on, texts that are mostly distinct are no classes
WNID = re.compile(rb"n\d{8}(?!\d)")


class LabelColumn:
    """Labels as they are read, one an image: class numbers, or class names; where both come, all are names."""

    def __init__(self) -> None:
        self._values = array("q")
        self._names: dict[str, int] = {}

    def add(self, label: int | str | None) -> None:
        """Take the label of the next image."""
        if label is None:
            self._values.append(NO_LABEL)
        elif isinstance(label, str) or self._names:
            if not self._names:
                self._become_names()
            self._values.append(self._names.setdefault(str(label), len(self._names)))
        else:
            self._values.append(label)

    def _become_names(self) -> None:
        numbers, self._values = self._values, array("q")
        for number in numbers:
            known = number == NO_LABEL
            self._values.append(NO_LABEL if known else self._names.setdefault(str(number), len(self._names)))

    def labels(self) -> "RawLabels":
        """All of them."""
        return RawLabels(np.array(self._values, np.int64), tuple(self._names))


@dataclass(frozen=True, eq=False)
class RawLabels:
    """(N,) int64: class numbers, or, where there are `names`, places among those; NO_LABEL where an image has none."""

    values: npt.NDArray[np.int64]
    names: tuple[str, ...] = ()

    def without(self, rows: npt.NDArray[np.bool_]) -> "RawLabels":
        """The labels of all other images."""
        return replace(self, values=self.values[~rows])


def classes_of(labels: RawLabels, where: Path) -> ClassList:
    """The classes that labels alone make: their sorted names, or the numbers up to the largest.

    Raises SourceError where they can be no classes.
    """
    captions = len(labels.values) >= SAMPLES_OF_CAPTIONS and len(labels.names) > len(labels.values) // 2
    example = labels.names[0][:40] if labels.names else ""
    if captions or len(labels.names) > MAX_CLASSES:
        raise SourceError(
            f"{where}: {len(labels.names):,} different labels of {len(labels.values):,} images, as {example!r}: they "
            "look like captions; say where class labels stand with --label, or which there are with --classes"
        )
    largest = int(labels.values.max(initial=NO_LABEL))
    if not labels.names and largest >= MAX_CLASSES:
        raise SourceError(f"{where}: label {largest:,}; expected below {MAX_CLASSES:,} where no list gives the classes")
    names = sorted(labels.names) if labels.names else [str(number) for number in range(largest + 1)]
    return ClassList(classes=tuple(ClassFact(wnid=name) for name in names))


def numbered(labels: RawLabels, classes: ClassList, name_of: Callable[[int], str]) -> Labels:
    """(N,) int32 0-based labels of `classes`; `name_of` names image n.

    Raises SourceError, naming an image, for a label that is no class.
    """
    listed = f"the {len(classes.classes):,} classes of {classes.origin or 'the training split'}"
    if not labels.names:
        beyond = np.flatnonzero(labels.values >= len(classes.classes))
        if len(beyond):
            raise SourceError(
                f"{name_of(int(beyond[0]))}: its label is {labels.values[beyond[0]]}, but {listed} are 0 to "
                f"{len(classes.classes) - 1:,}; give the list of all with --classes"
            )
        return labels.values.astype(np.int32)
    number_of = class_numbers(classes.classes)
    numbers = np.array([number_of.get(name, -2) for name in labels.names] + [NO_LABEL], np.int32)
    found: Labels = numbers[labels.values]  # NO_LABEL is the last place
    unknown = np.flatnonzero(found == -2)
    if len(unknown):
        name = labels.names[labels.values[unknown[0]]]
        raise SourceError(f"{name_of(int(unknown[0]))}: its label is {name[:60]!r}; expected one of {listed}")
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What was read of a split: images whose group is not set yet, their labels, and the account of all entries.

    `place_of` says where image n lies, distinct where names are not; `class_names` are those in the schema of each
    container, `image_column` the column of the images, where they have such.
    """

    split: str
    where: Path
    containers: tuple[Path, ...]
    members: Members
    labels: RawLabels
    ledger: Ledger
    place_of: Callable[[int], str]
    class_names: tuple[tuple[str, ...], ...] = ()
    image_column: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelledSource(ABC):
    """Files of many samples each, by split. The classes are those that are listed, else those of the first split: what its
    files say, else its labels; `known` has them where that split was read before."""

    directory: Path
    by_split: SplitFiles
    rules: ClassRules
    fields: Fields
    known: ClassList | None = None
    edition: ClassVar[str]
    why_once: ClassVar[str] = ""
    is_cached: ClassVar[bool] = True

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have files."""
        return self.by_split.splits

    def files(self) -> tuple[Path, ...]:
        """Every file of every split, and those that list classes."""
        files = (path for split in self.splits for path in self.by_split.of[split])
        return (*files, *class_list_files(self.directory))

    def choices(self) -> dict[str, Any]:
        """Where images and labels stand, where the user said it."""
        return self.fields.choices()

    def after(self, images: SplitSource) -> Self:
        """The same, which knows the classes of its first split."""
        if images.split != self.splits[0]:
            return self
        return replace(self, known=ClassList(classes=images.classes, origin=f"the {images.split} split"))

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split: names and labels are read, images are not.

        Raises SourceError for damaged files, samples that cannot be told, and labels that are no class.
        """
        if label_order == "devkit":
            raise SourceError(
                f"{self.directory}: its labels are in its own order; leave --labels out, or use --labels wnid"
            )
        self.check(split)
        found = self.found(split, tick)
        return labelled_split(found, self._classes(found, tick), self.edition)

    @abstractmethod
    def check(self, split: str) -> None:
        """Raise SourceError for what is wrong beside the images of a split, as options that are for other sources."""

    @abstractmethod
    def found(self, split: str, tick: Tick) -> Found:
        """What the files of a split hold."""

    def named(self, found: Found | None) -> ClassList | None:
        """The classes that the files of the first split name themselves; `found` is that split, where it was read."""
        return None

    def _classes(self, found: Found, tick: Tick) -> ClassList:
        first = self.splits[0]
        of_first = found if found.split == first else None
        there = listed_classes(self.directory, self.rules) or self.known or self.named(of_first)
        if there is not None:
            return there
        of_first = of_first or self.found(first, tick)
        return classes_of(of_first.labels, of_first.where)


def labelled_split(found: Found, classes: ClassList, edition: str) -> SplitSource:
    """The table of a split. Images without a label are ignored, as the account says, unless a test split has none at all.

    Raises SourceError where there is no image or no label, for labels that are no class, and for a class list in another
    order than the labels'.
    """
    notes: list[str] = []
    without = found.labels.values == NO_LABEL
    if not len(without):
        raise SourceError(f"{found.where}: no image of the {found.split} split; expected at least one")
    if without.all():
        if found.split != "test":
            raise SourceError(f"{found.where}: no image of the {found.split} split has a label; say where labels stand")
        notes.append(f"{found.split}: written without labels: there are none")
    elif without.any():
        found = _labelled_alone(found, without)

    def name_of(row: int) -> str:
        name = bytes(found.members.names[row]).decode("utf-8", "surrogateescape")
        return f"{found.containers[int(found.members.locations['container'][row])]}: {name}"

    labels = numbered(found.labels, classes, name_of)
    _check_order(found.members, labels, classes, found.where)
    locations = found.members.locations.copy()
    locations["group"] = np.where(labels == NO_LABEL, len(classes.classes), labels)
    groups = (*(fact.wnid for fact in classes.classes), found.split)
    members = replace(found.members, locations=locations, groups=groups, account=found.ledger.account())
    members, labels, keys = sort_members(members, labels, archive_keys(members, found.place_of), str(found.where))
    return SplitSource(
        split=found.split,
        edition=edition,
        label_order=classes.label_order,
        classes=classes.classes,
        containers=found.containers,
        names=members.names,
        keys=keys,
        locations=members.locations,
        labels=labels,
        patched=np.zeros(len(keys), np.bool_),
        notes=(*notes, *members.account.lines(found.split)),
        account=members.account,
        missing=members.account.lost(),
        sparse=members.sparse,
        image_column=found.image_column,
    )


def _labelled_alone(found: Found, without: npt.NDArray[np.bool_]) -> Found:
    for row in np.flatnonzero(without):
        found.ledger.ignore(entries.UNLABELLED, bytes(found.members.names[row]).decode("utf-8", "surrogateescape"))
    kept = np.flatnonzero(~without)
    members = replace(found.members, names=found.members.names[kept], locations=found.members.locations[kept])
    place_of = found.place_of
    return replace(
        found, members=members, labels=found.labels.without(without), place_of=lambda row: place_of(int(kept[row]))
    )


def _check_order(members: Members, labels: Labels, classes: ClassList, where: Path) -> None:
    """Raise SourceError where names of images say WNIDs of the list, and most of them others than their labels'."""
    number_of = {fact.wnid.encode(): number for number, fact in enumerate(classes.classes)}
    if not any(WNID.fullmatch(wnid) for wnid in number_of):
        return
    compared, wrong, first = 0, 0, -1
    for row, (name, label) in enumerate(zip(members.names, labels, strict=True)):
        named = {number_of[wnid] for wnid in WNID.findall(name) if wnid in number_of}
        if named and label != NO_LABEL:
            compared += 1
            if int(label) not in named:
                wrong, first = wrong + 1, row if first < 0 else first
    if wrong > compared // 2:
        name, wnid = bytes(members.names[first]).decode("utf-8", "surrogateescape"), classes.classes[labels[first]].wnid
        raise SourceError(
            f"{where}: {name} has label {labels[first]}, which is {wnid} in {classes.origin or 'the list'} "
            f"({wrong:,} of {compared:,} like it); "
            "expected classes in the order of the labels: sorted WNIDs, mostly"
        )


def listed_names(names: Sequence[str], where: Path) -> ClassList:
    """Classes by names in label order, as a file's schema lists them; raises SourceError where one stands twice."""
    if len(set(names)) != len(names) or not all(names):
        raise SourceError(f"{where}: its class names are not distinct; give the classes with --classes")
    return ClassList(classes=tuple(ClassFact(wnid=name) for name in names), origin=f"the schema of {where.name}")
