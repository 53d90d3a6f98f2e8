"""Names of splits as people spell them."""

import pytest

from alexnet_shards.splits import counterparts, listed, spellings_of, split_in


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00294.parquet", "train"),
        ("imagenet1k-validation-00.tar", "val"),
        ("VAL_000.tar", "val"),
        ("test.parquet", "test"),
        ("train000.tar", "train"),
        ("trainer-0.tar", ""),
        ("train-val-0.tar", ""),
        ("00000.tar", ""),
    ],
)
def test_the_split_in_a_name(name: str, split: str) -> None:
    assert split_in(name) == split


def test_what_a_validation_set_may_be_called() -> None:
    assert spellings_of("val") == ("val", "validation")
    assert counterparts("train", "val") == ("val", "validation")
    assert counterparts("imagenet1k-train", "val") == ("imagenet1k-val", "imagenet1k-validation")
    assert counterparts("shards", "val") == ("val", "validation")
    assert counterparts("trainers", "val") == ("val", "validation")


def test_a_few_of_many() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(7)), 2) == "0, 1 and 5 more"
