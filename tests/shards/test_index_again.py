"""What `alexnet-prep index` and a first opening do: repair keeps what is there, a set is what one pattern names."""

import json
import os
import random
import re
import tarfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet_shards.adopt import Indexed, LabelRules, index_shards, read_classes
from alexnet_shards.errors import FormatError
from alexnet_shards.index import NO_LABEL, load_index, save_index
from alexnet_shards.manifest import load_manifest, save_manifest
from alexnet_shards.shardset import open_shards
from alexnet_shards.tar import END_OF_TAR, member_bytes

Make = Callable[..., str]


def index(*patterns: str, **options: Any) -> Indexed:
    """What `alexnet-prep index` does."""
    return index_shards(patterns, 1, lambda done, total: None, **options)


def strip(directory: Path) -> None:
    """Leave the tars alone, as they come from elsewhere."""
    for path in directory.iterdir():
        if path.suffix != ".tar":
            path.unlink()


def own(directory: Path) -> None:
    """Make the manifest of a directory one of shards that alexnet-prep made."""
    path = directory / "train.manifest.json"
    report = {"dropped": [{"key": "k", "reason": "r"}]}
    save_manifest(path, replace(load_manifest(path), recipe={"quality": 95}, report=report))


def content(directory: Path) -> dict[str, bytes]:
    """Every file of a directory but locks and the list for timm."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in (".lock", "_info.json")}


@pytest.mark.parametrize(
    ("names", "set_name"),
    [
        (("train-000.tar", "train_001.tar"), "train"),
        (("train.tar", "train000.tar"), "train"),
        (("000.tar", "shards001.tar"), "shards"),
        (("shard-a.tar", "shard-b.tar"), "shard"),
        (("x.tar", "y.tar"), "shards"),
        (("train-00000-of-00002.tar", "train-00001-of-00002.tar"), "train"),
        (("part_7.tar", "part_11.tar"), "part"),
        (("0c2ad5d2-9a1e-4e0c-8d3a-2b0a4f6f8a11.tar", "faa0dfb1-9775-4279-8146-f251997958c4.tar"), "shards"),
        (("t_fabcc36d-6bca-476e-a526-5d5cbc56eaef.tar", "t_faa0dfb1-9775-4279-8146-f251997958c4.tar"), "t"),
    ],
)
def test_what_one_pattern_names_is_one_set(
    tmp_path: Path, make_shards: Make, names: tuple[str, str], set_name: str
) -> None:
    make_shards(tmp_path, (7, 5))
    strip(tmp_path)
    for number in range(2):
        (tmp_path / f"train-00{number}.tar").rename(tmp_path / f"moved{number}")
    for number, name in enumerate(names):
        (tmp_path / f"moved{number}").rename(tmp_path / name)
    shards = open_shards([f"{tmp_path}/*.tar"])
    assert (shards.num_samples, shards.manifest.split) == (12, set_name)
    files = content(tmp_path).keys() - set(names)
    assert files == {f"{set_name}.manifest.json", f"{set_name}.index.npy"}
    assert open_shards([f"{tmp_path}/{names[1]}"]).num_samples in (5, 7)
    assert content(tmp_path).keys() - set(names) == files


@pytest.mark.parametrize("way", ["open", "index"])
def test_a_lost_index_is_made_again_and_nothing_else_is_touched(tmp_path: Path, make_shards: Make, way: str) -> None:
    pattern = make_shards(tmp_path)
    own(tmp_path)
    before = content(tmp_path)
    (tmp_path / "train.index.npy").unlink()
    if way == "open":
        assert open_shards([pattern]).num_samples == 21
    else:
        assert index(pattern).manifest.samples == 21
    assert content(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_index_is_written_over_by_the_command_alone(
    tmp_path: Path, make_shards: Make, damage: bytes | None
) -> None:
    pattern = make_shards(tmp_path)
    own(tmp_path)
    before = content(tmp_path)
    flipped = bytearray(before["train.index.npy"])
    flipped[-2] ^= 1
    (tmp_path / "train.index.npy").write_bytes(bytes(flipped) if damage is None else damage)
    damaged = content(tmp_path)
    with pytest.raises(FormatError, match=r"train\.index\.npy: .*alexnet-prep index"):
        open_shards([pattern])
    assert content(tmp_path) == damaged
    index(pattern)
    assert content(tmp_path) == before


def test_a_lost_index_of_shards_that_were_changed_is_refused(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    own(tmp_path)
    (tmp_path / "train.index.npy").unlink()
    shard = bytearray((tmp_path / "train-001.tar").read_bytes())
    shard[600] ^= 1
    (tmp_path / "train-001.tar").write_bytes(shard)
    manifest = (tmp_path / "train.manifest.json").read_bytes()
    with pytest.raises(FormatError, match=r"train-001\.tar: its sha256 is .*verify --repair --source"):
        open_shards([pattern])
    with pytest.raises(FormatError, match=r"train-001\.tar: its sha256 is .*verify --repair --source"):
        index(pattern)
    (tmp_path / "train-001.tar").write_bytes(bytes(shard) + bytes(512))
    with pytest.raises(FormatError, match=r"train-001\.tar: \d+ bytes, expected \d+"):
        index(pattern)
    (tmp_path / "train-001.tar").unlink()
    with pytest.raises(FormatError, match=r"train-001\.tar: missing"):
        index(f"{tmp_path}/train-000.tar")
    assert (tmp_path / "train.manifest.json").read_bytes() == manifest
    assert not (tmp_path / "train.index.npy").exists()


def test_a_lost_manifest_never_costs_an_index_of_other_shards(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    (tmp_path / "train.manifest.json").unlink()
    before = content(tmp_path)
    rows = load_index(tmp_path / "train.index.npy").copy()
    rows["label"] += 1
    save_index(tmp_path / "train.index.npy", rows)
    other = content(tmp_path)
    with pytest.raises(FormatError, match="an index without its manifest, and not of the shards beside it"):
        open_shards([pattern])
    assert content(tmp_path) == other
    (tmp_path / "train.index.npy").write_bytes(before["train.index.npy"])
    assert open_shards([pattern]).num_samples == 21
    assert content(tmp_path)["train.index.npy"] == before["train.index.npy"]


def test_a_damaged_manifest_is_never_written_over(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    (tmp_path / "train.manifest.json").write_bytes(b"{")
    before = content(tmp_path)
    for attempt in (open_shards, lambda patterns: index(*patterns)):
        with pytest.raises(FormatError, match="unreadable manifest .*restore it, or remove it"):
            attempt([pattern])
    assert content(tmp_path) == before


def test_own_shards_keep_their_classes(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    own(tmp_path)
    (tmp_path / "classes.txt").write_text("".join(f"m{label} x\n" for label in range(7)))
    with pytest.raises(FormatError, match="leave out --classes"):
        index(pattern, labels=LabelRules(classes=read_classes(tmp_path / "classes.txt")))


def test_the_command_reads_what_it_is_told_and_nothing_beside_it(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    strip(tmp_path)
    (tmp_path / "train-001.tar").unlink()
    (tmp_path / "train-001.tar").symlink_to("/nowhere/train-001.tar")
    found = index(f"{tmp_path}/train-000.tar")
    assert [fact.name for fact in found.manifest.shards] == ["train-000.tar"]
    assert found.neighbours == ("train-001.tar", "train-002.tar")
    assert found.lines()[-1] == "not named and not read: 2 shards beside them, as train-001.tar"


def test_a_dangling_neighbour_is_never_fatal(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    strip(tmp_path)
    (tmp_path / "train-001.tar").unlink()
    (tmp_path / "train-001.tar").symlink_to("/nowhere/train-001.tar")
    assert open_shards([f"{tmp_path}/train-000.tar"]).num_samples == 7
    assert open_shards([f"{tmp_path}/train-002.tar"]).num_samples == 9


def test_two_directories_and_two_own_sets_are_named(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    make_shards(tmp_path, split="val")
    own(tmp_path)
    with pytest.raises(FormatError, match=r"names 2 sets \(.*train, .*val\); index one at a time"):
        index(f"{tmp_path}/*.tar")
    make_shards(tmp_path / "other")
    with pytest.raises(FormatError, match="names 2 sets"):
        index(f"{tmp_path}/val-*.tar", f"{tmp_path}/other/*.tar")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (2**31 - 1, "the label is 2147483647; expected below 32,768"),
        (5_000_000, "the label is 5000000; expected below 32,768"),
        (2**31, "the label is '2147483648'"),
        (-5, "the label is '-5'"),
        ("1e3", "the label is '1e3'"),
    ],
)
def test_labels_that_make_no_class_list(
    tmp_path: Path, shard_tools: SimpleNamespace, label: object, words: str
) -> None:
    members = [("a.jpg", b"x"), ("a.cls", b"0"), ("b.jpg", b"y"), ("b.cls", str(label).encode())]
    shard_tools.write_tar(tmp_path / "set_000.tar", members)
    with pytest.raises(FormatError, match=words) as caught:
        index(f"{tmp_path}/set_000.tar")
    assert "set_000.tar: " in str(caught.value)
    assert re.search(r"\bb\b", str(caught.value))
    assert list(tmp_path.iterdir()) == [tmp_path / "set_000.tar"]


def test_a_label_of_six_gibibytes(tmp_path: Path) -> None:
    """A sparse file: the label's size is looked at before its bytes."""
    path = tmp_path / "set_000.tar"
    info = tarfile.TarInfo("a.cls")
    info.size = 6 << 30
    path.write_bytes(member_bytes("a.jpg", b"x") + info.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, path.stat().st_size + info.size + 1024)
    started = time.process_time()
    with pytest.raises(FormatError, match=r"a\.cls: the label is of 6,442,450,944 bytes"):
        index(str(path))
    assert time.process_time() - started < 3


DOTS = "image or label whose key has a dot (webdataset ends a key at the first dot of the file name)"


def test_what_belongs_to_no_sample_is_counted_by_kind(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    members = [("a.jpg", b"x"), ("a.cls", b"0"), ("b.v2.jpg", b"y"), ("b.v2.cls", b"1"), ("Dr. No 1.jpg", b"z")]
    members += [("a.json", b"{}"), ("README", b"words")]
    shard_tools.write_tar(tmp_path / "set_000.tar", members)
    whole = (tmp_path / "set_000.tar").read_bytes()
    link = tarfile.TarInfo("c.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "gone.jpg"
    tail = link.tobuf() + member_bytes("c.cls", b"1") + END_OF_TAR + b"junk behind"
    (tmp_path / "set_000.tar").write_bytes(whole + tail)
    found = index(f"{tmp_path}/set_000.tar")
    assert found.manifest.samples == 1
    assert found.passed_over == {
        DOTS: (3, "set_000.tar: b.v2.jpg"),
        ".json member": (1, "set_000.tar: a.json"),
        "dotfile or name without extension": (1, "set_000.tar: README"),
        "link that leads nowhere": (1, "set_000.tar: c.jpg -> gone.jpg"),
        "bytes behind the end mark": (1, "set_000.tar: 11 bytes"),
    }
    assert f"passed over: 3 x {DOTS}, first set_000.tar: b.v2.jpg" in found.lines()
    json.dumps(found.as_json())


def test_links_and_joined_archives_are_samples(tmp_path: Path) -> None:
    link = tarfile.TarInfo("b.jpg")
    link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
    first = member_bytes("a.jpg", b"the photo") + member_bytes("a.cls", b"3") + link.tobuf() + END_OF_TAR
    second = member_bytes("c.jpg", b"another") + member_bytes("b.cls", b"4") + END_OF_TAR
    (tmp_path / "set_000.tar").write_bytes(first + second)
    shards = open_shards([f"{tmp_path}/set_000.tar"])
    assert shards.labels.tolist() == [3, NO_LABEL, 4]
    places = [(int(row["offset"]), int(row["size"])) for row in shards.rows]
    found = [(first + second)[start : start + size] for start, size in places]
    assert found == [b"the photo", b"another", b"the photo"]
    assert open_shards([f"{tmp_path}/set_000.tar"]).num_samples == 3


def test_many_shards_of_any_name_open_in_time_that_grows_with_their_number(
    tmp_path: Path, shard_tools: SimpleNamespace
) -> None:
    generator = random.Random(0)
    for _ in range(800):
        name = str(uuid.UUID(int=generator.getrandbits(128), version=4))
        shard_tools.write_tar(tmp_path / f"{name}.tar", [("a.jpg", b"x"), ("a.cls", b"0")])
    started = time.process_time()
    assert open_shards([f"{tmp_path}/*.tar"]).num_samples == 800
    assert time.process_time() - started < 8  # 0.5 s; 13 s when each was a set of its own
    assert len([path for path in tmp_path.iterdir() if path.suffix != ".tar" and path.name != ".lock"]) == 2
