"""Side files: as timm, wids and DALI's wds2idx write or read them, of shards that are there."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_shards.adopt import index_shards
from alexnet_shards.errors import FormatError
from alexnet_shards.sidefiles import (
    INFO_NAME,
    READERS,
    are_indexed,
    dali_index_bytes,
    info_of,
    info_trouble,
    side_files,
    write_info,
)

SIZES = (7, 5, 9)


@pytest.fixture
def pattern(make_shards: Callable[..., str], tmp_path: Path) -> str:
    return make_shards(tmp_path / "set", SIZES)


def test_info_is_what_timm_reads_by_split_name(pattern: str, make_shards: Callable[..., str]) -> None:
    folder = Path(pattern).parent
    make_shards(folder, (4,), "val")
    assert write_info(folder)
    found = json.loads((folder / INFO_NAME).read_text())
    assert found["splits"]["train"] == {
        "name": "train",
        "num_samples": 21,
        "filenames": ["train-000.tar", "train-001.tar", "train-002.tar"],
        "shard_lengths": list(SIZES),
        "alt_label": "",
    }
    assert found["splits"]["val"]["num_samples"] == 4
    before = (folder / INFO_NAME).stat().st_ino
    assert write_info(folder)
    assert (folder / INFO_NAME).stat().st_ino == before  # equal content is not written anew
    assert info_trouble(folder) is None


def test_an_info_of_somebody_else_stays(pattern: str) -> None:
    info = Path(pattern).parent / INFO_NAME
    info.write_text('{"splits": {"train": {}}}')
    assert not write_info(info.parent)
    assert info_trouble(info.parent) is None
    with pytest.raises(FormatError, match=r"_info\.json: somebody else's; move it away"):
        side_files([pattern], ["timm"])
    assert info.read_text() == '{"splits": {"train": {}}}'


def test_an_info_that_the_manifests_do_not_say_is_told(pattern: str) -> None:
    folder = Path(pattern).parent
    write_info(folder)
    (folder / "train.manifest.json").unlink()
    assert "--for timm" in (info_trouble(folder) or "")
    (folder / "train.manifest.json").write_text("damaged")
    assert info_of(folder)["splits"] == {}


def test_indexing_writes_it(pattern: str) -> None:
    folder = Path(pattern).parent
    assert not (folder / INFO_NAME).exists()
    for name in ("train.manifest.json", "train.index.npy"):
        (folder / name).unlink()
    assert not are_indexed([pattern])
    index_shards([pattern], 1, lambda done, total: None)
    assert are_indexed([pattern])
    assert json.loads((folder / INFO_NAME).read_text()) == info_of(folder)


def test_wids_list_names_shards_beside_it(pattern: str) -> None:
    (path,) = side_files([pattern], ["wids"])
    content = json.loads(path.read_text())
    assert path.name == "train.wids.json"
    assert content["__kind__"] == "wids-shard-index-v1"
    assert [(shard["url"], shard["nsamples"]) for shard in content["shardlist"]] == [
        ("train-000.tar", 7),
        ("train-001.tar", 5),
        ("train-002.tar", 9),
    ]


def test_dali_index_finds_every_member(pattern: str) -> None:
    paths = side_files([pattern], ["dali"])
    assert [path.name for path in paths] == ["train-000.idx", "train-001.idx", "train-002.idx"]
    for path, size in zip(paths, SIZES, strict=True):
        head, *lines = path.read_text().splitlines()
        assert head == f"v1.2 {size}"
        shard = path.with_suffix(".tar")
        with tarfile.open(shard) as archive:
            expected = {member.name: (member.offset_data, member.size) for member in archive}
        for line in lines:
            words = line.split()
            for suffix, offset, length, name in zip(*[iter(words)] * 4, strict=True):
                assert (int(offset), int(length)) == expected.pop(name)
                assert name.partition(".")[2] == suffix
        assert not expected


def test_dali_index_groups_as_wds2idx_does(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    """Hidden files belong to no sample; a sample ends where another key begins; a folder's dot is none of its files'."""
    long = "n" * 120
    members = [
        (name, b"x" * size)
        for size, name in enumerate(
            ["a.jpg", ".hidden.cls", "a.seg.png", "b.jpg", "a.cls", "v1.0/c.jpg", "v1.0/c.cls", f"{long}.jpg"]
        )
    ]
    shard_tools.write_tar(tmp_path / "x.tar", members)
    head, *lines = dali_index_bytes(tmp_path / "x.tar").decode().splitlines()
    names = [[word for word in line.split() if "." in word and not word.startswith("seg")] for line in lines]
    assert head == "v1.2 5"
    assert names == [["a.jpg", "a.seg.png"], ["b.jpg"], ["a.cls"], ["v1.0/c.jpg", "v1.0/c.cls"], [f"{long}.jpg"]]


def test_readers_are_those_of_the_command() -> None:
    from alexnet_prep import options

    assert options.READERS == READERS
