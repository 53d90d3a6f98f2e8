"""The plan: a permutation that is even, stable for ever, and cut without loss."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.errors import SourceError
from alexnet_prep.plan import make_plan, permutation, usual_num_shards
from alexnet_prep.split import SplitSource


def split_of(members: int, split: str = "train") -> SplitSource:
    """A split of `members` images without content."""
    names = np.arange(members).astype("S8")
    return SplitSource(
        split=split,
        edition="2010",
        label_order="devkit",
        classes=(),
        containers=(Path("x.tar"),),
        names=names,
        keys=names,
        locations=np.zeros(members, LOCATION_DTYPE),
        labels=np.zeros(members, np.int32),
        patched=np.zeros(members, np.bool_),
    )


def splitmix64(value: int) -> int:
    """Vigna's splitmix64 finaliser in plain integers."""
    mask = (1 << 64) - 1
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


def test_the_permutation_equals_plain_integers() -> None:
    key = int.from_bytes(hashlib.sha256(b"7/train").digest()[:8], "little")
    mixed = [splitmix64((i * 0x9E3779B97F4A7C15 + key) & ((1 << 64) - 1)) for i in range(1000)]
    assert permutation(1000, 7, "train").tolist() == sorted(range(1000), key=mixed.__getitem__)


def test_the_permutation_never_changes() -> None:
    assert permutation(10, 0, "train").tolist() == [6, 9, 0, 5, 4, 8, 2, 7, 3, 1]
    assert permutation(10, 0, "train").tolist() != permutation(10, 1, "train").tolist()
    assert permutation(10, 0, "train").tolist() != permutation(10, 0, "val").tolist()


def test_the_permutation_spreads_neighbours() -> None:
    # 1000 classes of 1000 neighbours each: a shard of 1000 must hold about as many classes as a fair draw, 632.
    order = permutation(1_000_000, 0, "train").reshape(1000, 1000) // 1000
    classes = np.array([len(np.unique(shard)) for shard in order])
    assert abs(classes.mean() - 632.3) < 2
    assert classes.min() > 580


@pytest.mark.parametrize(("members", "num_shards"), [(1, 1), (10, 3), (1261, 2), (1000, 1000), (4999, 7)])
def test_every_member_is_in_one_shard(members: int, num_shards: int) -> None:
    plan = make_plan(split_of(members), 3, num_shards)
    parts = [plan.rows(number) for number in range(num_shards)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(members))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_default_number_of_shards() -> None:
    assert usual_num_shards("train", 1_261_406) == 1000
    assert usual_num_shards("train", 1_261_405) == 1000
    assert usual_num_shards("train", 1_281_167) == 1000
    assert usual_num_shards("val", 50_000) == 40
    assert usual_num_shards("train", 1_260) == 1
    assert usual_num_shards("train", 1_261) == 2
    plan = make_plan(split_of(1_261_406), 0, None)
    assert (plan.name(0), plan.name(999)) == ("train-000.tar", "train-999.tar")
    assert replace(plan, num_shards=2000).name(1999) == "train-1999.tar"


def test_more_shards_than_images_are_refused() -> None:
    with pytest.raises(SourceError, match=r"has 5 images; expected 1\.\.5"):
        make_plan(split_of(5), 0, 6)
