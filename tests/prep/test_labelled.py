"""Labels that are numbers or names, and the classes they are of."""

from pathlib import Path

import numpy as np
import pytest

from alexnet_prep.archive import LOCATION_DTYPE, Members
from alexnet_prep.classes import ClassList
from alexnet_prep.entries import Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.labelled import Found, labelled_split
from alexnet_prep.rawlabels import LabelColumn, RawLabels
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


def found(names: list[str], labels: RawLabels, split: str = "train") -> Found:
    """A split of one container."""
    rows = np.zeros(len(names), LOCATION_DTYPE)
    rows["offset"] = np.arange(len(names))
    ledger = Ledger()
    for _ in names:
        ledger.found()
    members = Members(names=np.array(names, np.bytes_), locations=rows)
    return Found(
        split=split,
        where=Path("set"),
        containers=(Path("set/a"),),
        members=members,
        labels=labels,
        ledger=ledger,
        place_of=lambda row: f"a_{row}",
    )


def test_a_table_in_the_order_of_keys() -> None:
    split = labelled_split(found(["c.jpg", "a.jpg", "b.png"], raw(1, 0, 1)), class_list("x", "y"), "parquet")
    assert [split.key(row) for row in range(3)] == ["a", "b", "c"]
    assert split.labels.tolist() == [0, 1, 1]
    assert split.locations["offset"].tolist() == [1, 2, 0]
    assert split.label_order == "wnid"


def test_keys_as_folders_have_them_and_by_place_where_that_is_not_enough() -> None:
    split = labelled_split(found(["0.jpg", "0.jpg", "1.jpg"], raw(0, 1, 1)), class_list("x", "y"), "parquet")
    assert [split.key(row) for row in range(3)] == ["x_0", "y_0", "y_1"]
    split = labelled_split(found(["0.jpg", "0.jpg", "1.jpg"], raw(1, 1, 1)), class_list("x", "y"), "parquet")
    assert [split.key(row) for row in range(3)] == ["y_1", "y_a_0_0_jpg", "y_a_1_0_jpg"]


def test_without_labels() -> None:
    some = labelled_split(found(["c.jpg", "a.jpg", "b.jpg"], raw(1, None, 0)), class_list("x", "y"), "parquet")
    assert [some.key(row) for row in range(2)] == ["b", "c"]
    assert (some.account.entries, dict(some.account.ignored), some.missing) == (3, {"image without a label": 1}, 1)
    assert some.notes == ("train: a.jpg is an image without a label, not a member",)
    test = labelled_split(found(["b.jpg", "a.jpg"], raw(None, None), "test"), class_list("x", "y"), "parquet")
    assert (test.labels.tolist(), test.notes) == ([-1, -1], ("test: written without labels: there are none",))
    with pytest.raises(SourceError, match="no image of the train split has a label"):
        labelled_split(found(["a.jpg"], raw(None)), class_list("x"), "parquet")
    with pytest.raises(SourceError, match="no image of the val split; expected"):
        labelled_split(found([], raw(), "val"), class_list("x"), "parquet")


def test_a_class_list_in_another_order_is_noticed() -> None:
    names = [f"n0000000{number}_1_n0000000{number}.JPEG" for number in (1, 2, 3)]
    wnids = ("n00000001", "n00000002", "n00000003")
    assert labelled_split(found(names, raw(0, 1, 2)), class_list(*wnids), "parquet").labels.tolist() == [0, 1, 2]
    with pytest.raises(
        SourceError, match=r"n00000001_1_n00000001.JPEG has label 0, which is n00000003 in --classes \(2 of 3"
    ):
        labelled_split(found(names, raw(0, 1, 2)), class_list(*reversed(wnids)), "parquet")


def test_a_few_labels_beside_the_names_are_told() -> None:
    names = [f"n0000000{number}_{image}.JPEG" for image, number in enumerate((1, 2, 3, 3))]
    split = labelled_split(found(names, raw(0, 1, 2, 0)), class_list("n00000001", "n00000002", "n00000003"), "parquet")
    line = "train: 1 of 4 images have another class than their names say, as n00000003_3.JPEG n00000001"
    assert (split.labels.tolist(), split.notes) == ([0, 1, 2, 0], (line,))
