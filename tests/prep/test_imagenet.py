"""The official layouts: labels of every member of the real archives, and what does not fit together."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.imagenet import read_official_split
from alexnet_shards.editions import EDITIONS

OFFICIAL = EDITIONS["2010"]


def read(directory: Path, split: str, labels: str = "devkit") -> Any:
    """One split of ILSVRC-2010 archives."""
    return read_official_split(OFFICIAL, directory, split, labels, lambda _: None)


@pytest.mark.parametrize("split", ["val", "test"])
def test_labels_of_the_real_archives(data_dir: Path, split: str) -> None:
    facts = json.loads((data_dir / "ilsvrc2010.facts.json").read_text())[split]["labels"]
    source = read(data_dir / "ilsvrc2010", split)
    found = {bytes(name).decode(): int(label) for name, label in zip(source.names, source.labels, strict=True)}
    assert found == facts


def test_labels_of_the_real_training_archive(data_dir: Path) -> None:
    source = read(data_dir / "ilsvrc2010", "train")
    assert len(source) == 400
    for name, label in zip(source.names, source.labels, strict=True):
        assert source.classes[label].wnid.encode() == bytes(name)[:9]
        assert source.classes[label].official_id == label + 1
    by_wnid = read(data_dir / "ilsvrc2010", "train", "wnid")
    assert [fact.wnid for fact in by_wnid.classes] == sorted(fact.wnid for fact in source.classes)
    for name, label in zip(by_wnid.names, by_wnid.labels, strict=True):
        assert by_wnid.classes[label].wnid.encode() == bytes(name)[:9]
    assert len(source.count_differences()) == 1000


def test_patches_of_the_real_archives(data_dir: Path) -> None:
    facts = json.loads((data_dir / "ilsvrc2010.facts.json").read_text())
    for split in ("train", "val"):
        source = read(data_dir / "ilsvrc2010", split)
        assert sorted(bytes(name).decode() for name in source.names[source.patched]) == facts["patches"][split]
        assert not any("patches no" in note for note in source.notes)


def test_small_source_labels(small_source: Any) -> None:
    source = read(small_source.directory, "val")
    assert source.labels.tolist() == [0, 1, 2, 2, 1, 0]  # by number in the name, though the tar runs backwards
    assert read(small_source.directory, "test").labels.tolist() == [2, 0, 1]
    (small_source.directory / OFFICIAL.test_truth).unlink()
    private = read(small_source.directory, "test")
    assert private.labels.tolist() == [-1, -1, -1]
    assert any("without labels" in note for note in private.notes)


def test_a_class_the_devkit_does_not_know_is_refused(small_source: Any, write_devkit: Any) -> None:
    write_devkit(small_source.directory / OFFICIAL.devkit, [(1, "n00000007", 0, 8)], [1] * 6)
    with pytest.raises(SourceError, match=r"n00000003, a class the devkit does not know \(3 of 3"):
        read(small_source.directory, "train")


def test_an_image_in_the_wrong_class_tar_is_refused(small_source: Any, tar_bytes: Any) -> None:
    inner = tar_bytes([("n00000002_1.JPEG", b"x")])
    (small_source.directory / OFFICIAL.train).write_bytes(tar_bytes([("n00000001.tar", inner)]))
    with pytest.raises(SourceError, match="n00000002_1.JPEG, an image of another class"):
        read(small_source.directory, "train")


def test_more_images_than_ground_truth_are_refused(small_source: Any, write_devkit: Any) -> None:
    synsets = [(number, wnid, 0, 8) for number, wnid in enumerate(("n00000003", "n00000001", "n00000002"), 1)]
    write_devkit(small_source.directory / OFFICIAL.devkit, synsets, [1, 2, 3])
    with pytest.raises(SourceError, match=r"00000006.JPEG has no ground truth; .* 1\.\.3"):
        read(small_source.directory, "val")


def test_a_class_tar_that_stands_twice_is_refused(small_source: Any, tar_bytes: Any) -> None:
    inner = tar_bytes([("n00000001_1.JPEG", b"x")])
    twice = [("n00000001.tar", inner), ("train/n00000001.tar", inner)]
    (small_source.directory / OFFICIAL.train).write_bytes(tar_bytes(twice))
    with pytest.raises(SourceError, match="twice"):
        read(small_source.directory, "train")


def test_an_unused_patch_is_noted(small_source: Any, tar_bytes: Any) -> None:
    patches = [("patch_images/train/n00000001_1.JPEG", b"new"), ("patch_images/train/n00000001_99.JPEG", b"new")]
    (small_source.directory / OFFICIAL.patch).write_bytes(tar_bytes(patches))
    source = read(small_source.directory, "train")
    assert source.names[source.patched].tolist() == [b"n00000001_1.JPEG"]
    assert [note for note in source.notes if "n00000001_99.JPEG patches no" in note]
    assert not [note for note in read(small_source.directory, "val").notes if "patches no" in note]


def test_later_test_tar_of_2012_is_preferred(tmp_path: Path) -> None:
    for name in ("ILSVRC2012_img_test.tar", "ILSVRC2012_img_test_v10102019.tar"):
        with tarfile.open(tmp_path / name, "w"):
            pass
        assert EDITIONS["2012"].archive(tmp_path, "test") == tmp_path / name
    assert EDITIONS["2012"].archive(tmp_path, "train") is None


def test_images_of_another_year_have_other_numbers(small_source: Any, tar_bytes: Any) -> None:
    members = [(f"ILSVRC2012_val_{number:08d}.JPEG", b"x") for number in range(1, 7)]
    (small_source.directory / OFFICIAL.val).write_bytes(tar_bytes(members))
    with pytest.raises(SourceError, match=r"ILSVRC2012_val_00000001.JPEG has no .* expected names as ILSVRC2010_val_"):
        read(small_source.directory, "val")
