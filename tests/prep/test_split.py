"""Sorting, keys, label orders, patches and the cache of a split."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_prep.archive import LOCATION_DTYPE, Members
from alexnet_prep.errors import SourceError
from alexnet_prep.imagenet import read_official_split
from alexnet_prep.keys import stems
from alexnet_prep.split import (
    CountDifference,
    SplitSource,
    apply_patches,
    load_split,
    relabel,
    save_split,
    sort_members,
)
from alexnet_shards.editions import EDITIONS
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact


def members_of(*names: str, container: int = 0) -> Members:
    """Members with running offsets."""
    rows = [(container, 0, 512 * (i + 1), 100 + i) for i in range(len(names))]
    return Members(names=np.array([name.encode() for name in names]), locations=np.array(rows, LOCATION_DTYPE))


def test_keys_are_stems_without_dots() -> None:
    names = np.array([b"n01440764_10026.JPEG", b"a.b.jpg", b"plain"])
    assert stems(names).tolist() == [b"n01440764_10026", b"a_b", b"plain"]


def test_members_are_sorted_by_key_with_their_labels() -> None:
    members, labels, keys = sort_members(members_of("b.JPEG", "c.JPEG", "a.JPEG"), np.array([1, 2, 0], np.int32))
    assert keys.tolist() == [b"a", b"b", b"c"]
    assert labels.tolist() == [0, 1, 2]
    assert members.locations["size"].tolist() == [102, 100, 101]


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(SourceError, match=r"a.JPEG and .*a.JPEG would both be sample a \(1 image names stand twice"):
        sort_members(members_of("a.JPEG", "b.JPEG", "a.JPEG"), np.zeros(3, np.int32))


def test_both_label_orders_name_the_same_class() -> None:
    classes = [ClassFact(wnid=wnid, official_id=i) for i, wnid in enumerate(("n3", "n1", "n2"), 1)]
    official = np.array([0, 1, 2, NO_LABEL], np.int32)
    same, in_devkit_order = relabel(official, classes, "devkit")
    assert same.tolist() == [0, 1, 2, NO_LABEL]
    labels, in_wnid_order = relabel(official, classes, "wnid")
    assert labels.tolist() == [2, 0, 1, NO_LABEL]
    for before, after in zip(official[:3], labels[:3], strict=True):
        assert in_devkit_order[before] == in_wnid_order[after]


def test_patches_replace_bytes_by_name() -> None:
    members, patched, unused = apply_patches(
        members_of("a.JPEG", "b.JPEG"), members_of("b.JPEG", "z.JPEG", container=1)
    )
    assert patched.tolist() == [False, True]
    assert unused == ["z.JPEG"]
    assert members.locations["container"].tolist() == [0, 1]
    assert members.locations["size"].tolist() == [100, 100]


def read(small_source: Any, split: str = "train") -> SplitSource:
    """The small source's split."""
    return read_official_split(EDITIONS["2010"], small_source.directory, split, "devkit", lambda _: None)


def test_the_cache_gives_back_what_it_got(small_source: Any, tmp_path: Path) -> None:
    source = read(small_source)
    path = tmp_path / "source.npz"
    save_split(path, source, "key")
    again = load_split(path, "key")
    assert again is not None
    for field in fields(SplitSource):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(source, field.name), err_msg=field.name)
    assert again.identity() == source.identity()
    assert load_split(path, "other key") is None
    path.write_bytes(path.read_bytes()[:100])
    assert load_split(path, "key") is None
    assert load_split(tmp_path / "none.npz", "key") is None


def test_a_million_members_stay_compact(tmp_path: Path) -> None:
    # 1.28 million official names: 32 bytes of name, 32 of key, 20 of place, 4 of label, 1 of patch flag at the most
    source = read_million()
    size = sum(getattr(source, name).nbytes for name in ("names", "keys", "locations", "labels", "patched"))
    assert size / len(source) <= 90


def read_million() -> SplitSource:
    """As many members as the official set has, without files."""
    count = 1_281_167
    names = np.char.add(np.char.add(b"n01440764_", np.arange(count).astype("S7")), b".JPEG")
    return SplitSource(
        split="train",
        edition="2012",
        label_order="devkit",
        classes=(),
        containers=(),
        names=names,
        keys=stems(names),
        locations=np.zeros(count, LOCATION_DTYPE),
        labels=np.zeros(count, np.int32),
        patched=np.zeros(count, np.bool_),
    )


def test_identity_changes_with_labels_and_places(small_source: Any) -> None:
    source = read(small_source)
    identity = source.identity()
    source.labels[0] += 1
    assert source.identity() != identity
    source.labels[0] -= 1
    assert source.identity() == identity
    source.locations["offset"][3] += 512
    assert source.identity() != identity


def test_count_differences(small_source: Any) -> None:
    source = read(small_source)
    assert source.count_differences() == []
    short = SplitSource(**{**{f.name: getattr(source, f.name) for f in fields(source)}, "expected_counts": (8, 9, 8)})
    assert short.count_differences() == [CountDifference(wnid="n00000001", found=8, expected=9)]
