"""Webdataset sources: the same samples as of folders, and every member accounted for."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webdataset

from alexnet_prep.classes import ClassRules
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.identity import content_sample
from alexnet_prep.reader import SourceReader
from alexnet_prep.source import find_source
from alexnet_prep.split import SplitSource
from alexnet_shards.manifest import ClassFact

Write = Callable[..., Path]


def read(directory: Path, split: str = "train", label: str = "", rules: ClassRules | None = None) -> SplitSource:
    """A split of a source."""
    return find_source(directory, "auto", rules, Fields.parse("", label)).read(split, None, lambda _: None)


def pictures(images: SplitSource) -> dict[str, tuple[bytes, int]]:
    """(bytes, label) by key."""
    reader = SourceReader(images.containers, images.sparse)
    found = {}
    try:
        for row in range(len(images)):
            place = images.locations[row]
            where = (int(place["offset"]), int(place["size"]))
            content = reader.read(int(place["container"]), bytes(images.names[row]), *where)
            found[images.key(row)] = (content, int(images.labels[row]))
    finally:
        reader.close()
    return found


@pytest.fixture
def tars(tmp_path: Path, tar_bytes: Any) -> Write:
    """Write a tar of {name: content} members below a directory, which is returned."""

    def write(members: dict[str, bytes], name: str = "train-000.tar") -> Path:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tar_bytes(list(members.items())))
        return tmp_path / "set"

    return write


def test_the_same_pictures_as_in_folders(same_sources: Any) -> None:
    for split in ("train", "val"):
        folders, tars = (
            read(same_sources.directory / name, split, label)
            for name, label in (("folders", ""), ("tars", "json:label"))
        )
        assert tars.keys.tolist() == folders.keys.tolist()
        assert pictures(tars) == pictures(folders)
        assert (tars.classes, tars.label_order) == (folders.classes, folders.label_order)
        assert content_sample(tars) == content_sample(folders)


def test_what_shardwriter_writes(tmp_path: Path) -> None:
    with webdataset.ShardWriter(f"{tmp_path}/%05d.tar", maxcount=2, verbose=0) as writer:
        for number in range(5):
            sample = {"__key__": f"d/{number}", "png": b"picture %d" % number, "cls": number % 3, "txt": f"a {number}"}
            writer.write({**sample, "json": {"a": {"b": f"name{number % 2}"}}})
    images = read(tmp_path)
    assert images.labels.tolist() == [0, 1, 2, 0, 1]
    assert pictures(images)["3"] == (b"picture 3", 0)
    assert (images.account.entries, dict(images.account.ignored)) == (
        20,
        {"label of an image": 5, "other member beside an image": 10},
    )
    named = read(tmp_path, label="json:a.b")
    assert [fact.wnid for fact in named.classes] == ["name0", "name1"]
    assert named.labels.tolist() == [0, 1, 0, 1, 0]


def test_every_member_is_a_sample_or_a_kind(tars: Write) -> None:
    members = {
        "a.jpg": b"1",
        "a.cls": b"0",
        "b.PNG": b"2",
        "b.cls": b"1",
        "c.webp": b"3",
        "d.cls": b"1",
        "e.v2.jpg": b"4",
    }
    directory = tars(
        {**members, "f.jpg": b"5", "f.cls": b"-1", "f.seg.png": b"6", "._a.jpg": b"", "README": b"", "g.npy": b""}
    )
    images = read(directory)
    assert images.keys.tolist() == [b"a", b"b"]
    expected = {
        "label of an image": 3,
        "label of no image": 1,
        "image whose key has a dot": 1,
        "image without a label": 2,
        "other member beside an image": 2,
        "dotfile": 1,
        "sidecar": 1,
    }
    assert (images.account.entries, dict(images.account.ignored)) == (13, expected)
    assert images.missing == 4
    assert "train: train-000.tar: d.cls is a label of no image, not a member" in images.notes


def test_a_split_of_digits_alone_beside_one_of_names(tars: Write) -> None:
    for name, labels in (("train-0.tar", ("1", "2", "3", "other")), ("val-0.tar", ("3", "1", "-1"))):
        members = {f"{name[:3]}{number}.jpg": b"1" for number in range(len(labels))}
        directory = tars({**members, **{f"{name[:3]}{n}.cls": text.encode() for n, text in enumerate(labels)}}, name)
    assert read(directory).labels.tolist() == [0, 1, 2, 3]
    images = read(directory, "val")
    assert [images.classes[label].wnid for label in images.labels] == ["3", "1"]
    again = ClassRules(listed=images.classes, list_name="the manifest")
    assert read(directory, "val", rules=again).identity() == images.identity()
    tars({"a.jpg": b"1", "a.cls": b"0"}, "val-0.tar")
    with pytest.raises(SourceError, match="its label is '0'; expected one of the 4 classes"):
        read(directory, "val")


def test_tars_that_are_of_no_split_or_not_there_are_named(tars: Write) -> None:
    for name in ("train-0-of-2.tar", "val.tar", "trian-7.tar"):
        directory = tars({f"{name[:3]}.jpg": b"1", f"{name[:3]}.cls": b"0"}, name)
    images = read(directory)
    assert images.notes == (
        "train: 1 of 2 files that their names say are there; missing are train-1-of-2.tar",
        "train: trian-7.tar is a file of no split, not a member",
    )
    assert (images.missing, images.account.entries) == (2, 3)
    assert (read(directory, "val").notes, read(directory, "val").missing) == ((), 0)


@pytest.mark.parametrize(
    ("members", "label", "line"),
    [
        ({"a.jpg": b"1", "a.png": b"2", "a.cls": b"0"}, "", "sample a has two images, a.jpg and a.png"),
        ({"a.jpg": b"1", "a.json": b"{}"}, "", r"has a label in cls; there are .json; say where labels stand"),
        ({"a.jpg": b"1"}, "", "there is nothing beside the images"),
        ({"a.jpg": b"1", "a.cls": b"-7"}, "", "a.cls: the label is -7; expected a class number"),
        ({"a.jpg": b"1", "a.cls": b"x" * 5000}, "", "5,000 bytes are too many for a label in cls"),
        ({"a.jpg": b"1", "a.json": b"{"}, "json:label", "a.json: unreadable JSON"),
        ({"a.jpg": b"1", "a.json": b'{"label": 1.5}'}, "json:label", "the label is of type float"),
        ({"a.txt": b"1"}, "txt", r"no webdataset sample in train-000.tar; expected KEY.jpg"),
        ({"n01440764.tar": b"1"}, "", "no webdataset sample"),
    ],
)
def test_what_cannot_be_a_sample_is_one_line(tars: Write, members: dict[str, bytes], label: str, line: str) -> None:
    directory = tars(members)
    with pytest.raises(SourceError, match=line) as caught:
        read(directory, label=label)
    assert "\n" not in str(caught.value)


def test_keys_in_several_tars(tars: Write) -> None:
    tars({"0.jpg": b"1", "0.cls": b"0", "1.jpg": b"2", "1.cls": b"1"})
    directory = tars({"0.jpg": b"3", "0.cls": b"0", "1.jpg": b"4", "1.cls": b"0"}, "train-001.tar")
    found = pictures(read(directory))
    assert {key: content for key, (content, _) in found.items()} == {
        "0_train-000_0_jpg": b"1",
        "0_train-001_0_jpg": b"3",
        "1_1": b"2",
        "0_1": b"4",
    }


def test_a_class_list_gives_names_their_numbers(tars: Write) -> None:
    directory = tars({"a.jpg": b"1", "a.txt": b"dog", "b.jpg": b"2", "b.txt": b"n01"})
    tars({"c.jpg": b"1", "c.txt": b"owl"}, "validation-0.tar")
    rules = ClassRules(listed=(ClassFact(wnid="n01", words="cat"), ClassFact(wnid="n02", words="dog")))
    assert read(directory, label="txt", rules=rules).labels.tolist() == [1, 0]
    with pytest.raises(
        SourceError, match=r"validation-0.tar: c.jpg: its label is 'owl'; expected one of the 2 classes of --cl"
    ):
        read(directory, "val", "txt", rules)


def test_links_holes_and_long_names(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    long = "deep/" * 60 + "l" * 300
    with tarfile.open(tmp_path / "set/train-0.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (
            ("a.jpg", b"one"),
            ("a.cls", b"1"),
            (long + ".jpg", b"two"),
            (long + ".cls", b"0"),
            ("b.cls", b"0"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        archive.addfile(link)
    found = pictures(read(tmp_path / "set"))
    assert {key[:10]: value for key, value in found.items()} == {
        "a": (b"one", 1),
        "b": (b"one", 0),
        "l" * 10: (b"two", 0),
    }
    assert all(len(key) <= 251 for key in found)


def test_a_cut_tar_is_one_line(tars: Write) -> None:
    directory = tars({"a.jpg": b"1" * 3000, "a.cls": b"0"})
    path = directory / "train-000.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SourceError, match=r"train-000.tar: byte 0: truncated: member 'a.jpg' needs 3000 bytes"):
        read(directory)
