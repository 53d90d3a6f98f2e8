"""The choice of the way to read, by what the system says of disks, and what it is said to need."""

import os
from pathlib import Path

import pytest

from alexnet_prep import choice
from alexnet_prep.choice import (
    Reading,
    choose_reading,
    expected_of_archives,
    is_rotational,
    mounted_at,
    reading_line,
    slow_to_seek,
)
from alexnet_prep.forward import facts_of


def disk(root: Path, name: str, rotational: str, vendor: str = "ATA") -> None:
    """A disk with a partition, as /sys has them: 8:0 and 8:1."""
    for folder in (root / name, root / name / f"{name}1"):
        folder.mkdir(parents=True)
    (root / name / "queue").mkdir()
    (root / name / "queue" / "rotational").write_text(f"{rotational}\n")
    (root / name / "device").mkdir()
    (root / name / "device" / "vendor").write_text(f"{vendor}  \n")
    (root / "8:0").symlink_to(root / name)
    (root / "8:1").symlink_to(root / name / f"{name}1")


@pytest.mark.parametrize(
    ("name", "flag", "vendor", "expected"),
    [("sda", "1", "ATA", True), ("sda", "0", "ATA", False), ("sda", "1", "QEMU", False), ("vda", "1", "", False)],
)
def test_disks_that_turn(tmp_path: Path, name: str, flag: str, vendor: str, expected: bool) -> None:
    disk(tmp_path, name, flag, vendor)
    assert is_rotational(os.makedev(8, 0), tmp_path) == expected
    assert is_rotational(os.makedev(8, 1), tmp_path) == expected
    assert not is_rotational(os.makedev(9, 9), tmp_path)


def test_network_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    line = f"30 1 {os.major(device)}:{os.minor(device)} / /data rw shared:1 - nfs4 server:/export rw\n"
    table.write_text(f"22 27 0:99 / /proc rw - proc proc rw\n{line}")
    assert mounted_at(device, table) == ("nfs4", "server:/export")
    assert mounted_at(os.makedev(77, 7), table) == ("", "")
    monkeypatch.setattr(choice, "mounted_at", lambda _: ("nfs4", "server:/export"))
    assert "network file system (nfs4)" in slow_to_seek(tmp_path)
    auto = choose_reading("auto", [tmp_path], 1.0)
    assert auto.is_once
    assert not choose_reading("auto", [tmp_path], 0.05).is_once
    assert not choose_reading("in-place", [tmp_path], 1.0).is_once
    assert choose_reading("once", [tmp_path], 0.01).is_once
    monkeypatch.setattr(choice, "mounted_at", lambda _: ("ext4", "/dev/sda1"))
    monkeypatch.setattr(choice, "is_rotational", lambda _: False)
    assert not choose_reading("auto", [tmp_path, tmp_path / "missing"], 1.0).is_once


def test_what_is_said_before_the_work(small_source: object, tmp_path: Path) -> None:
    archive = tmp_path / "source" / "ILSVRC2010_images_train.tar"
    expected = expected_of_archives([archive], facts_of([archive]))
    assert 24 * 20_000 < expected < 24 * 40_000
    line = reading_line("train", Reading(True, "its disk turns"), expected)
    assert "read once" in line
    assert "of memory a worker" in line
    assert "of disk" in line
    assert ": the disk of the shards twice, half of it" in reading_line("train", Reading(True, "parquet"), 0)
    assert "in place" in reading_line("train", Reading(False, "why"), 0)
