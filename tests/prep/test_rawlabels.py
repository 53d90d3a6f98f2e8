"""Labels as files have them, and the classes that they are of."""

from pathlib import Path

import numpy as np
import pytest

from alexnet_prep.classes import ClassList
from alexnet_prep.errors import SourceError
from alexnet_prep.rawlabels import LabelColumn, RawLabels, by_schemas, classes_of, listed_names, numbered
from alexnet_shards.manifest import ClassFact


def raw(*labels: int | str | None) -> RawLabels:
    """Labels as they are read."""
    column = LabelColumn()
    for label in labels:
        column.add(label)
    return column.labels()


def class_list(*names: str) -> ClassList:
    """A class list by its names."""
    return ClassList(classes=tuple(ClassFact(wnid=name) for name in names), origin="--classes")


def test_numbers_and_names() -> None:
    assert raw(3, None, 0).values.tolist() == [3, -1, 0]
    names = raw("b", None, "a", "b")
    assert (names.values.tolist(), names.names) == ([0, -1, 1, 0], ("b", "a"))
    mixed = raw(7, None, "a", 7)
    assert (mixed.values.tolist(), mixed.names) == ([0, -1, 1, 0], ("7", "a"))


def test_classes_that_labels_make() -> None:
    assert [fact.wnid for fact in classes_of(raw("b", "a", None), Path("x")).classes] == ["a", "b"]
    assert [fact.wnid for fact in classes_of(raw(2, 0), Path("x")).classes] == ["0", "1", "2"]
    with pytest.raises(
        SourceError, match="60 different labels of 60 images, as 'a photo of 0': they look like captions"
    ):
        classes_of(raw(*(f"a photo of {number}" for number in range(60))), Path("x"))
    with pytest.raises(SourceError, match="label 50,000; expected below 32,768"):
        classes_of(raw(50_000), Path("x"))


def test_labels_of_a_class_list() -> None:
    assert numbered(raw(1, None, 0), class_list("a", "b"), str).tolist() == [1, -1, 0]
    assert numbered(raw("b", None, "a"), class_list("a", "b"), str).tolist() == [1, -1, 0]
    with pytest.raises(SourceError, match="1: its label is 2, but the 2 classes of --classes are 0 to 1"):
        numbered(raw(0, 2), class_list("a", "b"), str)
    with pytest.raises(SourceError, match="0: its label is 'c'; expected one of the 2 classes of --classes"):
        numbered(raw("c"), class_list("a", "b"), str)
    with pytest.raises(SourceError, match="not distinct"):
        listed_names(["a", "a"], Path("x"))


def test_labels_of_other_images() -> None:
    assert raw(1, 2).without(np.array([True, False])).values.tolist() == [2]


def by_files(
    classes: ClassList, *files: tuple[tuple[str, ...], list[int | None]], is_listed: bool = False
) -> list[int]:
    """Labels of files with class names in their schemas, as numbers of `classes`."""
    labels = [label for _, some in files for label in some]
    containers = np.array([number for number, (_, some) in enumerate(files) for _ in some], np.uint32)
    named = [(Path(f"{number}.parquet"), names) for number, (names, _) in enumerate(files)]
    return list(map(int, by_schemas(raw(*labels), containers, named, classes, is_listed).values))


def test_a_number_counts_the_names_of_its_own_file() -> None:
    animals = class_list("cat", "cow", "dog")
    assert by_files(animals, (("cat", "dog"), [1, 0, None]), (("dog", "cow"), [0, 1]), ((), [1])) == [2, 0, -1, 2, 1, 1]
    listed = ClassList(classes=(ClassFact(wnid="n1", words="dog"), ClassFact(wnid="n2", words="cat")))
    assert by_files(listed, (("cat", "dog"), [0, 1]), is_listed=True) == [1, 0]
    # A name that no class has matters where an image is of it.
    assert by_files(animals, (("dog", "emu"), [0, 0])) == [2, 2]
    with pytest.raises(SourceError, match="0.parquet: 'emu', one of the 2 classes of its schema, is none of the 3 of"):
        by_files(animals, (("dog", "emu"), [0, 1]))
    with pytest.raises(SourceError, match="0.parquet: holds label 2, but its schema names 2 classes"):
        by_files(animals, (("dog", "cow"), [0, 2]))


def test_names_beside_a_list_of_others_are_in_its_order_if_they_can_be() -> None:
    wnids, words = class_list("n1", "n2", "n3"), ("cat", "cow", "dog")
    assert by_files(wnids, (words, [2, 0]), is_listed=True) == [2, 0]
    for names, is_listed in ((words, False), (words[:2], True), (("n3", "n1", "dog"), True)):
        with pytest.raises(SourceError, match="as many in its order"):
            by_files(wnids, (names, [0, 1, len(names) - 1]), is_listed=is_listed)
    assert by_files(wnids, (("n1", "cow", "n3"), [0, 1, 2]), is_listed=True) == [0, 1, 2]
    assert by_files(class_list("0", "1", "2"), (words[:2], [1, 0])) == [1, 0]  # the training split has numbers alone
    assert by_files(class_list("0", "1", "2"), (("0", "2"), [1, 0])) == [2, 0]
