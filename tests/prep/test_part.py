"""A part: its shards are those that are built in place, and rotten pictures are named, not used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep import part
from alexnet_prep.build import ShardJob, build_shard
from alexnet_prep.grouping import find_pictures, group_jobs
from alexnet_prep.job import BuildSetup
from alexnet_prep.order import stretches_of
from alexnet_prep.part import PartJob, part_jobs
from alexnet_prep.reader import SourceReader
from alexnet_prep.source import find_source
from alexnet_prep.stretch import grouped_path, stretch_name


@pytest.fixture
def made(small_source: Any, tmp_path: Path) -> Any:
    """(setup, jobs of five shards, parts of them) with the grouped stretch of the training split's archive."""
    images = find_source(small_source.directory, "auto").read("train", None, lambda _: None)
    (tmp_path / "build").mkdir()
    setup = BuildSetup(containers=images.containers, recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path / "build")
    reader = SourceReader(images.containers)
    facts = [job.run(setup, reader, lambda *_: None)[0] for job in stretches_of(images.containers)[0]]
    pictures = find_pictures(images, facts)
    order = np.random.default_rng(0).permutation(len(images))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    groups, places = group_jobs(pictures, rank)
    for group in groups:
        group.run(setup, reader, lambda *_: None)
    pictures.table["place"] = places
    rows = np.array_split(order, 5)
    jobs = [
        ShardJob(
            number=number,
            name=f"train-{number:03d}.tar",
            keys=images.keys[each],
            file_names=images.names[each],
            locations=images.locations[each],
            labels=images.labels[each],
            patched=images.patched[each],
        )
        for number, each in enumerate(rows)
    ]
    return setup, jobs, rows, pictures


def test_parts_write_the_shards_that_are_built_in_place(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, jobs, rows, pictures = made
    reader = SourceReader(setup.containers)
    built = {}
    for job in jobs:
        sidecar = build_shard(job, setup, reader, lambda *_: None)[0]
        built[job.name] = (sidecar, (setup.out / job.name).read_bytes())
        (setup.out / job.name).unlink()
    monkeypatch.setattr(part, "PART_BYTES", 180_000)
    parts = part_jobs(jobs, rows, pictures)
    assert 1 < len(parts) < 5
    assert parts[0].name == "train-000.tar to train-001.tar"
    assert sum(each.images for each in parts) == 24
    for each in parts:
        assert each.finished(setup, lambda *_: None) is None
        result, _ = each.run(setup, reader, lambda *_: None)
        assert result.damaged == ()
        for sidecar in result.sidecars:
            assert (sidecar, (setup.out / sidecar.name).read_bytes()) == built[sidecar.name]
        assert each.finished(setup, lambda *_: None) == result
    (setup.out / jobs[1].name).unlink()
    assert parts[0].run(setup, reader, lambda *_: None)[0].damaged == ()
    assert (setup.out / jobs[1].name).read_bytes() == built[jobs[1].name][1]
    assert parts[0].without(1, "why") == parts[0]


def test_rot_names_the_stretch(made: Any) -> None:
    setup, jobs, rows, pictures = made
    path = grouped_path(setup, stretch_name(0))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (whole,) = part_jobs(jobs, rows, pictures)
    result, _ = whole.run(setup, SourceReader(()), lambda *_: None)
    assert (result.damaged, result.sidecars, result.dropped) == ((0,), (), ())
    assert not list(setup.out.glob("train-*.tar"))
    looked = PartJob(number=0, shards=tuple(jobs)).finished(setup, lambda *_: None)
    assert looked is not None
    assert looked.sidecars == ()
