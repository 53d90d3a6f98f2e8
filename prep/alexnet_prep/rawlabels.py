"""Labels as files have them, numbers or names, and the classes that they are of."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_prep.classes import ClassList
from alexnet_prep.errors import SourceError
from alexnet_prep.split import Labels
from alexnet_shards.index import NO_LABEL
from alexnet_shards.labels import class_numbers
from alexnet_shards.manifest import ClassFact

MAX_CLASSES = 32_768  # that are made of labels alone, without a list
SAMPLES_OF_CAPTIONS = 50  # from so many on, texts that are mostly distinct are no classes


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


def by_names(labels: RawLabels, classes: ClassList) -> RawLabels:
    """Numbers as names where `classes` are names that labels made, of which some are digits: a split that has just those
    looks as if it counted classes."""
    are_digits = {fact.wnid.isascii() and fact.wnid.isdigit() for fact in classes.classes}
    if labels.names or len(are_digits) < 2:
        return labels
    column = LabelColumn()
    for number in labels.values.tolist():
        column.add(None if number == NO_LABEL else str(number))
    return column.labels()


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


def listed_names(names: Sequence[str], where: Path) -> ClassList:
    """Classes by names in label order, as a file's schema lists them; raises SourceError where one stands twice."""
    if len(set(names)) != len(names) or not all(names):
        raise SourceError(f"{where}: its class names are not distinct; give the classes with --classes")
    return ClassList(classes=tuple(ClassFact(wnid=name) for name in names), origin=f"the schema of {where.name}")


def by_schemas(
    labels: RawLabels,
    containers: npt.NDArray[np.uint32],
    files: Sequence[tuple[Path, tuple[str, ...]]],
    classes: ClassList,
    is_listed: bool,
) -> RawLabels:
    """Numbers that count the class names of their own file's schema, made to count `classes`.

    `containers` (N,) says which of the `files`, with the names in their schemas, an image is of. A split that lacks a
    class counts the others from 0 on. Names that no class has, as words beside a list (`is_listed`) of WNIDs, are in its
    order where there are as many. Raises SourceError where neither tells the class of an image.
    """
    values, number_of = labels.values.copy(), class_numbers(classes.classes)
    is_of_numbers = all(fact.wnid == str(number) for number, fact in enumerate(classes.classes))
    for container, (path, names) in enumerate(files):
        rows = np.flatnonzero((containers == container) & (labels.values != NO_LABEL))
        if not names or labels.names or not len(rows):
            continue
        places = np.array([number_of.get(name, NO_LABEL) for name in names], np.int64)
        used = np.unique(labels.values[rows])
        if used[-1] >= len(names):
            raise SourceError(
                f"{path}: holds label {used[-1]}, but its schema names {len(names):,} classes; fetch it again"
            )
        unknown = next((number for number in used.tolist() if places[number] == NO_LABEL), None)
        if unknown is None:
            values[rows] = places[values[rows]]
        elif not is_of_numbers and not (is_listed and _are_in_order(places, classes)):
            raise SourceError(
                f"{path}: {names[unknown][:60]!r}, one of the {len(names):,} classes of its schema, is none of the "
                f"{len(classes.classes):,} of {classes.origin or 'the training split'}; list those with --classes, by the "
                "names of the schema or as many in its order"
            )
    return replace(labels, values=values)


def _are_in_order(places: npt.NDArray[np.int64], classes: ClassList) -> bool:
    """Whether names can be of a list in its order: there are as many, and most that both have stand at one place."""
    same = places == np.arange(len(places))
    return len(places) == len(classes.classes) and int(same.sum()) * 2 >= int((places != NO_LABEL).sum())
