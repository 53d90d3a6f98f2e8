"""One shard's build: its bytes, its books, and that how it is built does not matter."""

import io
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.convert import convert
from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep import build
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob, build_shard, finished_shard
from alexnet_prep.job import AT_IMAGE, AT_OUTPUT, NO_IMAGE, READING, STAGES, BuildSetup
from alexnet_prep.reader import SourceReader
from alexnet_shards.index import NO_LABEL


@pytest.fixture
def setup(tmp_path: Path) -> BuildSetup:
    """A container of bytes and an output directory."""
    (tmp_path / "out").mkdir()
    container = tmp_path / "container"
    return BuildSetup(containers=(container,), recipe=PixelRecipe(), out=tmp_path / "out", sidecars=tmp_path / "out")


@pytest.fixture
def job(setup: BuildSetup, photo_bytes: Any) -> ShardJob:
    """Nine members, one of them garbage, whose order in the shard is not their order in the container."""
    parts = [photo_bytes(number) for number in range(8)] + [b"no image at all"]
    setup.containers[0].write_bytes(b"".join(parts))
    offsets = np.cumsum([0, *map(len, parts)])[:-1]
    order = [4, 8, 0, 7, 2, 1, 6, 3, 5]
    return ShardJob(
        number=3,
        name="val-003.tar",
        keys=np.array([f"key{number}".encode() for number in order]),
        file_names=np.array([f"key{number}.JPEG".encode() for number in order]),
        locations=np.array([(0, -1, offsets[n], len(parts[n])) for n in order], LOCATION_DTYPE),
        labels=np.array([100 + number for number in order], np.int32),
        patched=np.array([number == 7 for number in order]),
    )


def build_it(job: ShardJob, setup: BuildSetup) -> tuple[Any, bytes, list[int]]:
    """Sidecar, bytes of the shard, and the positions in the order in which they were read."""
    reader = SourceReader(setup.containers)
    phases: list[tuple[str, int]] = []
    sidecar, seconds = build_shard(job, setup, reader, lambda phase, position, _: phases.append((phase, position)))
    reader.close()
    seen = [position for phase, position in phases if phase == AT_IMAGE]
    assert [position for phase, position in phases if phase == READING] == seen
    assert all(position == NO_IMAGE for phase, position in phases if phase == AT_OUTPUT)
    assert set(seconds.stages) == set(STAGES)
    return sidecar, (setup.out / job.name).read_bytes(), seen


def test_a_shard_is_a_plain_tar_of_pairs(job: ShardJob, setup: BuildSetup) -> None:
    sidecar, content, seen = build_it(job, setup)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        infos = archive.getmembers()
        members = {info.name: archive.extractfile(info).read() for info in infos}  # type: ignore[union-attr]
    keys = ["key4", "key0", "key7", "key2", "key1", "key6", "key3", "key5"]
    assert [info.name for info in infos] == [f"{key}.{suffix}" for key in keys for suffix in ("jpg", "cls")]
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, 0, "", "")}
    assert members["key7.cls"] == b"107"
    assert sidecar.dropped[0][0] == "key8"
    assert (len(sidecar.dropped), sidecar.samples, sidecar.patched) == (1, 8, ["key7"])
    offsets = job.locations["offset"][seen]
    assert offsets.tolist() == sorted(offsets.tolist())
    for row, key in zip(sidecar.index_rows(), keys, strict=True):
        jpeg = content[row["offset"] : row["offset"] + row["size"]]
        assert jpeg == members[f"{key}.jpg"]
        assert (row["shard"], row["label"], row["crc32"]) == (3, 100 + int(key[3:]), zlib.crc32(jpeg))


def test_samples_are_what_convert_makes(job: ShardJob, setup: BuildSetup) -> None:
    _, content, _ = build_it(job, setup)
    source = setup.containers[0].read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for position, key in enumerate(bytes(key).decode() for key in job.keys):
            place = job.locations[position]
            if key == "key8":
                continue
            file = archive.extractfile(f"{key}.jpg")
            assert file is not None
            start, size = int(place["offset"]), int(place["size"])
            assert file.read() == convert(source[start : start + size], setup.recipe).jpeg


def test_windows_do_not_change_the_bytes(job: ShardJob, setup: BuildSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_it(job, setup)
    monkeypatch.setattr(build, "WINDOW_MEMBERS", 2)
    second = build_it(job, setup)
    assert second[:2] == first[:2]
    assert second[2] != first[2]


def test_private_labels_have_no_cls(job: ShardJob, setup: BuildSetup) -> None:
    sidecar, content, _ = build_it(replace(job, labels=np.full(9, NO_LABEL, np.int32)), setup)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert all(name.endswith(".jpg") for name in archive.getnames())
    assert set(sidecar.index_rows()["label"]) == {NO_LABEL}


def test_long_keys_are_indexed_right(job: ShardJob, setup: BuildSetup) -> None:
    keys = np.array([b"k" * 150 + str(number).encode() for number in range(9)])
    sidecar, content, _ = build_it(replace(job, keys=keys), setup)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        jpegs = [info for info in archive.getmembers() if info.name.endswith(".jpg")]
    assert [info.offset_data for info in jpegs] == sidecar.index_rows()["offset"].tolist()
    assert [info.name for info in jpegs] == [f"{'k' * 150}{number}.jpg" for number in (0, 2, 3, 4, 5, 6, 7, 8)]


def test_quarantined_members_are_not_read(job: ShardJob, setup: BuildSetup) -> None:
    sidecar, _, seen = build_it(replace(job, quarantined={0: "why"}), setup)
    assert ("key4", "why") in sidecar.dropped
    assert 0 not in seen


def test_a_finished_shard_is_recognised_by_its_bytes(job: ShardJob, setup: BuildSetup) -> None:
    assert finished_shard(job, setup, lambda *_: None) is None
    sidecar, content, _ = build_it(job, setup)
    assert finished_shard(job, setup, lambda *_: None) == sidecar
    path = setup.out / job.name
    path.write_bytes(content[:-1] + b"x")
    assert finished_shard(job, setup, lambda *_: None) is None
    path.write_bytes(content[:-512])
    assert finished_shard(job, setup, lambda *_: None) is None
    path.write_bytes(content)
    (setup.sidecars / "val-003.tar.json").write_text("{")
    assert finished_shard(job, setup, lambda *_: None) is None
