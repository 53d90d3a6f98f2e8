"""Which classes a folder source has, and that their numbers never shift."""

from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.classes import ClassRules, class_directories, has_image, listed_classes, shown_names
from alexnet_prep.errors import SourceError
from alexnet_prep.source import find_source
from alexnet_shards.manifest import ClassFact


def touch(root: Path, *names: str, content: bytes = b"\xff\xd8\xff") -> None:
    """Files and their directories."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def read(root: Path, split: str = "train", **rules: Any) -> Any:
    """A split by rules."""
    return find_source(root, "auto", ClassRules(**rules)).read(split, None, lambda _: None)


def labels_of(images: Any) -> dict[str, int]:
    """Label by key."""
    return {images.key(row): int(images.labels[row]) for row in range(len(images))}


LISTED = tuple(ClassFact(wnid=name) for name in ("dog", "bird", "cat"))


def test_an_empty_folder_is_an_error_or_a_class(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/cat/1.jpg",
        "train/dog/2.jpg",
        "train/aardvark/.DS_Store",
        "train/bee/labels.xml",
        content=b"<a>",
    )
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    with pytest.raises(SourceError, match=r"no image in class folders aardvark, bee; .*--allow-empty-classes"):
        read(tmp_path)
    images = read(tmp_path, allow_empty=True)
    assert labels_of(images) == {"1": 2, "2": 3}
    assert "train: aardvark is a class without images" in images.notes


def test_known_rubbish_is_left_out_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "train/dog/@eaDir/2.jpg/thumb.jpg")
    touch(tmp_path, "train/__MACOSX/cat/._1.jpg", "train/.ipynb_checkpoints/x.jpg", "train/lost+found/a.jpg")
    images = read(tmp_path)
    assert [fact.wnid for fact in images.classes] == ["cat", "dog"]
    assert labels_of(images) == {"1": 0, "2": 1}
    assert any("__MACOSX is a file of another program" in note for note in images.notes)
    assert images.account.entries == len(images) + sum(images.account.ignored.values()) == 14
    assert not has_image(tmp_path / "train" / "lost+found") or has_image(tmp_path / "train" / "cat")
    assert list(class_directories(tmp_path / "train")) == ["cat", "dog"]


def test_images_outside_class_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/stray.jpg", "train/readme.txt", content=b"text")
    images = read(tmp_path)
    assert images.account.ignored == {"directory": 1, "image in no class folder": 1, "sidecar": 1}
    assert images.missing == 1
    assert "train: stray.jpg is an image in no class folder, not a member" in images.notes


def test_the_list_decides(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    with pytest.raises(SourceError, match=r"no folder of class bird \(1 of the 3 classes of --classes\)"):
        read(tmp_path, listed=LISTED)
    images = read(tmp_path, listed=LISTED, allow_missing=True)
    assert labels_of(images) == {"1": 2, "2": 0}
    assert (images.label_order, images.missing, len(images.classes)) == ("list", 1, 3)
    touch(tmp_path, "train/emu/3.jpg")
    with pytest.raises(SourceError, match="emu: no class of --classes has this name"):
        read(tmp_path, listed=LISTED, allow_missing=True)


def test_kaggles_mapping_is_a_list(tmp_path: Path) -> None:
    touch(tmp_path / "ILSVRC/Data/CLS-LOC", "train/n02/a.JPEG", "train/n03/b.JPEG")
    (tmp_path / "LOC_synset_mapping.txt").write_bytes(b"n01 tench\nn02 caf\xe9\nn03 ray\n")
    with pytest.raises(SourceError, match="no folder of class n01 .*LOC_synset_mapping.txt"):
        read(tmp_path)
    assert labels_of(read(tmp_path, allow_missing=True)) == {"a": 1, "b": 2}
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 a\nn01 b\n")
    with pytest.raises(SourceError, match="2 classes, or one twice"):
        read(tmp_path)


def test_a_devkit_beside_folders_is_a_list(tmp_path: Path, write_devkit: Any) -> None:
    touch(tmp_path, "train/n00000001/a.jpg", "train/n00000003/b.jpg")
    synsets = [(1, "n00000003", 0, 8), (2, "n00000001", 0, 8), (3, "n00000002", 0, 8)]
    write_devkit(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", synsets, [1, 2, 3])
    with pytest.raises(SourceError, match="no folder of class n00000002"):
        read(tmp_path)
    images = read(tmp_path, allow_missing=True)
    assert labels_of(images) == {"a": 0, "b": 2}
    assert [fact.official_id for fact in images.classes] == [2, 3, 1]


def test_other_classes_in_val_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/b/3.jpg")
    images = read(tmp_path, "val")
    assert (labels_of(images), images.missing) == ({"3": 1}, 1)
    assert "val: no folder of class a (1 of the 2 of the training split)" in images.notes
    touch(tmp_path, "val/c/4.jpg", "val/d/5.jpg")
    with pytest.raises(SourceError, match=r"c: no class of the training split .*\(unknown: c, d\)"):
        read(tmp_path, "val")


def test_two_devkits_are_one_too_many(tmp_path: Path, write_devkit: Any) -> None:
    touch(tmp_path, "train/n00000001/a.jpg", "ILSVRC2012_devkit_t12.tar.gz")
    write_devkit(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz", [(1, "n00000001", 0, 1)], [1])
    with pytest.raises(SourceError, match="holds the devkits of 2010 and 2012; move away the one"):
        read(tmp_path)
    assert len(read(tmp_path, listed=(ClassFact(wnid="n00000001"),))) == 1


def test_the_devkit_of_archives_decides_alone(small_source: Any) -> None:
    with pytest.raises(SourceError, match="leave --classes out"):
        find_source(small_source.directory, "auto", ClassRules(listed=LISTED))
    assert listed_classes(small_source.directory, ClassRules()) is not None
    assert shown_names([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"


@pytest.mark.parametrize("folders", [("red fox", "grey wolf"), ("red", "grey")])
def test_a_list_s_names_may_have_spaces_as_the_folders_have(tmp_path: Path, folders: tuple[str, str]) -> None:
    touch(tmp_path, *(f"train/{name}/image{number}.jpg" for number, name in enumerate(folders)))
    listed = (ClassFact(wnid="red", words="fox"), ClassFact(wnid="grey", words="wolf"))  # `red fox`, a line
    images = read(tmp_path, listed=listed)
    assert labels_of(images) == {"image0": 0, "image1": 1}
    assert [fact.wnid for fact in images.classes] == list(folders)


def test_an_image_of_another_class_is_not_reached_by_a_link_upwards(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    (tmp_path / "train/cat/up").symlink_to("..")
    (tmp_path / "train/dog/top").symlink_to(tmp_path)
    images = read(tmp_path)
    assert labels_of(images) == {"1": 0, "2": 1}
    assert sum("link back to a folder above it" in note for note in images.notes) == 2
