"""Class lists compared: each way in which two of them may differ."""

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact, is_nameless
from alexnet_train.classlist import check_validation_classes, list_sha256, order_of


def facts(*wnids: str) -> tuple[ClassFact, ...]:
    return tuple(ClassFact(wnid=wnid) for wnid in wnids)


ABC, CAB = facts("a", "b", "c"), facts("c", "a", "b")
NUMBERS = facts("0", "1", "2")


def test_orders() -> None:
    assert order_of(ABC, ABC, "x.tar") is None
    assert order_of(ABC, CAB, "x.tar") == [2, 0, 1]
    assert order_of(NUMBERS, NUMBERS[:2], "x.tar") is None
    assert order_of((), (), "x.tar") is None


@pytest.mark.parametrize(
    ("known", "classes", "message"),
    [
        (ABC, (), "lists no classes but 0 numbers, the checkpoint 3 classes; give it the list with alexnet-prep index"),
        (ABC, NUMBERS, "lists no classes but 3 numbers, the checkpoint 3 classes; give it the list"),
        (ABC, facts("a", "b", "d"), r"3 classes that are not the checkpoint's 3 \(2 are\)"),
        (ABC, ABC[:2], r"2 classes that are not the checkpoint's 3 \(2 are\)"),
        (facts("a", "a"), facts("a", "b"), r"not the checkpoint's 2 \(1 are\)"),
        (NUMBERS[:2], NUMBERS, r"3 classes that are not the checkpoint's 2 \(2 are\)"),
        (NUMBERS, (), r"0 classes that are not the checkpoint's 3"),
    ],
)
def test_other_classes_are_refused(known: tuple[ClassFact, ...], classes: tuple[ClassFact, ...], message: str) -> None:
    with pytest.raises(AlexnetError, match=f"^x.tar: .*{message}"):
        order_of(known, classes, "x.tar")


def test_validation_classes() -> None:
    where = ("train.tar", "val.tar")
    check_validation_classes(ABC, ABC, where)
    check_validation_classes(NUMBERS, NUMBERS[:2], where)
    with pytest.raises(AlexnetError, match=r"^val.tar: its manifest lists no classes, that of train.tar does; give it"):
        check_validation_classes(ABC, NUMBERS, where)
    with pytest.raises(AlexnetError, match=r"^train.tar: its manifest lists no classes, that of val.tar does; give it"):
        check_validation_classes(NUMBERS, ABC, where)
    with pytest.raises(AlexnetError, match="val.tar: the same 3 classes in another order than in train.tar"):
        check_validation_classes(ABC, CAB, where)
    with pytest.raises(AlexnetError, match="val.tar: 2 classes that are not the 3 of train.tar"):
        check_validation_classes(ABC, ABC[:2], where)


def test_nameless_and_hashes() -> None:
    assert is_nameless(()) and is_nameless(NUMBERS)
    assert not is_nameless(ABC) and not is_nameless(facts("1", "0"))
    assert list_sha256(ABC) != list_sha256(CAB)
