"""Shards made elsewhere get manifest and index once, whoever asks, and are refused where that cannot be done."""

import logging
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_shards.adopt import adopt_shards
from alexnet_shards.errors import FormatError
from alexnet_shards.index import load_index
from alexnet_shards.manifest import load_manifest
from alexnet_shards.shardset import open_shards

Make = Callable[..., str]


def strip(directory: Path) -> None:
    """Leave the tars alone, as they come from elsewhere."""
    for path in directory.iterdir():
        if path.suffix != ".tar":
            path.unlink()


def test_the_same_as_was_there_before(tmp_path: Path, make_shards: Make, caplog: pytest.LogCaptureFixture) -> None:
    pattern = make_shards(tmp_path)
    expected = load_index(tmp_path / "train.index.npy").tolist()
    strip(tmp_path)
    with caplog.at_level(logging.WARNING):
        shards = open_shards([pattern])
        open_shards([pattern])
    assert len(caplog.records) == 1
    assert "reading 3 shards" in caplog.text
    assert shards.rows.tolist() == expected
    assert [fact.wnid for fact in shards.classes] == ["0", "1", "2", "3", "4", "5", "6"]
    assert load_manifest(tmp_path / "train.manifest.json") == shards.manifest


def test_some_shards_adopt_the_whole_split(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    strip(tmp_path)
    assert open_shards([f"{tmp_path}/train-001.tar"]).num_samples == 5
    assert len(load_manifest(tmp_path / "train.manifest.json").shards) == 3


def test_shards_are_ordered_by_number(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    for number in (10, 9, 100):
        shard_tools.write_tar(tmp_path / f"my-set-{number}.tar", [("a.jpg", b"1")])
    (tmp_path / "other-000.tar").write_bytes(b"not looked at")
    names = [fact.name for fact in adopt_shards(tmp_path, "my-set").shards]
    assert names == ["my-set-9.tar", "my-set-10.tar", "my-set-100.tar"]


def test_classes_of_the_split_beside(tmp_path: Path, make_shards: Make, shard_tools: SimpleNamespace) -> None:
    make_shards(tmp_path)
    shard_tools.write_tar(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("a.cls", b"4")])
    shard_tools.write_tar(tmp_path / "more-000.tar", [("a.jpg", b"1"), ("a.cls", b"7")])
    assert adopt_shards(tmp_path, "val").classes == load_manifest(tmp_path / "train.manifest.json").classes
    assert len(adopt_shards(tmp_path, "more").classes) == 8


def test_labels_of_some_only(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    shard_tools.write_tar(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("a.cls", b"4"), ("b.jpg", b"2")])
    with pytest.raises(FormatError, match="1 of 2 samples of val have no .cls"):
        adopt_shards(tmp_path, "val")
    assert [path.name for path in tmp_path.iterdir()] == ["val-000.tar"]


def test_damage_leaves_nothing(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    strip(tmp_path)
    os.truncate(tmp_path / "train-001.tar", 3000)
    with pytest.raises(FormatError, match="train-001.tar"):
        open_shards([pattern])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-000.tar", "train-001.tar", "train-002.tar"]


def adopt_and_count(directory: str) -> int:
    return len(adopt_shards(Path(directory), "train").shards)


def test_processes_that_ask_at_once(tmp_path: Path, make_shards: Make) -> None:
    """The ranks of a host start together."""
    make_shards(tmp_path)
    strip(tmp_path)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(adopt_and_count, [str(tmp_path)] * 6) == [3] * 6
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".tar") == [
        "train.index.npy",
        "train.manifest.json",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to lose the right to write")
def test_a_directory_that_cannot_be_written(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    strip(tmp_path)
    for path in (tmp_path, *tmp_path.parents):
        path.chmod(0o755)
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2:]; os.setuid(65534)\n"
        "from alexnet_shards.shardset import open_shards\n"
        "from alexnet_shards.errors import FormatError\n"
        "try:\n    open_shards([sys.argv[1]])\nexcept FormatError as error:\n    print(error)"
    )

    done = subprocess.run([sys.executable, "-c", code, pattern, *sys.path], capture_output=True, text=True, check=True)
    assert "cannot be written; run alexnet-prep index where it can" in done.stdout
    assert done.stdout.count("\n") == 1
