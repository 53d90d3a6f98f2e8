"""The manifest's round trip, its fingerprint, and the names of shards."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_shards.errors import FormatError
from alexnet_shards.manifest import (
    ClassFact,
    Manifest,
    ShardFact,
    index_path,
    load_manifest,
    manifest_path,
    save_manifest,
    shard_name,
    split_of,
)


def manifest(num_shards: int = 3) -> Manifest:
    return Manifest(
        split="train",
        classes=(
            ClassFact(wnid="n01440764", words="tench, Tinca tinca", official_id=1),
            ClassFact(wnid="n2", words="Käse"),
        ),
        shards=tuple(
            ShardFact(
                name=shard_name("train", number, num_shards), samples=number, bytes=10240, sha256=f"{number:064x}"
            )
            for number in range(num_shards)
        ),
        label_order="devkit",
        edition="2010",
        seed=3,
        recipe={"quality": 95},
        report={"dropped": [["key", "reason"]]},
    )


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, "train")
    save_manifest(path, manifest())
    assert load_manifest(path) == manifest()
    first = path.read_bytes()
    save_manifest(path, load_manifest(path))
    assert path.read_bytes() == first
    assert manifest().samples == 3


def test_paths() -> None:
    assert manifest_path(Path("d"), "val") == Path("d/val.manifest.json")
    assert index_path(Path("d"), "val") == Path("d/val.index.npy")


def test_fingerprint_is_of_content_not_of_order() -> None:
    whole = manifest(4)
    assert whole.fingerprint() == whole.fingerprint([fact.name for fact in reversed(whole.shards)])
    backwards = Manifest(split="x", classes=(), shards=tuple(reversed(whole.shards)))
    assert backwards.fingerprint() == whole.fingerprint()
    some = {whole.fingerprint([fact.name]) for fact in whole.shards} | {whole.fingerprint()}
    assert len(some) == 5
    assert all(len(text) == 64 for text in some)


@given(number=st.integers(0, 20000), more=st.integers(1, 20000))
def test_names_sort_as_numbers_and_are_read_back(number: int, more: int) -> None:
    num_shards = number + more
    name = shard_name("train", number, num_shards)
    assert split_of(f"some/where/{name}") == ("some/where", "train")
    assert len(name) == len(shard_name("train", num_shards - 1, num_shards)) >= len("train-000.tar")


def test_a_thousand_shards_have_three_digits() -> None:
    assert shard_name("train", 0, 1000) == "train-000.tar"
    assert shard_name("train", 999, 1000) == "train-999.tar"
    assert shard_name("train", 0, 1001) == "train-0000.tar"


def test_split_of() -> None:
    assert split_of("train-000.tar") == (".", "train")
    assert split_of("s3://bucket/a/my-set-12.tar") == ("s3://bucket/a", "my-set")
    assert split_of("a/imagenet_train_0017.tar") == ("a", "imagenet_train")
    assert split_of("shard12.tar") == (".", "shard")
    assert split_of("a/00017.tar") == ("a", "shards")
    assert split_of("a/imagenet_train_0001.tar.tar") == ("a", "imagenet_train")
    assert split_of("a/shard-a.tar") == ("a", "shard-a")
    assert split_of("a/train.tar") == ("a", "train")
    assert split_of("a/2012-000.tar") == ("a", "2012")
    for path in ("train-000.tar.gz", "a/.tar", "a/.train-000.tar", "d/", "d"):
        with pytest.raises(FormatError, match="not a shard's name"):
            split_of(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a manifest"),
        ({"version": 2}, "version 2, expected 1"),
        ({"shards": [{"name": "x"}]}, "damaged"),
        ({"classes": None}, "damaged"),
        ({"surprise": 1}, "damaged"),
        ({"version": True}, "version True, expected 1"),
        ({"seed": "0"}, "damaged"),
        ({"seed": 10**4000}, "damaged"),
        ({"split": 7}, "damaged"),
        ({"recipe": []}, "damaged"),
        ({"index_sha256": "../x"}, "damaged"),
        ({"classes": [{"wnid": 7}]}, "damaged"),
        ({"classes": ["n01440764"]}, "damaged"),
    ],
)
def test_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = manifest_path(tmp_path, "train")
    save_manifest(path, manifest())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match=message):
        load_manifest(path)


def test_missing_and_not_json(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, "train")
    with pytest.raises(FormatError, match="make it with alexnet-prep index"):
        load_manifest(path)
    for content in (b"", b"{", b"\xff\xfe", b"[]"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="manifest"):
            load_manifest(path)


SHARD = {"name": "train-000.tar", "samples": 1, "bytes": 10240, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        *({"name": name} for name in ("../train-000.tar", "/a.tar", "a\\b.tar", "s3://b/a.tar", "a\n.tar", "", "a")),
        *({"name": name} for name in ("train-{0..9}.tar", "train-<0..9>.tar", "*.tar", "[x].tar", ".a.tar", "-a.tar")),
        {"name": "n" * 300 + ".tar"},
        {"name": 7},
        *({"samples": number} for number in (-1, True, 1.5, 2**63, 10**300, "1", None)),
        {"bytes": -1},
        {"sha256": "x"},
        {"surprise": 1},
    ],
)
def test_shards_that_cannot_be(tmp_path: Path, change: dict[str, object]) -> None:
    path = manifest_path(tmp_path, "train")
    save_manifest(path, manifest())
    path.write_text(json.dumps({**json.loads(path.read_text()), "shards": [{**SHARD, **change}]}))
    with pytest.raises(FormatError, match="damaged manifest") as caught:
        load_manifest(path)
    assert "\n" not in str(caught.value)


def test_a_shard_twice(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, "train")
    save_manifest(path, manifest())
    path.write_text(json.dumps({**json.loads(path.read_text()), "shards": [SHARD, SHARD]}))
    with pytest.raises(FormatError, match="a shard stands twice"):
        load_manifest(path)


def test_names_that_are_no_utf8_come_back_as_they_were(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, "train")
    odd = os.fsdecode(b"caf\xe9.JPEG")
    save_manifest(
        path, Manifest(split="train", classes=(), shards=(), report={"dropped": [{"key": odd, "reason": "x"}]})
    )
    assert os.fsencode(load_manifest(path).report["dropped"][0]["key"]) == b"caf\xe9.JPEG"
    assert path.read_bytes().decode("utf-8")


def test_the_sha256_of_the_index_is_kept_and_may_be_absent(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, "train")
    save_manifest(path, manifest())
    assert b"index_sha256" not in path.read_bytes()
    whole = replace(manifest(), index_sha256="a" * 64)
    save_manifest(path, whole)
    assert load_manifest(path) == whole


def test_the_fingerprint_of_many_shards_is_quick() -> None:
    shards = tuple(
        ShardFact(name=f"{number}.tar", samples=1, bytes=1, sha256=f"{number:064x}") for number in range(5000)
    )
    whole = Manifest(split="x", classes=(), shards=shards)
    started = time.process_time()
    whole.fingerprint([fact.name for fact in shards])
    assert time.process_time() - started < 2  # 0.01 s; minutes when the names were gathered anew for every shard
