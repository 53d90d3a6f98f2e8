"""Folder sources: a directory a class, and Kaggle's layout with its tables."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.classes import ClassRules, class_directories
from alexnet_prep.errors import SourceError
from alexnet_prep.folders import find_folder_source
from alexnet_prep.source import find_source
from alexnet_prep.split import SplitSource
from alexnet_shards.manifest import ClassFact


def touch(path: Path, content: bytes = b"jpeg") -> None:
    """A file and its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read(directory: Path, split: str, rules: ClassRules | None = None) -> SplitSource:
    """A split of a folder source."""
    return find_source(directory, "folder", rules).read(split, None, lambda _: None)


def labels_of(source: Any, split: str) -> dict[str, str]:
    """Class name by key."""
    images = source.read(split, None, lambda _: None)
    return {images.key(row): images.classes[images.labels[row]].wnid for row in range(len(images))}


def test_the_real_folder_set(data_dir: Path, tmp_path: Path) -> None:
    with tarfile.open(data_dir / "tiny10.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    source = find_source(tmp_path / "tiny10", "auto")
    assert (source.edition, source.splits) == ("folder", ("train", "val"))
    train = source.read("train", None, lambda _: None)
    assert len(train) == 5000
    assert train.label_order == "wnid"
    wnids = [fact.wnid for fact in train.classes]
    assert wnids == sorted(path.name for path in (tmp_path / "tiny10" / "train").iterdir())
    for row in range(0, 5000, 37):
        assert wnids[train.labels[row]] == train.key(row).split("_")[0]
    val = labels_of(source, "val")
    assert len(val) == 500


def test_equal_stems_get_their_class_as_prefix(tmp_path: Path) -> None:
    for name in ("cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/.hidden.jpg"):
        touch(tmp_path / "train" / name)
    source = find_source(tmp_path, "folder")
    assert labels_of(source, "train") == {"cat_0": "cat", "cat_1": "cat", "dog_0": "dog"}
    assert source.read("train", None, lambda _: None).notes == ("train: dog/.hidden.jpg is a dotfile, not a member",)


def test_validation_uses_the_training_classes(tmp_path: Path) -> None:
    for name in ("train/a/1.jpg", "train/b/2.jpg", "train/c/3.jpg", "val/c/4.jpg"):
        touch(tmp_path / name)
    source = find_source(tmp_path, "auto")
    assert source.read("val", None, lambda _: None).labels.tolist() == [2]
    touch(tmp_path / "val/d/5.jpg")
    with pytest.raises(SourceError, match="no class of the training split"):
        source.read("val", None, lambda _: None)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """Kaggle's layout in small."""
    images = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    for name in ("train/n02/n02_1.JPEG", "train/n01/n01_7.JPEG", "val/ILSVRC2012_val_00000001.JPEG", "test/t_1.JPEG"):
        touch(images / name)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 goldfish\n")
    (tmp_path / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n02 111 108 441 193 n02 5 5 9 9 \n"
    )
    return tmp_path


def test_kaggle_layout(kaggle: Path) -> None:
    source = find_source(kaggle, "auto")
    assert find_source(kaggle, source.edition) == source  # as a repair asks for it
    assert (source.edition, source.splits) == ("2012", ("train", "val", "test"))
    assert labels_of(source, "train") == {"n01_7": "n01", "n02_1": "n02"}
    assert labels_of(source, "val") == {"ILSVRC2012_val_00000001": "n02"}
    test = source.read("test", None, lambda _: None)
    assert test.labels.tolist() == [-1]
    assert any("without labels" in note for note in test.notes)
    assert test.classes[0].words == "tench, Tinca tinca"


def test_kaggle_tables_as_spreadsheets_write_them(kaggle: Path) -> None:
    table = kaggle / "LOC_val_solution.csv"
    before = find_source(kaggle, "auto").read("val", None, lambda _: None)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    after = find_source(kaggle, "auto").read("val", None, lambda _: None)
    assert after.labels.tolist() == before.labels.tolist()
    assert after.missing == before.missing == 0


def test_a_table_that_gives_an_image_two_classes(kaggle: Path) -> None:
    with (kaggle / "LOC_val_solution.csv").open("a") as table:
        table.write("ILSVRC2012_val_00000001,n01 1 2 3 4\nILSVRC2012_val_00000001,n02 1 2 3 4\n")
    with pytest.raises(SourceError, match="ILSVRC2012_val_00000001 is of n0. and of n0. there; expected one class"):
        find_source(kaggle, "auto").read("val", None, lambda _: None)


def test_kaggle_validation_without_its_table(kaggle: Path) -> None:
    (kaggle / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nother,n02 1 2 3 4\n")
    with pytest.raises(SourceError, match=r"ILSVRC2012_val_00000001.JPEG: no class in .*LOC_val_solution.csv"):
        find_source(kaggle, "auto").read("val", None, lambda _: None)
    (kaggle / "LOC_val_solution.csv").unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        find_source(kaggle, "auto").read("val", None, lambda _: None)


def test_an_image_of_the_table_that_is_not_there_is_missing(kaggle: Path) -> None:
    table = kaggle / "LOC_val_solution.csv"
    table.write_text(table.read_text() + "ILSVRC2012_val_00000007,n01 1 2 3 4\n")
    found = find_source(kaggle, "auto").read("val", None, lambda _: None)
    assert (len(found), found.missing) == (1, 1)
    assert "val: 1 image that has a label is not there: ILSVRC2012_val_00000007" in found.notes


@pytest.fixture
def tiny_imagenet(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> Path:
    """Tiny ImageNet's layout in small; wnids.txt is in no order."""
    training = ("train/n02/images/n02_0.JPEG", "train/n01/images/n01_0.JPEG", "train/n01/images/n01_1.JPEG")
    others = ("val/images/val_0.JPEG", "val/images/val_1.JPEG", "val/images/val_10.JPEG", "test/images/test_0.JPEG")
    for number, name in enumerate((*training, *others)):
        touch(tmp_path / name, photo_bytes(number))
    for wnid in ("n01", "n02"):
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    rows = ("val_10.JPEG\tn01", "val_0.JPEG\tn02", "val_1.JPEG\tn01")
    (tmp_path / "val/val_annotations.txt").write_text("".join(f"{row}\t0\t32\t44\t62\n" for row in rows))
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")
    (tmp_path / "words.txt").write_text("n00\tentity\nn02\tgoldfish, Carassius auratus\n")
    return tmp_path


def test_tiny_imagenets_layout(tiny_imagenet: Path) -> None:
    source = find_source(tiny_imagenet, "auto")
    assert (source.edition, source.splits) == ("folder", ("train", "val", "test"))
    assert labels_of(source, "train") == {"n01_0": "n01", "n01_1": "n01", "n02_0": "n02"}
    assert labels_of(source, "val") == {"val_0": "n02", "val_1": "n01", "val_10": "n01"}
    classes = source.read("val", None, lambda _: None).classes
    assert [(fact.wnid, fact.words) for fact in classes] == [("n01", ""), ("n02", "goldfish, Carassius auratus")]
    assert source.read("test", None, lambda _: None).labels.tolist() == [-1]
    for line, words in (
        ("", r"val_1\.JPEG: no class in .*val_annotations"),
        ("val_1.JPEG\tn03\t1\n", "val_1.JPEG: no"),
    ):
        table = "val_0.JPEG\tn02\t0\nval_10.JPEG\tn01\t0\n" + line
        (tiny_imagenet / "val/val_annotations.txt").write_text(table)
        with pytest.raises(SourceError, match=words):
            source.read("val", None, lambda _: None)
    (tiny_imagenet / "val/val_annotations.txt").unlink()
    with pytest.raises(SourceError, match="val/images: no class of the training split"):
        source.read("val", None, lambda _: None)


def test_tiny_imagenet_becomes_shards(tiny_imagenet: Path, tmp_path: Path, prep: Any) -> None:
    reports = json.loads(prep("shards", "--source", tiny_imagenet, "--out", tmp_path / "out", "--json").stdout)
    assert {report["split"]: report["written"] for report in reports} == {"train": 3, "val": 3, "test": 1}
    with tarfile.open(tmp_path / "out/val-000.tar") as shard:
        labels = {
            name: (shard.extractfile(name) or io.BytesIO()).read() for name in shard.getnames() if name.endswith(".cls")
        }
    assert labels == {"val_0.cls": b"1", "val_1.cls": b"0", "val_10.cls": b"0"}


def test_a_folder_of_no_split_is_named(tmp_path: Path, photo_bytes: Callable[..., bytes], prep: Any) -> None:
    for number, name in enumerate(("train/a/1.jpg", "val/a/2.jpg", "valid/a/3.jpg", "notes/a/b.txt", ".git/a/4.jpg")):
        touch(tmp_path / "set" / name, photo_bytes(number) if name.endswith("jpg") else b"text")
    done = prep("shards", "--source", tmp_path / "set", "--out", tmp_path / "out")
    assert [line for line in done.stderr.splitlines() if "left out" in line] == [
        f"{tmp_path}/set/valid: left out: its name is no split's"
    ]


def test_refusals(tmp_path: Path) -> None:
    assert find_folder_source(tmp_path, ("train",)) is None
    assert class_directories(tmp_path / "none") == {}
    (tmp_path / "train" / "cat").mkdir(parents=True)
    source = find_source(tmp_path, "auto")
    with pytest.raises(SourceError, match="no image in class folder cat; remove"):
        source.read("train", None, lambda _: None)
    with pytest.raises(SourceError, match="no devkit order"):
        source.read("train", "devkit", lambda _: None)


def test_folders_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    for name in (
        "train/train/cat/a.jpg",
        "train/train/dog/b.jpg",
        "val/cat/c.jpg",
        "flat/train/a.jpg",
        "flat/val/cat/b.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"train/train: is the only class folder, .* below it \(cat, dog\)"):
        read(tmp_path, "train")
    one = ClassRules(listed=(ClassFact(wnid="train"),))
    assert len(read(tmp_path, "train", one)) == 2
    (tmp_path / "train/train/c.jpg").write_bytes(b"x")
    assert len(read(tmp_path, "train")) == 3
    with pytest.raises(SourceError, match=r"flat/train: no class folder there; expected train/CLASS/\*"):
        read(tmp_path / "flat", "train")


def test_numbers_that_are_sorted_as_texts_are_told(tmp_path: Path) -> None:
    for name in range(11):
        (tmp_path / f"train/{name}").mkdir(parents=True)
        (tmp_path / f"train/{name}/{name}.jpg").write_bytes(b"x")
    line = "train: class folders are numbers, sorted as texts: 10 is class 2; another order is given by --classes"
    assert read(tmp_path, "train").notes == (line,)
    listed = ClassRules(listed=tuple(ClassFact(wnid=str(number)) for number in range(11)))
    assert read(tmp_path, "train", listed).notes == ()
    (tmp_path / "train/10").rename(tmp_path / "train/9a")
    assert read(tmp_path, "train").notes == ()
