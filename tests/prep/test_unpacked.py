"""Official archives that were unpacked, wholly or in part: the shards of the archives byte for byte, or one line."""

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_shards.editions import EDITIONS

OFFICIAL = EDITIONS["2010"]


def unpack(archive: Path, folder: Path) -> None:
    """As `tar -x` does, and then without the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    archive.unlink()


def class_tars(directory: Path, folder: str) -> None:
    unpack(directory / OFFICIAL.train, directory / folder)


def class_folders(directory: Path, folder: str) -> None:
    class_tars(directory, folder)
    for path in (directory / folder).glob("*.tar"):
        unpack(path, path.with_suffix(""))


def some_of_each(directory: Path) -> None:
    class_tars(directory, "train")
    unpack(directory / "train/n00000001.tar", directory / "train/n00000001")
    shutil.copytree(directory / "train/n00000001", directory / "train/n00000002")  # its tar is there too: that is read
    for path in (directory / "train/n00000002").iterdir():
        path.rename(path.with_name(path.name.replace("n00000001", "n00000002")))


def compressed_class_tars(directory: Path) -> None:
    class_tars(directory, "train")
    for path in (directory / "train").glob("*.tar"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def class_folders_beside_a_compressed_archive(directory: Path) -> None:
    class_folders(directory, "train")
    path = directory / OFFICIAL.val
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def everything(directory: Path) -> None:
    class_folders(directory, "train")
    unpack(directory / OFFICIAL.val, directory / "val")  # which has a folder of its own: val/val/
    unpack(directory / OFFICIAL.tests[0], directory / "test")


def sorted_validation(directory: Path, labels: tuple[str, ...] = ()) -> None:
    """As valprep.sh leaves it, beside class tars."""
    class_tars(directory, "train")
    unpack(directory / OFFICIAL.val, directory)
    wnids = labels or tuple(f"n0000000{digit}" for digit in (3, 1, 2, 2, 1, 3))
    for path, wnid in zip(sorted((directory / "val").iterdir()), wnids, strict=True):
        (directory / "val" / wnid).mkdir(exist_ok=True)
        path.rename(directory / "val" / wnid / path.name)


FORMS: dict[str, Callable[[Path], None]] = {
    "class tars": lambda directory: class_tars(directory, "train"),
    "class tars beside the other archives": lambda directory: class_tars(directory, "."),
    "class tars in a folder of the archive's name": lambda directory: class_tars(directory, "ILSVRC2010_images_train"),
    "compressed class tars": compressed_class_tars,
    "class folders": lambda directory: class_folders(directory, "train"),
    "class folders beside the other archives": lambda directory: class_folders(directory, "."),
    "some of each": some_of_each,
    "class folders beside a compressed archive": class_folders_beside_a_compressed_archive,
    "everything": everything,
    "validation images in class folders": sorted_validation,
}


def hashes(directory: Path) -> dict[str, str]:
    """sha256 of the shards and their indexes."""
    paths = sorted([*directory.glob("*.tar"), *directory.glob("*.npy")])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture
def of_archives(small_source: Any, tmp_path: Path, prep: Any) -> dict[str, str]:
    """What the archives themselves give."""
    prep("shards", "--source", small_source.directory, "--out", tmp_path / "archives", "--num-shards", 3)
    found = hashes(tmp_path / "archives")
    assert len(found) == 12
    return found


ONCE = ("class tars", "some of each", "everything")


@pytest.mark.parametrize(("form", "read"), [*((form, "auto") for form in FORMS), *((form, "once") for form in ONCE)])
def test_the_shards_of_the_archives(
    small_source: Any, of_archives: dict[str, str], tmp_path: Path, prep: Any, form: str, read: str
) -> None:
    FORMS[form](small_source.directory)
    how = ("--num-shards", 3, "--read", read, "--workers", 1)
    words = ("shards", "--source", small_source.directory, "--out", tmp_path / "out", *how)
    reports = json.loads(prep(*words, "--strict", "--json").stdout)
    assert hashes(tmp_path / "out") == of_archives
    for report in reports:
        assert report["entries"] == report["written"] + len(report["dropped"]) + sum(report["ignored"].values())
    assert json.loads(prep(*words, "--json").stdout)[0]["written"] == 24  # found again


@pytest.mark.parametrize(
    "form", ["compressed class tars", "class folders", "some of each", "class folders beside a compressed archive"]
)
def test_parts_and_a_repair(
    small_source: Any, of_archives: dict[str, str], tmp_path: Path, prep: Any, form: str
) -> None:
    FORMS[form](small_source.directory)
    words = ("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--num-shards", 3)
    for part in ("2/2", "1/2"):
        prep(*words, "--part", part)
    prep(*words, "--finish")
    assert hashes(tmp_path / "out") == of_archives
    (tmp_path / "out/train-001.tar").write_bytes(b"damaged")
    prep("verify", "--shards", tmp_path / "out", "--repair", "--source", small_source.directory)
    assert hashes(tmp_path / "out") == of_archives


def test_labels_of_real_class_tars_and_their_patches(data_dir: Path, tmp_path: Path, prep: Any) -> None:
    source, real = tmp_path / "source", data_dir / "ilsvrc2010"
    source.mkdir()
    for path in real.iterdir():
        (source / path.name).symlink_to(path)
    unpack(source / OFFICIAL.train, source / "train")
    for name in (real, source):
        prep("shards", "--source", name, "--out", tmp_path / f"out-{name.name}", "--split", "train")
    assert hashes(tmp_path / "out-source") == hashes(tmp_path / "out-ilsvrc2010")
    page = tmp_path / "page.html"
    prep("report", "--shards", tmp_path / "out-source", "--html", page, "--source", source)
    assert "damaged pictures, each beside its patch (3 in all)" in page.read_text()


def test_an_image_in_the_folder_of_another_class_is_refused(small_source: Any, tmp_path: Path, prep: Any) -> None:
    sorted_validation(small_source.directory, tuple(f"n0000000{digit}" for digit in (3, 1, 2, 1, 1, 3)))
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", status=1)
    assert "val_00000004.JPEG is of n00000002 by the devkit; its label is in doubt" in done.stderr
    assert not list((tmp_path / "out").glob("*.tar"))


@pytest.mark.parametrize("with_devkit", [True, False])
def test_tars_that_were_unpacked_and_others_change_nothing(
    small_source: Any, tmp_path: Path, prep: Any, with_devkit: bool
) -> None:
    """Class folders are what they are, also where their tars, or somebody's, were not removed."""
    directory = small_source.directory
    class_folders(directory, "train")
    for path in directory.iterdir():
        if path.is_file() and not (with_devkit and path.name == OFFICIAL.devkit):
            path.unlink()
    (directory / "train/backup.tar").write_bytes(b"x" * 100)
    words = ("shards", "--source", directory, "--num-shards", 2, "--json")
    before = json.loads(prep(*words, "--out", tmp_path / "before").stdout)
    assert (before[0]["written"], before[0]["ignored"]) == (24, {"directory": 3, "sidecar": 1})
    if not with_devkit:
        (directory / "train/n00000001.tar").write_bytes(b"x" * 100)
        after = json.loads(prep(*words, "--out", tmp_path / "after").stdout)
        assert (after[0]["written"], after[0]["ignored"]) == (24, {"directory": 3, "sidecar": 2})
        assert hashes(tmp_path / "after") == hashes(tmp_path / "before")


@pytest.mark.parametrize("stranger", ["n00000007", "cats"])
def test_a_folder_that_is_no_class_is_refused(small_source: Any, tmp_path: Path, prep: Any, stranger: str) -> None:
    class_tars(small_source.directory, "train")
    (small_source.directory / "train" / stranger).mkdir()
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", status=1)
    assert f"train: holds {stranger}, a class the devkit does not know (1 of 4 are)" in done.stderr


def test_class_tars_without_a_devkit_are_refused(small_source: Any, tmp_path: Path, prep: Any) -> None:
    for path in small_source.directory.iterdir():
        if path.name != OFFICIAL.train:
            path.unlink()
    class_tars(small_source.directory, ".")
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", status=1)
    assert "holds class tars (n00000001.tar, n00000002.tar, n00000003.tar), and no devkit is in" in done.stderr


def test_class_tars_of_no_edition_are_not_guessed(
    small_source: Any, tmp_path: Path, prep: Any, write_devkit: Any
) -> None:
    directory = small_source.directory
    for name in (OFFICIAL.val, *OFFICIAL.tests):
        (directory / name).unlink()
    class_tars(directory, "train")
    (directory / EDITIONS["2012"].devkit).write_bytes((directory / OFFICIAL.devkit).read_bytes())
    done = prep("shards", "--source", directory, "--out", tmp_path / "out", status=1)
    assert "holds archives of 2010 and of 2012; choose one with --edition" in done.stderr


def test_a_folder_that_is_left_out_is_named(small_source: Any, tmp_path: Path, prep: Any) -> None:
    (small_source.directory / OFFICIAL.train).unlink()
    (small_source.directory / "train/cats").mkdir(parents=True)
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out")
    assert f"{small_source.directory}/train: left out: holds neither class tars" in done.stderr
