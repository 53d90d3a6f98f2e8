"""Parts of a split, made by real processes in any order and at once, and joined to the same bytes."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep import order
from alexnet_prep.rundir import locked_directory
from alexnet_prep.share import Share

NUM_SHARDS = 6
Shards = Callable[..., subprocess.CompletedProcess[str]]


def hashes(directory: Path) -> dict[str, str]:
    """sha256 of every file that a user sees."""
    paths = [path for path in sorted(directory.iterdir()) if path.is_file() and path.name != ".lock"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture
def words(small_source: Any, tmp_path: Path) -> list[object]:
    """The words of `alexnet-prep shards` on the small source, to `out`."""
    split = ("--split", "train", "--num-shards", NUM_SHARDS, "--workers", 1)
    return ["shards", "--source", small_source.directory, "--out", tmp_path / "out", *split, "--json"]


@pytest.fixture
def whole(small_source: Any, tmp_path: Path, prep: Shards) -> dict[str, str]:
    """What one run of the whole writes."""
    out = tmp_path / "whole"
    prep("shards", "--source", small_source.directory, "--out", out, "--split", "train", "--num-shards", NUM_SHARDS)
    return hashes(out)


def start(words: list[object], *more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, (*words, *more))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_shares_cover_every_shard_once() -> None:
    for of in (1, 2, 3, 7, 1000):
        numbers = [number for part in range(1, of + 1) for number in Share(part, of).shards(100)]
        assert numbers == list(range(100))
    assert str(Share.parse("3/8")) == "3/8"
    for text in ("0/3", "4/3", "3", "a/b", "1/2/3", "-1/3", ""):
        with pytest.raises(ValueError, match="expected I/N"):
            Share.parse(text)


def test_two_parts_at_once_in_reverse_order_give_the_same_bytes(
    words: list[object], whole: dict[str, str], tmp_path: Path, prep: Shards
) -> None:
    parts = [start(words, "--part", f"{number}/2") for number in (2, 1)]
    said = [part.communicate(timeout=120) for part in parts]
    assert [part.returncode for part in parts] == [0, 0], said
    facts = [json.loads(out)[0] for out, _ in said]
    assert [(each["part"], each["shards"]) for each in facts] == [("2/2", 3), ("1/2", 3)]
    assert sum(each["written"] for each in facts) == 24
    assert not (tmp_path / "out" / "train.manifest.json").exists()
    report = json.loads(prep(*words, "--finish").stdout)[0]
    assert (report["written"], report["shards"]) == (24, NUM_SHARDS)
    assert hashes(tmp_path / "out") == whole


def test_finish_names_what_is_missing(words: list[object], whole: dict[str, str], tmp_path: Path, prep: Shards) -> None:
    for part in ("3/3", "1/3"):
        prep(*words, "--part", part)
    (tmp_path / "out" / "train-005.tar").write_bytes(b"")
    said = prep(*words, "--finish", status=1).stderr
    assert (
        "3 of 6 shards are missing or damaged: train-002.tar to train-003.tar, train-005.tar; run --part 2/3, 3/3"
        in said
    )
    assert not (tmp_path / "out" / "train.manifest.json").exists()
    for part in ("2/3", "3/3"):
        prep(*words, "--part", part)
    prep(*words, "--finish")
    assert hashes(tmp_path / "out") == whole


def parts_of_once(words: list[object], out: Path, prep: Shards) -> dict[str, str]:
    """Make parts of a source that is read once, the last first, and join them."""
    line = prep(*words, "--out", out, "--finish", "--read", "once", status=1).stderr.splitlines()[-1]
    assert "stretches of the source are not there, as stretch-" in line
    facts = []
    for part in ("3/3", "1/3"):
        facts += json.loads(prep(*words, "--out", out, "--part", part, "--read", "once").stdout)
    line = prep(*words, "--out", out, "--finish", status=1).stderr.splitlines()[-1]
    assert "run --part 2/3, then --finish again" in line or "the parts that make them" in line
    facts += json.loads(prep(*words, "--out", out, "--part", "2/3", "--read", "once").stdout)
    assert sum(each["stretches"] > 0 for each in facts) > 1
    assert not list(out.glob("*.manifest.json"))
    prep(*words, "--out", out, "--finish")
    assert not list(out.rglob("stretch-*"))
    assert not list(out.rglob("*.tmp"))
    return hashes(out)


@pytest.fixture
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several stretches of small sources, in runs in this process."""
    monkeypatch.setattr(order, "SMALLEST_BYTES", 64 << 10)


@pytest.mark.usefixtures("small_stretches")
def test_parts_of_archives_that_are_read_once(
    small_source: Any, words: list[object], whole: dict[str, str], tmp_path: Path, prep: Shards
) -> None:
    assert parts_of_once(words, tmp_path / "plain", prep) == whole
    archive = small_source.directory / "ILSVRC2010_images_train.tar"
    archive.with_name(archive.name + ".gz").write_bytes(gzip.compress(archive.read_bytes(), 1))
    archive.unlink()
    assert parts_of_once(words, tmp_path / "packed", prep) == whole


@pytest.mark.usefixtures("small_stretches")
def test_parts_of_tars_of_which_one_split_is_compressed(same_sources: Any, tmp_path: Path, prep: Shards) -> None:
    """What the classes of the plain one are is not known before the other was read."""
    words = ["shards", "--num-shards", 3, "--label", "json:label", "--workers", 1]
    prep(*words, "--source", same_sources.directory / "tars", "--out", tmp_path / "whole")
    (tmp_path / "tars").mkdir()
    for path in (same_sources.directory / "tars").iterdir():
        is_plain, content = "validation" in path.name, path.read_bytes()
        (tmp_path / "tars" / f"{path.name}{'' if is_plain else '.gz'}").write_bytes(
            content if is_plain else gzip.compress(content, 1)
        )
    words += ["--source", tmp_path / "tars", "--out", tmp_path / "out"]
    for part in ("2/2", "1/2"):
        prep(*words, "--part", part)
    prep(*words, "--finish")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.usefixtures("small_stretches")
@pytest.mark.parametrize("kind", ["parquet", "tars"])
def test_parts_of_many_samples_a_file_read_once(same_sources: Any, tmp_path: Path, prep: Shards, kind: str) -> None:
    label = ("--label", "json:label") if kind == "tars" else ()
    words = ["shards", "--source", same_sources.directory / kind, "--split", "train", "--num-shards", 3, *label]
    prep(*words, "--out", tmp_path / "whole")
    assert parts_of_once([*words, "--workers", 1, "--json"], tmp_path / "parts", prep) == hashes(tmp_path / "whole")


@pytest.mark.usefixtures("small_stretches")
def test_parts_of_a_source_of_which_one_archive_is_compressed(
    small_source: Any, words: list[object], tmp_path: Path, prep: Shards
) -> None:
    """All splits wait for --finish in stretches, though one alone has to."""
    words = [*words, "--split", "all", "--num-shards", 2]
    prep(*words, "--out", tmp_path / "whole")
    archive = small_source.directory / "ILSVRC2010_images_train.tar"
    archive.with_name(archive.name + ".gz").write_bytes(gzip.compress(archive.read_bytes(), 1))
    archive.unlink()
    for part in ("1/2", "2/2"):
        facts = json.loads(prep(*words, "--part", part).stdout)
        assert [each["split"] for each in facts if "stretches" in each] == ["train", "val", "test"]
    prep(*words, "--finish")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_parts_know_a_folder_by_any_path(
    photo_bytes: Callable[..., bytes], tmp_path: Path, prep: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        path = tmp_path / "photos" / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_bytes(number))
    monkeypatch.chdir(tmp_path)
    words = ("shards", "--out", tmp_path / "out", "--num-shards", 2, "--workers", 1)
    prep(*words, "--source", "photos", "--read", "once", "--part", "1/1")
    (tmp_path / "photos").rename(tmp_path / "moved")
    prep(*words, "--source", tmp_path / "moved", "--finish")


def test_parts_of_a_compressed_archive_at_once(
    small_source: Any, words: list[object], whole: dict[str, str], tmp_path: Path, prep: Shards
) -> None:
    archive = small_source.directory / "ILSVRC2010_images_train.tar"
    archive.with_name(archive.name + ".gz").write_bytes(gzip.compress(archive.read_bytes(), 1))
    archive.unlink()
    code = (
        "import alexnet_prep.order as order; order.SMALLEST_BYTES = 64 << 10; from alexnet_prep.cli import main; main()"
    )
    parts = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words), "--part", f"{number}/2"], stdout=subprocess.PIPE
        )
        for number in (2, 1)
    ]
    found = [json.loads(part.communicate(timeout=120)[0])[0]["stretches"] for part in parts]
    assert min(found) > 0
    command = [sys.executable, "-c", code, *map(str, words), "--finish"]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
    assert hashes(tmp_path / "out") == whole


def test_a_part_s_lock_and_the_whole_s(words: list[object], tmp_path: Path, prep: Shards) -> None:
    """A part has the directory beside other parts, never beside itself or a run of the whole."""
    out, held = tmp_path / "out", f"process {os.getpid()} on"
    with locked_directory(out, Share(1, 2)):
        assert held in prep(*words, "--part", "1/2", status=1).stderr
        assert held in prep(*words, status=1).stderr
        assert held in prep(*words, "--finish", status=1).stderr
        prep(*words, "--part", "2/2")
    with locked_directory(out):
        assert held in prep(*words, "--part", "1/2", status=1).stderr
    prep(*words, "--part", "1/2")


def test_a_killed_part_goes_on(words: list[object], whole: dict[str, str], tmp_path: Path, prep: Shards) -> None:
    for _ in range(3):
        with start(words, "--part", "1/1") as part:
            time.sleep(0.8)
            part.kill()
    prep(*words, "--part", "1/1")
    prep(*words, "--finish")
    assert hashes(tmp_path / "out") == whole
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_more_parts_than_shards(words: list[object], prep: Shards) -> None:
    facts = json.loads(prep(*words, "--part", "1/100").stdout)[0]
    assert (facts["shards"], facts["written"]) == (0, 0)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--part", "3/2"), "expected I/N with I from 1 to N"),
        (("--part", "half"), "expected I/N, as 3/8"),
        (("--part", "1/2", "--finish"), "--finish and --strict are for the whole"),
        (("--part", "1/2", "--strict"), "--finish and --strict are for the whole"),
    ],
)
def test_wrong_usage(words: list[object], prep: Shards, more: tuple[str, ...], line: str) -> None:
    assert line in prep(*words, *more, status=2).stderr
