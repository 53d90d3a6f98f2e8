"""Fixtures every room's tests share."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_shards.index import save_index
from alexnet_shards.manifest import ClassFact, Manifest, index_path, manifest_path, save_manifest, shard_name
from alexnet_shards.scan import scan_shards

NUM_CLASSES = 7


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


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A tar as the standard library writes it."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_index(directory: Path, split: str, num_classes: int = NUM_CLASSES) -> None:
    """Index and manifest of the shards of `split` in `directory`."""
    rows, facts = scan_shards(sorted(directory.glob(f"{split}-*.tar")))
    save_index(index_path(directory, split), rows)
    classes = tuple(ClassFact(wnid=f"n{label:08d}") for label in range(num_classes))
    save_manifest(manifest_path(directory, split), Manifest(split=split, classes=classes, shards=facts))


@dataclass(frozen=True)
class ShardWriter:
    """Writes shards whose photos are `jpeg_of` their number: drawn, or random bytes where nobody decodes them."""

    jpeg_of: Callable[[int], bytes]

    def __call__(
        self, directory: Path, sizes: Sequence[int] = (7, 5, 9), split: str = "train", num_classes: int = NUM_CLASSES
    ) -> str:
        """Write shards of `sizes` samples with index and manifest to a directory; returns their pattern."""
        directory.mkdir(exist_ok=True)
        seed = 0
        for number, size in enumerate(sizes):
            members = []
            for _ in range(size):
                members.append((f"{split}{seed:04d}.jpg", self.jpeg_of(seed)))
                members.append((f"{split}{seed:04d}.cls", str(seed % num_classes).encode()))
                seed += 1
            write_tar(directory / shard_name(split, number, len(sizes)), members)
        write_index(directory, split, num_classes)
        return f"{directory}/{split}-*.tar"


@pytest.fixture(scope="session")
def shard_tools() -> SimpleNamespace:
    """What each room's `make_shards` is made of, and its parts, for shards that must be odd."""
    return SimpleNamespace(ShardWriter=ShardWriter, write_tar=write_tar, write_index=write_index)
