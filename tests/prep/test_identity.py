"""What makes two sources the same."""

import os
import shutil
from pathlib import Path
from typing import Any

from alexnet_prep.identity import content_sample
from alexnet_prep.source import find_source
from alexnet_prep.split import SplitSource


def read(directory: Path, split: str = "train") -> SplitSource:
    """A split of a source."""
    return find_source(directory, "auto").read(split, None, lambda _: None)


def test_a_copy_is_the_same_source_and_a_changed_image_is_not(small_source: Any, tmp_path: Path) -> None:
    first = read(small_source.directory)
    sample = content_sample(first)
    copy = tmp_path / "copy"
    shutil.copytree(small_source.directory, copy)
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    again = read(copy)
    assert (again.identity(), content_sample(again)) == (first.identity(), sample)
    archive = copy / "ILSVRC2010_images_train.tar"
    content = bytearray(archive.read_bytes())
    content[int(again.locations["offset"][0]) + 40] ^= 1
    archive.write_bytes(content)
    changed = read(copy)
    assert changed.identity() == first.identity()
    assert content_sample(changed) != sample


def test_dotfiles_change_nothing_in_a_folder_source(tmp_path: Path, photo_bytes: Any) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_bytes(photo_bytes(1))
    first = read(tmp_path)
    sample = content_sample(first)
    for name in (".DS_Store", "a/.DS_Store", "a/._1.jpg"):
        (tmp_path / "train" / name).write_bytes(b"Bud1")
    again = read(tmp_path)
    assert (again.identity(), content_sample(again)) == (first.identity(), sample)
    assert again.account.ignored == {"directory": 2, "dotfile": 3}
    (tmp_path / "train" / "a" / "2.jpg").write_bytes(photo_bytes(1)[:-1] + b"x")
    assert content_sample(read(tmp_path)) != sample
