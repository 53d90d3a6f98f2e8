"""Sidecars: read as they were written, and nothing else is taken for one."""

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels import PixelRecipe
from alexnet_prep.job import BuildSetup
from alexnet_prep.sidecar import Sidecar, read_sidecar, save_sidecar, seems_there, sidecar_path, written_shard
from alexnet_prep.sourcesizes import SOURCE_DTYPE, add_sizes, count_sizes

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
    assert written_shard(setup, sidecar.name) == sidecar
    (setup.out / sidecar.name).write_bytes(CONTENT[:-1] + b"!")
    assert written_shard(setup, sidecar.name) is None


def test_counts_of_sizes_are_of_its_samples_or_none(setup: BuildSetup, sidecar: Sidecar) -> None:
    file = sidecar_path(setup, sidecar.name)
    one = count_sizes(np.array([(500, 375, 1000)], SOURCE_DTYPE))
    whole = replace(sidecar, samples=1, rows=base64.b64encode(bytes(24)).decode(), sizes=one)
    save_sidecar(setup, whole)
    assert read_sidecar(file) == whole
    old = json.loads(file.read_bytes())
    del old["sizes"]
    file.write_text(json.dumps(old))
    assert read_sidecar(file) == replace(whole, sizes={})
    damaged: list[Any] = [add_sizes([one, one]), {"width_px": one["width_px"]}, {**one, "bytes": [[1, 2]]}]
    for sizes in damaged:
        save_sidecar(setup, replace(whole, sizes=sizes))
        assert read_sidecar(file) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"number": 0, "name": 3}', b"\xff", b'{"samples": 1e999}'])
def test_what_is_none(setup: BuildSetup, content: bytes) -> None:
    file = sidecar_path(setup, "train-000.tar")
    assert read_sidecar(file) is None
    file.write_bytes(content)
    assert read_sidecar(file) is None
