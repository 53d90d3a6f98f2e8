"""Verification finds every planted fault by shard and key, and repair rebuilds just those shards."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_shards.index import load_index, save_index


@pytest.fixture
def finished(small_source: Any, tmp_path: Path, prep: Any) -> Path:
    """Four training shards of the small source."""
    prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "train", "--num-shards", 4)
    return tmp_path / "out"


def flip(path: Path, place: int) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


def findings(prep: Any, out: Path, *words: object) -> list[dict[str, Any]]:
    """`bad` of a verification that fails."""
    done = prep("verify", "--shards", out, "--json", *words, status=1)
    bad: list[dict[str, Any]] = json.loads(done.stdout)["bad"]
    assert "findings" in done.stderr
    return bad


def test_whole_shards_pass(finished: Path, prep: Any) -> None:
    done = prep("verify", "--shards", finished, "--workers", 2, "--json")
    assert json.loads(done.stdout) == {"shards": 4, "samples": 24, "bad": []}


def test_a_flipped_bit_names_its_sample(finished: Path, prep: Any) -> None:
    rows = load_index(finished / "train.index.npy")
    row = rows[(rows["shard"] == 2)][3]
    flip(finished / "train-002.tar", int(row["offset"] + row["size"] // 2))
    (bad,) = findings(prep, finished)
    assert bad["shard"] == "train-002.tar"
    assert bad["key"].startswith("n0000000")
    assert "checksum" in bad["reason"]


def test_missing_truncated_and_padded_shards_are_named(finished: Path, prep: Any) -> None:
    (finished / "train-000.tar").unlink()
    path = finished / "train-001.tar"
    path.write_bytes(path.read_bytes()[:-5000])
    flip(finished / "train-003.tar", 120)  # in a header
    reasons = {entry["shard"]: entry["reason"] for entry in findings(prep, finished, "--split", "train")}
    assert reasons.keys() == {"train-000.tar", "train-001.tar", "train-003.tar"}
    assert reasons["train-000.tar"] == "the shard is missing"
    assert "truncated" in reasons["train-001.tar"]
    assert "header" in reasons["train-003.tar"]


def test_a_stray_shard_is_named(finished: Path, prep: Any) -> None:
    (finished / "train-777.tar").write_bytes((finished / "train-000.tar").read_bytes())
    (bad,) = findings(prep, finished)
    assert (bad["shard"], bad["key"]) == ("train-777.tar", None)


def test_a_changed_label_is_named(finished: Path, prep: Any) -> None:
    rows = np.array(load_index(finished / "train.index.npy"))
    rows["label"][5] = (rows["label"][5] + 1) % 3
    save_index(finished / "train.index.npy", rows)
    (bad,) = findings(prep, finished)
    assert "its label is" in bad["reason"]


def test_repair_rebuilds_only_what_is_bad(finished: Path, small_source: Any, prep: Any) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in finished.glob("train-*.tar")}
    flip(finished / "train-001.tar", 5000)
    (finished / "train-003.tar").unlink()
    assert {entry["shard"] for entry in findings(prep, finished)} == {"train-001.tar", "train-003.tar"}
    done = prep("verify", "--shards", finished, "--repair", "--source", small_source.directory, "--json")
    assert json.loads(done.stdout)["bad"] == []
    for name, (content, stamp) in before.items():
        assert (finished / name).read_bytes() == content
        assert ((finished / name).stat().st_mtime_ns == stamp) == (name in ("train-000.tar", "train-002.tar"))


def test_repair_from_a_folder_with_archives_of_two_years(tmp_path: Path, small_source: Any, prep: Any) -> None:
    archive = small_source.directory / "ILSVRC2010_images_val.tar"
    archive.with_name("ILSVRC2012_img_val.tar").write_bytes(archive.read_bytes())
    out, source = tmp_path / "out", ("--source", small_source.directory)
    prep("shards", *source, "--out", out, "--edition", "2010", "--split", "val", "--num-shards", 2)
    content = (out / "val-001.tar").read_bytes()
    (out / "val-001.tar").unlink()
    prep("verify", "--shards", out, "--repair", *source)
    assert (out / "val-001.tar").read_bytes() == content


def test_repair_needs_the_archives_of_what_is_bad_alone(tmp_path: Path, small_source: Any, prep: Any) -> None:
    out, source = tmp_path / "out", ("--source", small_source.directory)
    prep("shards", *source, "--out", out, "--num-shards", 2)
    content = (out / "train-001.tar").read_bytes()
    (out / "train-001.tar").unlink()
    for split in ("val", "test"):
        (small_source.directory / f"ILSVRC2010_images_{split}.tar").unlink()
    assert findings(prep, out)[0]["shard"] == "train-001.tar"
    prep("verify", "--shards", out, "--repair", *source)
    assert (out / "train-001.tar").read_bytes() == content


def test_repair_without_source_is_wrong_usage(finished: Path, prep: Any) -> None:
    flip(finished / "train-001.tar", 5000)
    done = prep("verify", "--shards", finished, "--repair", status=2)
    assert "--repair needs --source" in done.stderr


def test_a_directory_without_shards_is_one_line(tmp_path: Path, prep: Any) -> None:
    done = prep("verify", "--shards", tmp_path, status=1)
    assert "no manifest of a split there" in done.stderr


def test_an_undecodable_sample_in_foreign_shards_is_named(
    tmp_path: Path, prep: Any, photo_bytes: Any, tar_bytes: Any
) -> None:
    members = [
        ("a.jpg", photo_bytes(1, 256, 256)),
        ("a.cls", b"0"),
        ("b.jpg", photo_bytes(2, 300, 256)),
        ("b.cls", b"1"),
    ]
    members += [("c.jpg", b"\xff\xd8 no photo"), ("c.cls", b"1")]
    (tmp_path / "set-000.tar").write_bytes(tar_bytes(members))
    found = json.loads(prep("index", "--shards", tmp_path / "set-*.tar", "--json").stdout)
    assert found == {"split": "set", "shards": 1, "samples": 3, "classes": 2}
    reasons = {entry["key"]: entry["reason"] for entry in findings(prep, tmp_path)}
    assert reasons.keys() == {"b", "c"}
    assert "is 300x256" in reasons["b"]
    assert "cannot be decoded" in reasons["c"]


def change_manifest(path: Path, change: Any) -> None:
    """Rewrite a manifest after `change(content)`."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_every_field_of_the_manifest_and_the_index_is_checked(finished: Path, prep: Any) -> None:
    manifest, index = finished / "train.manifest.json", finished / "train.index.npy"
    whole, rows = manifest.read_bytes(), np.array(load_index(index))
    change_manifest(manifest, lambda content: content["shards"][2].update(bytes=content["shards"][2]["bytes"] + 1))
    (bad,) = findings(prep, finished)
    assert (bad["shard"], bad["reason"].split()[0]) == ("train-002.tar", "bytes")
    manifest.write_bytes(whole)
    rows["size"][3] -= 1
    save_index(index, rows)
    assert any("its length in bytes is" in bad["reason"] for bad in findings(prep, finished))
    rows["size"][3] += 1
    save_index(index, rows[::-1])
    (bad,) = findings(prep, finished)
    assert (bad["shard"], bad["key"]) == ("train.index.npy", None)
    assert "its sha256 is" in bad["reason"]
    rows["shard"][0] = 4
    save_index(index, rows)
    assert "names a shard that the manifest does not have" in prep("verify", "--shards", finished, status=1).stderr


def test_links_in_a_shard_are_samples_of_one_place(tmp_path: Path, prep: Any, photo_bytes: Any, tar_bytes: Any) -> None:
    path = tmp_path / "set-000.tar"
    link = tarfile.TarInfo("b.jpg")
    link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
    whole = tar_bytes([("a.jpg", photo_bytes(1, 256, 256)), ("a.cls", b"0"), ("b.cls", b"1")])
    path.write_bytes(whole + link.tobuf() + bytes(1024))
    found = json.loads(prep("index", "--shards", path, "--json").stdout)
    assert (found["samples"], found["classes"]) == (2, 2)
    assert json.loads(prep("verify", "--shards", tmp_path, "--json").stdout)["bad"] == []


def test_a_small_jpeg_of_huge_dimensions_is_one_finding(tmp_path: Path, prep: Any, data_dir: Path) -> None:
    with tarfile.open(data_dir.parent / "cases" / "strangers" / "huge-jpeg.tar") as case:
        case.extractall(tmp_path, filter="data")
    (bad,) = findings(prep, tmp_path / "hugeprog")
    assert "is 65500x65500, expected 256x256" in bad["reason"]
    done = prep("compute-stats", "--shards", tmp_path / "hugeprog" / "val-000.tar", "--out", tmp_path / "s", status=1)
    assert "is 65500x65500, expected 256x256" in done.stderr
