"""Small shards for the tests of the contract package, whose "JPEGs" are random bytes: it never decodes one."""

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_shards.index import save_index
from alexnet_shards.manifest import ClassFact, Manifest, index_path, manifest_path, save_manifest, shard_name
from alexnet_shards.scan import scan_shards

NUM_CLASSES = 7


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


@pytest.fixture
def shard_tools() -> SimpleNamespace:
    """The parts of `make_shards`, for shards that must be odd."""
    return SimpleNamespace(write_tar=write_tar, write_index=write_index)


@pytest.fixture
def make_shards() -> Callable[..., str]:
    """Write shards of `sizes` samples with index and manifest to a directory; returns their pattern."""

    def make(
        directory: Path, sizes: Sequence[int] = (7, 5, 9), split: str = "train", num_classes: int = NUM_CLASSES
    ) -> str:
        directory.mkdir(exist_ok=True)
        seed = 0
        for number, size in enumerate(sizes):
            members = []
            for _ in range(size):
                members.append((f"{split}{seed:04d}.jpg", np.random.default_rng(seed).bytes(500 + seed)))
                members.append((f"{split}{seed:04d}.cls", str(seed % num_classes).encode()))
                seed += 1
            write_tar(directory / shard_name(split, number, len(sizes)), members)
        write_index(directory, split, num_classes)
        return f"{directory}/{split}-*.tar"

    return make
