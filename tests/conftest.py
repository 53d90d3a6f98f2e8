"""Fixtures every room's tests share."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real test data (`ilsvrc2010/`, `tiny10.tar`) that ALEXNET_TEST_DATA names."""
    name = os.environ.get("ALEXNET_TEST_DATA")
    if not name:
        pytest.skip("ALEXNET_TEST_DATA is not set: it names the folder with ilsvrc2010/ and tiny10.tar")
    return Path(name).resolve()


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of so many bytes, gone after the test."""
    disk = tmp_path / "disk"

    def mount(size_bytes: int) -> Path:
        disk.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={size_bytes}"]
        if subprocess.run(["mount", *options, "tmpfs", disk], capture_output=True, check=False).returncode:
            pytest.skip("a small file system can be mounted by root only")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", "-l", disk], check=True)
