"""A folder stands for the shards of one split, and a pattern that does not fit is told which would."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_shards.errors import FormatError, PatternError
from alexnet_shards.folder import folder_shards
from alexnet_shards.pattern import expand_patterns
from alexnet_shards.shardset import open_shards


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_the_split_that_is_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "train-000.tar", "train-001.tar", "val-000.tar", ".train-002.tar", "notes.txt")
    assert folder_shards(str(tmp_path), "train") == [f"{tmp_path}/train-000.tar", f"{tmp_path}/train-001.tar"]
    assert folder_shards(f"{tmp_path}/", "val") == [f"{tmp_path}/val-000.tar"]


@pytest.mark.parametrize("name", ["validation-000.tar", "imagenet1k-validation-00.tar", "val.tar"])
def test_a_split_by_any_spelling(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "imagenet1k-train-00.tar")
    assert folder_shards(str(tmp_path), "val") == [f"{tmp_path}/{name}"]


def test_a_manifest_says_what_all_of_a_split_is(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    make_shards(tmp_path / "a", (3, 4, 2))
    assert open_shards([str(tmp_path / "a")], split="train").num_samples == 9
    touch(tmp_path / "a", "train-003.tar")  # a stray one that the manifest does not list
    assert open_shards([str(tmp_path / "a")], split="train").num_samples == 9
    (tmp_path / "a" / "train-001.tar").unlink()
    with pytest.raises(PatternError, match=r"train-001\.tar: no such shard .* train\.manifest\.json lists it"):
        open_shards([str(tmp_path / "a")], split="train")


@pytest.mark.parametrize(
    ("names", "split", "words"),
    [
        ([], "train", "no shards are there"),
        ([], None, "no shards are there"),
        (["val-000.tar"], "train", "holds no train-*.tar; name the shards that are meant: '{}/val-*.tar'"),
        (["photos_01.tar"], "train", "'{}/photos_*.tar'"),
        (["val-0.tar", "validation-0.tar", "train-0.tar"], "val", "meant: '{}/val-*.tar' or '{}/validation-*.tar'"),
        (["train-000.tar", "val-000.tar"], None, "'{}/train-*.tar' or '{}/val-*.tar'"),
        ([f"{kind}-0.tar" for kind in "abcde"], None, "'{}/d-*.tar' …"),
    ],
)
def test_what_is_not_plain_is_told_what_to_type(
    tmp_path: Path, names: list[str], split: str | None, words: str
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(PatternError) as error:
        folder_shards(str(tmp_path), split)
    assert words.replace("{}", str(tmp_path)) in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{}/train-<000..999>.tar", "(998 of 1000 of '{}/train-<000..999>.tar' missing); 2 are there: name them "
         "'{}/train-*.tar', quotes included"),
        ("{}/train-009.tar", "name them '{}/train-*.tar'"),
        ("{}/val-{000..003}.tar", "name it '{}/val-*.tar'"),
        ("{}/test-000.tar", "name the shards that are meant: '{}/train-*.tar' or '{}/val-*.tar'"),
        ("{}/none/train-000.tar", "there is no folder {}/none"),
        ("{}none", "expected a folder of shards, SPLIT-NUMBER.tar or a pattern of them in quotes"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_what_is_there(tmp_path: Path, pattern: str, words: str) -> None:
    touch(tmp_path, "train-000.tar", "train-001.tar", "val-000.tar")
    with pytest.raises(PatternError) as error:
        expand_patterns([pattern.replace("{}", str(tmp_path))])
    assert "no such shard" in str(error.value)
    assert words.replace("{}", str(tmp_path)) in str(error.value)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "train-000.tar", "train.manifest.json")
    with pytest.raises(FormatError, match=r"train\.manifest\.json"):
        folder_shards(str(tmp_path), "train")
