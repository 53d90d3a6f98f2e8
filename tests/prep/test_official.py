"""Known facts of the official sets: published checksums, and the odd files of a complete split."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep import official
from alexnet_prep.errors import SourceError
from alexnet_prep.official import KNOWN, MD5, check_md5, known_differences


def test_published_sums_are_md5_sums() -> None:
    assert all(len(value) == 32 and int(value, 16) for value in MD5.values())
    assert (
        sum((known.odd or {}).get("four components", 0) for (year, _), known in KNOWN.items() if year == "2010") == 18
    )


def test_a_complete_split_is_compared() -> None:
    assert [KNOWN["2010", split].members for split in ("train", "val", "test")] == [1_261_406, 50_000, 150_000]
    assert known_differences("2010", "train", 1_261_406, {"gzip": 1, "cmyk": 10, "ycck": 3, "gray": 5000}) == []
    lines = known_differences("2010", "train", 1_261_406, {"gzip": 0, "cmyk": 13})
    assert lines == ["train: 0 files are gzip, a complete ILSVRC-2010 has 1"]
    assert known_differences("2012", "train", 1_281_167, {"png": 1, "cmyk": 22}) == []
    assert known_differences("2012", "val", 50_000, {}) == [
        "val: 0 files are four components, a complete ILSVRC-2012 has 1"
    ]


def test_an_incomplete_split_or_a_folder_is_not() -> None:
    assert known_differences("2010", "train", 1_261_405, {}) == []
    assert known_differences("folder", "train", 1_281_167, {}) == []
    assert known_differences("2012", "test", 100_000, {}) == []


def test_checksums_are_checked_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ILSVRC2012_img_val.tar"
    path.write_bytes(b"x" * 100_000)
    monkeypatch.setattr(official, "CHUNK_BYTES", 30_000)
    seen: list[tuple[int, int]] = []
    with pytest.raises(SourceError, match="expected the published 29b22e29"):
        check_md5({path.name: path}, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100_000, 100_000)
    monkeypatch.setitem(MD5, path.name, hashlib.md5(path.read_bytes()).hexdigest())
    (tmp_path / "patch_images.tar").write_bytes(b"")
    lines = check_md5({name: tmp_path / name for name in (path.name, "patch_images.tar")}, lambda *_: None)
    assert lines == ["ILSVRC2012_img_val.tar: MD5 as published", "patch_images.tar: no MD5 sum was published"]


def test_the_command_checks_on_request(small_source: Any, tmp_path: Path, prep: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "val")
    assert "no MD5 sum was published" in prep(*words, "--checksum").stderr
    for path in list(small_source.directory.iterdir()):
        path.rename(path.with_name(path.name.replace("2010_images", "2012_img")))
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "2012", "--checksum", status=1)
    assert "expected the published" in done.stderr
    assert not list((tmp_path / "2012").glob("*.tar"))
