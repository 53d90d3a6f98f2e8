"""Sources of many samples a file: labels as they stand there, numbers or names, become labels of a class list."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from alexnet_prep import entries
from alexnet_prep.archive import Members, Tick
from alexnet_prep.classes import MANIFEST, ClassList, ClassRules, class_list_files, listed_classes, shown_names
from alexnet_prep.entries import Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.keys import archive_keys
from alexnet_prep.rawlabels import RawLabels, by_names, by_schemas, classes_of, numbered
from alexnet_prep.split import Labels, SplitSource, sort_members
from alexnet_prep.splitfiles import SplitFiles
from alexnet_shards.index import NO_LABEL

WNID = re.compile(rb"n\d{8}(?!\d)")


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
        for name in self.by_split.strangers if split == self.splits[0] else ():
            found.ledger.found()
            found.ledger.ignore(entries.STRANGER, name)
        listed = listed_classes(self.directory, self.rules)
        classes = listed or self._classes(found, tick)
        if any(found.class_names):
            found = _by_schemas(found, classes, listed is not None)
        elif listed is None or listed.origin == MANIFEST:
            found = replace(found, labels=by_names(found.labels, classes))
        images = labelled_split(found, classes, self.edition)
        absent = self.by_split.absent.get(split, ())
        if not absent:
            return images
        there = f"{len(found.containers):,} of {len(found.containers) + len(absent):,} files"
        line = f"{split}: {there} that their names say are there; missing are {shown_names(absent)}"
        return replace(images, notes=(line, *images.notes), missing=images.missing + len(absent))

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
        there = self.known or self.named(of_first)
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
    notes += _check_order(found, labels, classes)
    locations = found.members.locations.copy()
    locations["group"] = np.where(labels == NO_LABEL, len(classes.classes), labels)
    groups = (*(fact.wnid for fact in classes.classes), found.split)
    members = replace(found.members, locations=locations, groups=groups, account=found.ledger.account())
    named, shared = archive_keys(members, found.place_of)
    if shared:
        line = f"{found.split}: {shared:,} of {len(named):,} images have the class and the name of another"
        notes.append(f"{line}: if the set lies there twice, move one away")
    members, labels, keys = sort_members(members, labels, named, str(found.where))
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


def _by_schemas(found: Found, classes: ClassList, is_listed: bool) -> Found:
    files = list(zip(found.containers, found.class_names, strict=True))
    return replace(
        found, labels=by_schemas(found.labels, found.members.locations["container"], files, classes, is_listed)
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


def _check_order(found: Found, labels: Labels, classes: ClassList) -> list[str]:
    """A line where names of images say WNIDs of the list, some of them others than their labels'; raises SourceError where
    most of them do."""
    number_of = {fact.wnid.encode(): number for number, fact in enumerate(classes.classes)}
    if not any(WNID.fullmatch(wnid) for wnid in number_of):
        return []
    compared, wrong, first = 0, 0, -1
    for row, (name, label) in enumerate(zip(found.members.names, labels, strict=True)):
        named = {number_of[wnid] for wnid in WNID.findall(name) if wnid in number_of}
        if named and label != NO_LABEL:
            compared += 1
            if int(label) not in named:
                wrong, first = wrong + 1, row if first < 0 else first
    if not wrong:
        return []
    name, wnid = (
        bytes(found.members.names[first]).decode("utf-8", "surrogateescape"),
        classes.classes[labels[first]].wnid,
    )
    if wrong > compared // 2:
        raise SourceError(
            f"{found.where}: {name} has label {labels[first]}, which is {wnid} in {classes.origin or 'the list'} "
            f"({wrong:,} of {compared:,} like it); "
            "expected classes in the order of the labels: sorted WNIDs, mostly"
        )
    return [
        f"{found.split}: {wrong:,} of {compared:,} images have another class than their names say, as {name} {wnid}"
    ]
