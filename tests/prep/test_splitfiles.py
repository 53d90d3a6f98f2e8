"""Which files are of which split."""

from pathlib import Path

import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.splitfiles import missing_splits, split_files, split_folder


def touch(directory: Path, *names: str) -> None:
    """Empty files."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()


def names_of(directory: Path, suffix: str = ".tar") -> dict[str, list[str]]:
    """File names by split."""
    found = split_files(directory, suffix).of
    return {split: [path.relative_to(directory).as_posix() for path in paths] for split, paths in found.items()}


def test_by_the_names_of_files(tmp_path: Path) -> None:
    touch(
        tmp_path, "imagenet1k-train-0001.tar", "imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar", "TEST.TAR"
    )
    touch(tmp_path, "other.tar", ".train-9.tar", "train-0.txt")
    assert names_of(tmp_path) == {
        "train": ["imagenet1k-train-0000.tar", "imagenet1k-train-0001.tar"],
        "val": ["imagenet1k-validation-00.tar"],
        "test": ["TEST.TAR"],
    }
    assert split_files(tmp_path, ".tar").strangers == ("other.tar",)
    assert split_files(tmp_path, ".tar").splits == ("train", "val", "test")


def test_by_the_names_of_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/00001.tar", "train/00000.tar", "validation/00000.tar", "data/test-0.tar")
    assert names_of(tmp_path) == {
        "train": ["train/00000.tar", "train/00001.tar"],
        "val": ["validation/00000.tar"],
        "test": ["data/test-0.tar"],
    }


def test_numbers_alone_are_of_train(tmp_path: Path) -> None:
    touch(tmp_path, "00000.tar", "00001.tar")
    assert names_of(tmp_path) == {"train": ["00000.tar", "00001.tar"]}
    assert split_files(tmp_path / "none", ".tar").of == {}


def test_two_spellings_are_one_too_many(tmp_path: Path) -> None:
    touch(tmp_path, "val-0.tar", "validation-0.tar")
    with pytest.raises(SourceError, match=r"validation-0.tar there is of the val split too|val-0.tar there is"):
        split_files(tmp_path, ".tar")
    touch(tmp_path, "s/val/a.jpg", "s/validation/a.jpg")
    with pytest.raises(SourceError, match="expected one folder of the val split"):
        split_folder(tmp_path / "s", "val")
    assert split_folder(tmp_path / "s", "train") == tmp_path / "s" / "train"


def test_what_is_said_without_validation(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.jpg", "valid/a.jpg", "dev/a.jpg", "notes.txt")
    line = missing_splits(tmp_path, ("train",))
    assert line.endswith("no validation split, by the names val and validation; there also lie dev/, notes.txt, valid/")
    assert missing_splits(tmp_path, ("train", "val")) == ""


def test_tars_in_other_forms(tmp_path: Path) -> None:
    touch(tmp_path, "train-2.tar.gz", "train-1.tar.url", "train-10.tar", "train-1.tar.zst", "val.parquet.url")
    touch(tmp_path, "ILSVRC2010_devkit-1.0.tar.gz", "x.tar.bz2")
    assert names_of(tmp_path) == {"train": ["train-1.tar.url", "train-10.tar", "train-2.tar.gz"]}
    assert names_of(tmp_path, ".parquet") == {"val": ["val.parquet.url"]}
    touch(tmp_path, "train-1.tar")
    assert names_of(tmp_path)["train"][0] == "train-1.tar"


def test_files_that_names_promise(tmp_path: Path) -> None:
    touch(tmp_path, "train-00000-of-00003.parquet", "train-00002-of-00003.parquet", "b-train-1-of-2.parquet")
    touch(tmp_path, "b-train-2-of-2.parquet", "val-00000-of-00001-b42a775f407cee45.parquet", "train.parquet")
    found = split_files(tmp_path, ".parquet")
    assert found.absent == {"train": ("train-00001-of-00003.parquet",), "val": ()}
    touch(tmp_path, "train-00001-of-00003.parquet.url")
    assert split_files(tmp_path, ".parquet").absent["train"] == ()


@pytest.mark.parametrize("newer", ["train-00000-of-00001.tar", "train-00001-of-00002-b42a775f407cee45.tar"])
def test_two_editions_of_a_set_are_one_too_many(tmp_path: Path, newer: str) -> None:
    touch(tmp_path, "train-00000-of-00002.tar", "train-00001-of-00002.tar", newer)
    with pytest.raises(SourceError, match=r"lies beside it, a file of another edition of the set"):
        split_files(tmp_path, ".tar")
    touch(tmp_path, "s/a-train-0-of-2.tar", "s/a-train-1-of-2.tar", "s/b-train-0-of-1.tar")
    assert len(split_files(tmp_path / "s", ".tar").of["train"]) == 3


def test_a_link_that_leads_nowhere_is_a_loss(tmp_path: Path) -> None:
    touch(tmp_path, "train-0.tar", "blobs/b")
    (tmp_path / "train-1.tar").symlink_to("blobs/b")  # as in the cache of Hugging Face's hub
    (tmp_path / "readme").symlink_to("nowhere")
    assert len(split_files(tmp_path, ".tar").of["train"]) == 2
    (tmp_path / "blobs/b").unlink()
    with pytest.raises(SourceError, match=r"train-1.tar: is a link that leads nowhere"):
        split_files(tmp_path, ".tar")
