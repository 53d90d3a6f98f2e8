"""Sidecars: read as they were written, and nothing else is taken for one."""

import hashlib
from pathlib import Path

import pytest

from alexnet_pixels import PixelRecipe
from alexnet_prep.job import BuildSetup
from alexnet_prep.sidecar import Sidecar, read_sidecar, save_sidecar, seems_there, sidecar_path, whole_shard

CONTENT = b"a shard" * 100


@pytest.fixture
def setup(tmp_path: Path) -> BuildSetup:
    (tmp_path / "train").mkdir()
    return BuildSetup(containers=(), recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path / "train")


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar(
        number=0,
        name="train-000.tar",
        samples=0,
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        rows="",
        dropped=[("n01_1", "is no image")],
        converted={"png": ["n01_2"]},
        patched=[],
    )


def test_read_as_written(setup: BuildSetup, sidecar: Sidecar) -> None:
    save_sidecar(setup, sidecar)
    file = sidecar_path(setup, sidecar.name)
    assert read_sidecar(file) == sidecar
    assert not seems_there(setup, sidecar.name)
    (setup.out / sidecar.name).write_bytes(CONTENT)
    assert seems_there(setup, sidecar.name)
    assert whole_shard(setup.out / sidecar.name, file) == sidecar
    (setup.out / sidecar.name).write_bytes(CONTENT[:-1] + b"!")
    assert whole_shard(setup.out / sidecar.name, file) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"number": 0, "name": 3}', b"\xff", b'{"samples": 1e999}'])
def test_what_is_none(setup: BuildSetup, content: bytes) -> None:
    file = sidecar_path(setup, "train-000.tar")
    assert read_sidecar(file) is None
    file.write_bytes(content)
    assert read_sidecar(file) is None
