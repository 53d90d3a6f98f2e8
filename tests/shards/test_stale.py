"""An index that is not of the shards that lie there is noticed, whatever the times of the files say."""

import logging
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import load_manifest, save_manifest
from alexnet_shards.shardset import open_shards
from alexnet_shards.stale import find_stale
from alexnet_shards.tar import END_OF_TAR, member_bytes

Members = Sequence[tuple[str, bytes]]


def members(labels: Sequence[int], order: str) -> list[tuple[str, bytes]]:
    """Samples whose members come in one of the orders that writers have."""
    found = []
    for number, label in enumerate(labels):
        image, cls = (f"{number:04d}.jpg", b"x" * 900), (f"{number:04d}.cls", str(label).encode())
        between = (f"{number:04d}.json", b"{}")
        found += {"jpg cls": [image, cls], "cls jpg": [cls, image], "jpg json cls": [image, between, cls]}[order]
    if order == "jpg json cls":
        found = [entry for entry in found if entry[0].endswith(".jpg")] + [
            e for e in found if not e[0].endswith(".jpg")
        ]
    return found


@pytest.mark.parametrize("times", ["newer", "older"])
@pytest.mark.parametrize("order", ["jpg cls", "cls jpg", "jpg json cls"])
def test_labels_that_were_changed_are_read_anew(
    tmp_path: Path, shard_tools: SimpleNamespace, order: str, times: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "set_000.tar"
    shard_tools.write_tar(path, members([0, 0, 1], order))
    assert open_shards([str(path)]).labels.tolist() == [0, 0, 1]
    assert open_shards([str(path)]).labels.tolist() == [0, 0, 1]
    shard_tools.write_tar(path, members([1, 1, 0], order))
    if times == "older":
        os.utime(path, (1, 1))
    before = (tmp_path / "set.index.npy").read_bytes()
    with caplog.at_level(logging.WARNING):
        shards = open_shards([str(path)])
    assert shards.labels.tolist() == [1, 1, 0]
    assert "its label is 1, the index says 0; reading the shards once more" in caplog.text
    assert (tmp_path / "set.index.npy").read_bytes() == before
    assert shards.manifest.shards != load_manifest(tmp_path / "set.manifest.json").shards


def test_of_own_shards_it_is_an_error(tmp_path: Path, shard_tools: SimpleNamespace) -> None:
    path = tmp_path / "set_000.tar"
    shard_tools.write_tar(path, members([0, 0, 1], "jpg cls"))
    open_shards([str(path)])
    manifest = tmp_path / "set.manifest.json"
    save_manifest(manifest, replace(load_manifest(manifest), recipe={"quality": 95}))
    shard_tools.write_tar(path, members([1, 1, 0], "jpg cls"))
    with pytest.raises(
        FormatError, match=r"set_000\.tar: 0000: its label is 1, the index says 0: .*alexnet-prep verify"
    ):
        open_shards([str(path)])


def test_the_case_as_it_was_found(tmp_path: Path, data_dir: Path) -> None:
    with tarfile.open(data_dir.parent / "cases" / "train" / "stale-labels.tar") as case:
        case.extractall(tmp_path, filter="data")
    assert open_shards([f"{tmp_path}/stale_labels/set_000.tar"]).labels.tolist() == [1, 1, 0]


def test_other_names_and_offsets_are_noticed(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    pattern = make_shards(tmp_path, (7, 7))
    shards = open_shards([pattern])
    assert find_stale(shards.paths, shards.rows) is None
    assert find_stale(shards.paths, shards.rows, [0, 1]) is None
    shutil.copy(tmp_path / "train-000.tar", tmp_path / "train-001.tar")
    assert "train-001.tar: has no image at byte" in (find_stale(shards.paths, shards.rows) or "")


def test_damage_in_a_header_is_told_as_damage(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    shards = open_shards([make_shards(tmp_path, (7, 7))])
    content = bytearray((tmp_path / "train-001.tar").read_bytes())
    content[5] ^= 1
    (tmp_path / "train-001.tar").write_bytes(content)
    assert "damaged tar header" in (find_stale(shards.paths, shards.rows) or "")


def test_a_link_with_a_label_of_its_own_is_no_doubt(tmp_path: Path) -> None:
    link = tarfile.TarInfo("b.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
    content = member_bytes("a.jpg", b"x" * 700) + member_bytes("a.cls", b"3") + link.tobuf() + END_OF_TAR
    (tmp_path / "set_000.tar").write_bytes(content)
    shards = open_shards([f"{tmp_path}/set_000.tar"])
    assert shards.labels.tolist() == [3, NO_LABEL]
    assert find_stale(shards.paths, shards.rows) is None
