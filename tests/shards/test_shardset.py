"""Shard sets: what is chosen, in which order, and every way in which shards can be wrong."""

import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_shards.errors import AlexnetError, FormatError, PatternError
from alexnet_shards.index import load_index, save_index
from alexnet_shards.manifest import load_manifest, save_manifest
from alexnet_shards.shardset import ShardSet, check_stats, open_shards
from alexnet_shards.stats import Stats

Make = Callable[..., str]


def members(shards: ShardSet) -> list[tuple[str, int, bytes]]:
    """(shard name, label, JPEG) of every row, read by the tarfile module."""
    result = []
    for entry in shards.rows:
        path = shards.paths[entry["shard"]]
        content = Path(path).read_bytes()
        result.append(
            (Path(path).name, int(entry["label"]), content[entry["offset"] : entry["offset"] + entry["size"]])
        )
    return result


def test_all_shards(tmp_path: Path, make_shards: Make) -> None:
    shards = open_shards([make_shards(tmp_path)])
    assert [Path(path).name for path in shards.paths] == ["train-000.tar", "train-001.tar", "train-002.tar"]
    assert shards.num_samples == 21
    assert shards.labels.dtype == np.int64
    assert shards.labels.tolist() == [i % 7 for i in range(21)]
    assert len(shards.classes) == 7
    assert (
        shards.fingerprint == shards.split_fingerprint == load_manifest(tmp_path / "train.manifest.json").fingerprint()
    )
    assert isinstance(shards.rows, np.memmap)
    for row, (name, label, jpeg) in enumerate(members(shards)):
        with tarfile.open(tmp_path / name) as archive:
            content = archive.extractfile(f"train{row:04d}.jpg")
            assert content is not None
            assert (label, jpeg) == (row % 7, content.read())


def test_some_shards_in_any_order(tmp_path: Path, make_shards: Make) -> None:
    every = members(open_shards([make_shards(tmp_path)]))
    some = open_shards([f"{tmp_path}/train-002.tar", f"{tmp_path}/train-000.tar"])
    assert [Path(path).name for path in some.paths] == ["train-000.tar", "train-002.tar"]
    assert members(some) == [member for member in every if member[0] != "train-001.tar"]
    assert some.manifest.samples == some.num_samples == 16
    manifest = load_manifest(tmp_path / "train.manifest.json")
    assert some.fingerprint == manifest.fingerprint(["train-000.tar", "train-002.tar"])
    assert some.split_fingerprint == manifest.fingerprint()


def test_several_directories(tmp_path: Path, make_shards: Make) -> None:
    patterns = [make_shards(tmp_path / "a", (3, 2)), make_shards(tmp_path / "b", (4,), split="extra")]
    shards = open_shards(patterns)
    assert [str(Path(path).relative_to(tmp_path)) for path in shards.paths] == [
        "a/train-000.tar",
        "a/train-001.tar",
        "b/extra-000.tar",
    ]
    assert members(shards) == members(open_shards(patterns[:1])) + members(open_shards(patterns[1:]))


def test_keys(tmp_path: Path, make_shards: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shards(tmp_path)
    shards = open_shards([f"{tmp_path}/train-00{{1..2}}.tar"])
    assert shards.key_of(0) == f"{tmp_path}/train-001.tar, train0007"
    assert shards.key_of(13) == f"{tmp_path}/train-002.tar, train0020"
    monkeypatch.chdir(tmp_path)
    shards = open_shards(["train-000.tar"])
    monkeypatch.chdir("/")
    assert shards.key_of(1) == "train-000.tar, train0001"
    assert shards.files == (f"{tmp_path}/train-000.tar",)


def test_sets_of_numbers_for_classes_are_joined(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    for name, labels in (("a", (0, 1)), ("b", (0, 1, 2, 3))):
        (tmp_path / name).mkdir()
        samples = [(f"{label}.{kind}", str(label).encode()) for label in labels for kind in ("jpg", "cls")]
        shard_tools.write_tar(tmp_path / name / "x-0.tar", samples)
    for patterns in ([tmp_path / "a", tmp_path / "b"], [tmp_path / "b", tmp_path / "a"]):
        shards = open_shards(patterns)
        assert (len(shards.classes), shards.num_samples) == (4, 6)


def test_the_key_where_the_tar_is_damaged(tmp_path: Path, make_shards: Make) -> None:
    shards = open_shards([make_shards(tmp_path)])
    with (tmp_path / "train-000.tar").open("r+b") as file:
        file.write(b"?")
    assert shards.key_of(2) == f"{tmp_path}/train-000.tar, byte {shards.rows['offset'][2]}"


def test_other_classes_are_refused(tmp_path: Path, make_shards: Make) -> None:
    patterns = [make_shards(tmp_path / "a"), make_shards(tmp_path / "b", num_classes=5)]
    with pytest.raises(FormatError, match=r"b/train-000.tar: other classes than .*\(5 and 7 classes.*label 5\)"):
        open_shards(patterns)


@pytest.mark.parametrize("change", [-1, -512, 512])
def test_a_shard_of_another_size(tmp_path: Path, make_shards: Make, change: int) -> None:
    pattern = make_shards(tmp_path)
    path = tmp_path / "train-001.tar"
    size = path.stat().st_size
    os.truncate(path, size + change)
    with pytest.raises(
        FormatError, match=rf"train-001.tar: {size + change} bytes, expected {size} .*alexnet-prep verify"
    ):
        open_shards([pattern])
    assert open_shards([f"{tmp_path}/train-000.tar"]).num_samples == 7


def test_a_missing_shard(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    (tmp_path / "train-001.tar").unlink()
    with pytest.raises(PatternError, match=r"train-001.tar: no such shard"):
        open_shards([f"{tmp_path}/train-{{000..002}}.tar"])


def test_nothing(tmp_path: Path) -> None:
    with pytest.raises(PatternError):
        open_shards([f"{tmp_path}/train-*.tar"])


def test_a_shard_the_manifest_does_not_know(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    (tmp_path / "train-003.tar").write_bytes((tmp_path / "train-000.tar").read_bytes())
    with pytest.raises(FormatError, match=r"train-003.tar: not in .*train.manifest.json; .*alexnet-prep index"):
        open_shards([pattern])


def test_another_index(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    index = tmp_path / "train.index.npy"
    rows = np.array(load_index(index))
    manifest = tmp_path / "train.manifest.json"
    save_manifest(manifest, replace(load_manifest(manifest), index_sha256=""))
    swapped, beyond, alien, wraps = rows.copy(), rows.copy(), rows.copy(), rows.copy()
    swapped["shard"][0] = 1
    beyond["offset"][4] = 10**12
    alien["shard"][3] = 9
    wraps["offset"][2], wraps["size"][2] = 2**64 - 8, 16
    for bad in (rows[:-1], swapped, beyond, alien, wraps):
        save_index(index, bad)
        with pytest.raises(FormatError, match="not the index of the manifest beside it"):
            open_shards([pattern])
    rows["label"][2] = 7
    save_index(index, rows)
    with pytest.raises(FormatError, match="label 7 in a set of 7 classes"):
        open_shards([pattern])
    rows["label"][2] = -5
    save_index(index, rows)
    with pytest.raises(FormatError, match="label -5 in a set of 7 classes"):
        open_shards([pattern])


def test_labels_changed_in_the_index_are_noticed(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    rows = np.array(load_index(tmp_path / "train.index.npy"))
    rows["label"][2] = 0
    save_index(tmp_path / "train.index.npy", rows)
    with pytest.raises(FormatError, match=r"train\.index\.npy: its sha256 is .*, train\.manifest\.json has"):
        open_shards([pattern])


def test_samples_without_label(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    shard_tools.write_tar(tmp_path / "test-000.tar", [("a.jpg", b"1"), ("b.jpg", b"2")])
    shard_tools.write_index(tmp_path, "test")
    assert open_shards([f"{tmp_path}/test-000.tar"]).labels.tolist() == [-1, -1]


def stats_of(fingerprint: str) -> Stats:
    return Stats(
        mean_image_hwc=np.zeros((256, 256, 3), np.float32),
        rgb_mean=np.zeros(3),
        covariance=np.eye(3),
        eigenvalues=np.ones(3),
        eigenvectors=np.eye(3),
        images=1,
        fingerprint=fingerprint,
    )


def test_statistics_of_other_shards(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    some = open_shards([f"{tmp_path}/train-000.tar"])
    check_stats(stats_of(some.fingerprint), some, Path("stats.npz"))
    check_stats(stats_of(some.split_fingerprint), some, Path("stats.npz"))
    with pytest.raises(AlexnetError, match=r"stats.npz: statistics of other shards .*alexnet-prep compute-stats"):
        check_stats(stats_of("0" * 64), some, Path("stats.npz"))
