"""The four spellings name the same shards, and nothing is named by accident."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_shards.errors import PatternError
from alexnet_shards.pattern import expand_patterns, expand_ranges


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(12):
        (tmp_path / f"train-{number:03d}.tar").touch()
    return tmp_path


def test_five_spellings(shards: Path) -> None:
    expected = tuple(f"{shards}/train-{number:03d}.tar" for number in range(12))
    assert expand_patterns([f"{shards}/train-{{000..011}}.tar"]) == expected
    assert expand_patterns([f"{shards}/train-<000..011>.tar"]) == expected
    assert expand_patterns([f"{shards}/train-*.tar"]) == expected
    assert expand_patterns(expected) == expected
    assert expand_patterns([str(shards)]) == expand_patterns([f"{shards}/"], "train") == expected


def test_one_pattern_needs_no_list_and_a_path_is_one(shards: Path) -> None:
    expected = expand_patterns([f"{shards}/train-*.tar"])
    assert expand_patterns(f"{shards}/train-*.tar") == expand_patterns(shards) == expand_patterns([shards]) == expected
    assert expand_patterns([shards / "train-003.tar"]) == (f"{shards}/train-003.tar",)


@pytest.mark.parametrize("name", ["[2012]", "{x}", "{0..1}", "<y>", "a?b", "a*b", "a b", "é", "%20", "a#b", "~x"])
def test_a_folder_that_is_there_is_meant_whatever_its_name(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path / name, tmp_path / "a-b", tmp_path / "2"):
        folder.mkdir()
        for number in range(2):
            (folder / f"train-{number}.tar").touch()
    expected = tuple(f"{tmp_path}/{name}/train-{number}.tar" for number in range(2))
    for pattern in ("", "/", "/train-*.tar", "/train-{0..1}.tar", "/train-<0..1>.tar"):
        assert expand_patterns([f"{tmp_path}/{name}{pattern}"]) == expected
    assert expand_patterns(expected) == expected
    with pytest.raises(PatternError, match=r"train-2.tar: no such shard \(1 of 3 .*; 2 are there: name them"):
        expand_patterns([f"{tmp_path}/{name}/train-{{0..2}}.tar"])


def test_the_home_of_a_quoted_pattern(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(shards.parent))
    monkeypatch.chdir(shards)
    expected = expand_patterns([str(shards)])
    assert expand_patterns([f"~/{shards.name}/train-*.tar"]) == expand_patterns([f"~/{shards.name}"]) == expected
    (shards / "~").mkdir()
    with pytest.raises(PatternError, match="no file matches"):
        expand_patterns([f"~/{shards.name}/train-*.tar"])


def test_all_splits_of_a_folder(shards: Path) -> None:
    (shards / "val-0.tar").touch()
    assert expand_patterns([shards], "all") == (*expand_patterns([shards], "train"), f"{shards}/val-0.tar")


def test_order_given_is_kept(shards: Path) -> None:
    names = [Path(path).name for path in expand_patterns([f"{shards}/train-<003..004>.tar", f"{shards}/train-000.tar"])]
    assert names == ["train-003.tar", "train-004.tar", "train-000.tar"]


def test_two_ranges(tmp_path: Path) -> None:
    for folder in ("d0", "d1"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            (tmp_path / folder / f"t-{number}.tar").touch()
    paths = expand_patterns([f"{tmp_path}/d{{0..1}}/t-<0..1>.tar"])
    assert [path.removeprefix(f"{tmp_path}/") for path in paths] == [
        "d0/t-0.tar",
        "d0/t-1.tar",
        "d1/t-0.tar",
        "d1/t-1.tar",
    ]


@settings(max_examples=50, deadline=None)
@given(first=st.integers(0, 1100), count=st.integers(1, 12), width=st.integers(1, 6))
def test_the_width_of_the_first_number_counts(
    tmp_path_factory: pytest.TempPathFactory, first: int, count: int, width: int
) -> None:
    directory = tmp_path_factory.mktemp("range")
    expected = [directory / f"s-{number:0{width}d}.tar" for number in range(first, first + count)]
    if len(str(first)) > width:
        width = len(str(first))
    for path in expected:
        path.touch()
    pattern = f"{directory}/s-{{{first:0{width}d}..{first + count - 1:0{width}d}}}.tar"
    assert expand_patterns([pattern]) == tuple(map(str, expected))


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    path = tmp_path / "train[1]-000.tar"
    path.touch()
    assert expand_patterns([str(path)]) == (str(path),)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train-{000..012}.tar", "train-012.tar: no such shard (1 of 13"),
        ("train-{011..000}.tar", "backwards"),
        ("train-{000..9999999}.tar", "1,000,000"),
        ("{0..999999}/{0..999999}.tar", "1,000,000"),
        ("{0..9}" * 12 + ".tar", "1,000,000"),
        ("train-{0.." + "9" * 5000 + "}.tar", "1,000,000"),
        ("train-{0..1}\0.tar", "null character"),
        ("train-{a..b}.tar", "unreadable"),
        ("train-<000-011>.tar", "unreadable"),
        ("train-{000,001}.tar", "unreadable"),
        ("val-*.tar", "no file matches"),
        ("train-012.tar", "no such shard"),
    ],
)
def test_refused(shards: Path, pattern: str, message: str) -> None:
    with pytest.raises(PatternError) as error:
        expand_patterns([f"{shards}/{pattern}"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_and_twice(shards: Path) -> None:
    with pytest.raises(PatternError, match="empty"):
        expand_patterns([])
    with pytest.raises(PatternError, match="named twice"):
        expand_patterns([f"{shards}/train-*.tar", f"{shards}/train-000.tar"])


def test_a_directory_is_no_shard(shards: Path) -> None:
    (shards / "val-000.tar").mkdir()
    with pytest.raises(PatternError, match="no such shard"):
        expand_patterns([f"{shards}/val-000.tar"])


def test_a_range_of_folders(shards: Path, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}" / "train-000.tar").touch()
    names = expand_patterns([f"{tmp_path}/part{{0..1}}"], "train")
    assert names == (f"{tmp_path}/part0/train-000.tar", f"{tmp_path}/part1/train-000.tar")


@pytest.mark.parametrize(
    "pattern", ["{8..010}", "{08..10}", "{8..10}", "{0..10}", "{00..10}", "{001..010}", "{1..010}-{1..2}", "x{9..11}y"]
)
def test_ranges_expand_as_bash_does(pattern: str) -> None:
    printed = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True)
    assert expand_ranges(pattern) == printed.stdout.split()


def test_one_file_by_two_spellings_or_links_is_named(shards: Path) -> None:
    (shards / "latest.tar").symlink_to("train-003.tar")
    (shards / "hard.tar").hardlink_to(shards / "train-004.tar")
    for other, first in (("./train-003.tar", 3), ("latest.tar", 3), ("hard.tar", 4)):
        with pytest.raises(PatternError, match=rf"{re.escape(other)}: the same file as .*train-00{first}\.tar"):
            expand_patterns([f"{shards}/train-*.tar", f"{shards}/{other}"])
