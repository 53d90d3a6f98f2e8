"""Archives that can only be read forward: each stretch is given out once, with the pieces it needs, and no more are kept."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep import order
from alexnet_prep.errors import SourceError
from alexnet_prep.job import BuildSetup
from alexnet_prep.order import stretches_of
from alexnet_prep.reader import SourceReader
from alexnet_prep.spool import AHEAD, Spool, finished_stretches, known_size
from alexnet_prep.stretch import StretchFacts
from alexnet_shards.errors import FileError


@pytest.fixture
def setup(small_source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSetup:
    """A run of the small source's training archive, compressed, in stretches of 64 KiB."""
    monkeypatch.setattr(order, "SMALLEST_BYTES", 64 << 10)
    plain = small_source.directory / "ILSVRC2010_images_train.tar"
    packed = plain.with_name(plain.name + ".gz")
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    (tmp_path / "build").mkdir()
    return BuildSetup(containers=(packed,), recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path / "build")


def convert_all(setup: BuildSetup, skip: int = -1) -> tuple[list[StretchFacts], int]:
    """The facts of all stretches but number `skip`, and the most pieces that lay on the disk."""
    plain, (archive,) = stretches_of(setup.containers)
    assert plain == []
    found, most = [], 0
    with Spool([archive], setup, 1) as spool:
        for job in spool.jobs():
            if job is None:
                continue
            most = max(most, len(list(setup.sidecars.glob("*.source.tmp"))))
            facts = job.finished(setup, lambda *_: None)
            if facts is None and job.number != skip:
                facts, _ = job.run(setup, SourceReader(()), lambda *_: None)
            if facts is not None:
                found.append(facts)
            spool.done(job.number)
    assert not list(setup.sidecars.glob("*.source.tmp"))
    return found, most


def test_stretches_of_a_compressed_archive_are_those_of_the_plain_one(setup: BuildSetup, small_source: Any) -> None:
    found, most = convert_all(setup)
    assert len(found) > 2
    assert most <= 1 + AHEAD
    offsets = [offset for facts in found for offset in facts.images()["image"].tolist()]
    plain = stretches_of((small_source.directory / "ILSVRC2010_images_train.tar",))[0]
    wanted = [job.run(setup, SourceReader(()), lambda *_: None)[0] for job in plain]
    assert offsets == [offset for facts in wanted for offset in facts.images()["image"].tolist()]


def test_what_is_there_is_read_over(setup: BuildSetup, small_source: Any) -> None:
    convert_all(setup, skip=1)
    (archive,) = stretches_of(setup.containers)[1]
    plain = small_source.directory / "ILSVRC2010_images_train.tar"
    assert known_size(archive, setup) == plain.stat().st_size
    given = []
    with Spool([archive], setup, 1) as spool:
        for job in spool.jobs():
            if job is not None:
                given.append((job.number, len(job.pieces)))
                spool.done(job.number)
    assert [number for number, pieces in given if pieces] == [1]
    assert len(finished_stretches(archive, setup)) == len(given) - 1


def test_a_cut_archive_is_one_line(setup: BuildSetup) -> None:
    path = setup.containers[0]
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="end early"):
        convert_all(setup)
    assert not list(setup.sidecars.glob("*.source.tmp"))


@pytest.mark.parametrize(
    ("error", "line"),
    [(OSError(5, "Input/output error"), "build: cannot be written"), (MemoryError("no room"), "no room")],
)
def test_whatever_ends_a_reader_ends_the_run(
    setup: BuildSetup, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def append_bytes(*_: object) -> None:
        raise error

    monkeypatch.setattr("alexnet_prep.spool.append_bytes", append_bytes)
    with pytest.raises((FileError, MemoryError), match=line):
        convert_all(setup)
