"""The source in its own order: stretches of tars and of lists, each image in one of them, read forward."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep import order
from alexnet_prep.errors import SourceError
from alexnet_prep.job import BuildSetup, OnSign
from alexnet_prep.order import ArchiveStretch, listed_stretches, stretch_bytes, stretches_of
from alexnet_prep.reader import SourceReader
from alexnet_prep.source import find_source
from alexnet_prep.split import SplitSource
from alexnet_prep.stretch import StretchFacts

QUIET: OnSign = lambda *_: None  # noqa: E731


@pytest.fixture
def setup(small_source: Any, tmp_path: Path) -> BuildSetup:
    """A run of the small source's training split."""
    archive = small_source.directory / "ILSVRC2010_images_train.tar"
    (tmp_path / "build").mkdir()
    return BuildSetup(containers=(archive,), recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path / "build")


def index_of(setup: BuildSetup) -> SplitSource:
    """The index as it is read in place."""
    return find_source(setup.containers[0].parent, "auto").read("train", None, lambda _: None)


def test_stretches_cover_a_tar_in_whole_blocks() -> None:
    for size in (1, 10 << 20, 900 << 20, 124 << 30):
        step = stretch_bytes(size)
        assert step % 512 == 0
        assert order.SMALLEST_BYTES <= step <= order.LARGEST_BYTES


def test_every_image_of_a_tar_is_in_one_stretch(setup: BuildSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "SMALLEST_BYTES", 64 << 10)
    jobs = stretches_of(setup.containers)[0]
    assert len(jobs) > 2
    images = index_of(setup)
    reader = SourceReader(())
    facts = [job.run(setup, reader, QUIET)[0] for job in jobs]
    assert [job.finished(setup, QUIET) for job in jobs] == facts
    offsets = np.concatenate([each.images()["image"] for each in facts])
    assert sorted(offsets.tolist()) == sorted(images.locations["offset"].tolist())


def test_a_touched_or_other_archive_is_read_again(setup: BuildSetup) -> None:
    (job,) = stretches_of(setup.containers)[0][:1]
    job.run(setup, SourceReader(()), QUIET)
    assert job.finished(setup, QUIET) is not None
    other = BuildSetup(
        containers=setup.containers, recipe=PixelRecipe(quality=80), out=setup.out, sidecars=setup.sidecars
    )
    assert job.finished(other, QUIET) is None
    setup.containers[0].write_bytes(setup.containers[0].read_bytes() + bytes(512))
    (touched,) = stretches_of(setup.containers)[0][:1]
    assert touched.finished(setup, QUIET) is None


def test_quarantine_by_place(setup: BuildSetup) -> None:
    job = stretches_of(setup.containers)[0][0]
    place = int(index_of(setup).locations["offset"].min())
    marked = job.without(place, "quarantined: why")
    assert job.quarantined == {}
    facts, _ = marked.run(setup, SourceReader(()), QUIET)
    assert facts.dropped == ["quarantined: why"]
    assert marked.finished(setup, QUIET) is None  # the next start tries it again
    assert f"byte {place:,}" in marked.key(place)


def test_listed_stretches_follow_the_containers(
    setup: BuildSetup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(order, "SMALLEST_BYTES", 64 << 10)
    images = index_of(setup)
    jobs = listed_stretches(images, np.arange(len(images)), 5)
    assert [job.number for job in jobs] == list(range(5, 5 + len(jobs)))
    assert len(jobs) > 2
    rows = np.concatenate([job.rows for job in jobs])
    assert sorted(rows.tolist()) == list(range(len(images)))
    assert (np.diff(images.locations["offset"][rows].astype(np.int64)) > 0).all()
    listed: StretchFacts = jobs[0].run(setup, SourceReader(setup.containers), QUIET)[0]
    assert listed.images()["image"].tolist() == jobs[0].rows.tolist()
    assert jobs[0].finished(setup, QUIET) == listed
    assert jobs[0].without(1, "why").quarantined == {1: "why"}
    assert jobs[0].key(0) == images.key(int(jobs[0].rows[0]))
    assert listed_stretches(images, np.arange(0), 5) == []


def test_an_archive_that_is_away_is_one_line(setup: BuildSetup, tmp_path: Path) -> None:
    job = ArchiveStretch(number=0, container=0, path=tmp_path / "gone.tar", state=(), start=0, end=512)
    with pytest.raises(SourceError, match=r"gone.tar: cannot be read \(No such file"):
        job.run(setup, SourceReader(()), QUIET)
