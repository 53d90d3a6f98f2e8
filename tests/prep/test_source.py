"""Recognising a source directory."""

from pathlib import Path
from typing import Any

import fsspec
import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.source import find_source, stamps


def test_the_real_source_is_recognised(data_dir: Path) -> None:
    source = find_source(data_dir / "ilsvrc2010", "auto")
    assert (source.edition, source.splits) == ("2010", ("train", "val", "test"))
    assert stamps(source)["patch_images.tar"][0] == 419_840
    assert len(stamps(source)) == 6


def test_splits_that_are_there(small_source: Any) -> None:
    (small_source.directory / "ILSVRC2010_images_train.tar").unlink()
    assert find_source(small_source.directory, "2010").splits == ("val", "test")
    with pytest.raises(SourceError, match="expected ILSVRC2012_img_train.tar"):
        find_source(small_source.directory, "2012")


def test_two_editions_need_a_choice(small_source: Any) -> None:
    (small_source.directory / "ILSVRC2012_img_val.tar").write_bytes(b"")
    with pytest.raises(SourceError, match="choose one with --edition"):
        find_source(small_source.directory, "auto")
    assert find_source(small_source.directory, "2012").splits == ("val",)


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such directory"):
        find_source(tmp_path / "none", "auto")
    with pytest.raises(SourceError, match="no ImageNet source found; .*; there lie no files"):
        find_source(tmp_path, "auto")


def test_what_is_elsewhere_is_looked_at_there(tmp_path: Path) -> None:
    """A file with an address stays the same when what is there changes, labels of the same length for example."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/set/train-0.tar", b"0" * 1024)
    (tmp_path / "train-0.tar.url").write_text("memory://set/train-0.tar\n")
    (tmp_path / "train-1.tar.url").write_text("memory://set/none.tar\n# 9 bytes, as the mirror notes\n")
    before = stamps(find_source(tmp_path, "webdataset"))
    assert stamps(find_source(tmp_path, "webdataset")) == before
    store.pipe_file("/set/train-0.tar", b"1" * 1024)
    now = stamps(find_source(tmp_path, "webdataset"))
    assert [name for name in now if now[name] != before[name]] == ["train-0.tar.url"]
