"""Which shards of a directory are one set, with manifests there and without."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.manifest import set_name
from alexnet_shards.sets import find_sets, with_siblings


def test_shards_belong_to_the_manifest_of_their_split(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    make_shards(tmp_path, (2, 2))
    make_shards(tmp_path, (2,), "val")
    for name in ("other-a.tar", "odd.tar"):
        (tmp_path / name).touch()
    found = find_sets([str(path) for path in sorted(tmp_path.glob("*.tar"))])
    assert [(files.name, len(files.paths)) for files in found] == [("shards", 2), ("train", 2), ("val", 1)]
    assert found[1].manifest == tmp_path / "train.manifest.json"
    assert found[1].index == tmp_path / "train.index.npy"


def test_the_manifest_that_lists_a_shard_is_its_own(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    make_shards(tmp_path, (2, 2))
    for kind in ("manifest.json", "index.npy"):
        (tmp_path / f"train.{kind}").rename(tmp_path / f"everything.{kind}")
    found = find_sets([f"{tmp_path}/train-001.tar"])
    assert [files.name for files in found] == ["everything"]


def test_a_damaged_manifest_of_others_is_not_in_the_way(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    make_shards(tmp_path, (2,), "val")
    (tmp_path / "val.manifest.json").write_bytes(b"{")
    (tmp_path / "x-1.tar").touch()
    assert [files.name for files in find_sets([f"{tmp_path}/x-1.tar"])] == ["x"]


def test_one_directory_by_two_spellings_is_one(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"x-{number}.tar").touch()
    found = find_sets([f"{tmp_path}/x-0.tar", f"{tmp_path}/./x-1.tar"])
    assert [len(files.paths) for files in found] == [2]


def test_siblings_are_numbered_alike_and_no_links_to_the_chosen(tmp_path: Path) -> None:
    for name in ("x-0.tar", "x-1.tar", "x_2.tar", "x-a.tar", ".x-3.tar"):
        (tmp_path / name).touch()
    (tmp_path / "x-4.tar").symlink_to("x-0.tar")
    files = find_sets([f"{tmp_path}/x-0.tar"])[0]
    paths, siblings = with_siblings(files)
    assert [path.name for path in paths] == ["x-0.tar", "x-1.tar"]
    assert {path.name for path in siblings} == {"x-1.tar"}


def test_names() -> None:
    assert set_name(["train-0.tar", "train-1.tar"]) == "train"
    assert set_name(["a-x-1b.tar", "a-x-2b.tar"]) == "a-x"
    assert set_name(["alpha.tar", "beta.tar"]) == "shards"
    with pytest.raises(FormatError, match="not a shard's name"):
        set_name(["a.zip"])
