"""The archive reader against the standard library's, and its refusals."""

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.archive import read_flat_tar, read_nested_tar
from alexnet_prep.entries import Account
from alexnet_prep.errors import SourceError
from alexnet_prep.reader import SourceReader


def ignore(_: int) -> None:
    """No progress."""


def test_members_of_the_real_archive_equal_tarfile(data_dir: Path) -> None:
    path = data_dir / "ilsvrc2010" / "ILSVRC2010_images_train.tar"
    members = read_nested_tar(path, 0, ignore)
    reader = SourceReader([path])
    expected = {}
    with tarfile.open(path) as outer:
        for inner in outer:
            with tarfile.open(fileobj=outer.extractfile(inner)) as archive:
                for info in archive:
                    file = archive.extractfile(info)
                    assert file is not None
                    expected[info.name] = (inner.name.removesuffix(".tar"), file.read())
    assert len(expected) == 401
    (dotfile,) = [name for name in expected if name.startswith(".")]
    groups = len(members.groups)
    assert members.account == Account(
        entries=401 + groups, ignored={"class tar": groups, "dotfile": 1}, named={"dotfile": (dotfile,)}
    )
    found = {
        name.decode(): (
            members.groups[place["group"]],
            reader.read(int(place["container"]), name, int(place["offset"]), int(place["size"])),
        )
        for name, place in zip(members.names, members.locations, strict=True)
    }
    reader.close()
    del expected[dotfile]
    assert found == expected


def test_directory_prefix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "val.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("val", "deep/er/b.JPEG", "a.JPEG", "x" * 180 + "/c.JPEG"):
            info = tarfile.TarInfo(name)
            if name == "val":
                info.type = tarfile.DIRTYPE
            archive.addfile(info)
    members = read_flat_tar(path, 0, ignore)
    assert sorted(bytes(name) for name in members.names) == [b"a.JPEG", b"b.JPEG", b"c.JPEG"]


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.1, 0.0])
def test_a_truncated_archive_is_refused(small_source_tar: Path, kept: float) -> None:
    content = small_source_tar.read_bytes()
    small_source_tar.write_bytes(content[: int(len(content.rstrip(b"\0")) * kept)])
    with pytest.raises(SourceError, match="truncated"):
        read_nested_tar(small_source_tar, 0, ignore)


def test_a_cut_at_a_member_boundary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "val.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.JPEG")
            archive.addfile(info)
    path.write_bytes(path.read_bytes()[: 2 * 512])
    with pytest.raises(SourceError, match="end mark"):
        read_flat_tar(path, 0, ignore)


def test_empty_compressed_missing_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tar"
    empty.write_bytes(bytes(10240))
    zipped = tmp_path / "zipped.tar"
    zipped.write_bytes(gzip.compress(bytes(10240)))
    photo = tmp_path / "photo.tar"
    photo.write_bytes(b"\xff\xd8" * 3000)
    flat = tmp_path / "flat.tar"
    with tarfile.open(flat, "w") as archive:
        archive.addfile(tarfile.TarInfo("n1_1.JPEG"))
    for path, words in (
        (empty, "no image"),
        (zipped, "gunzip"),
        (photo, "not a tar header|damaged tar header"),
        (tmp_path / "none.tar", "cannot be opened"),
        (flat, "class tars"),
    ):
        with pytest.raises(SourceError, match=words) as caught:
            read_nested_tar(path, 0, ignore)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def small_source_tar(small_source: Any) -> Path:
    """The training archive of the small source."""
    path: Path = small_source.directory / "ILSVRC2010_images_train.tar"
    return path
