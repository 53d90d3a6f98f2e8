"""Jobs as any process runs them: pickled, done, found done, and given up image by image."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob
from alexnet_prep.job import BuildSetup, Job, Supply
from alexnet_prep.reader import SourceReader
from alexnet_prep.sidecar import Sidecar


def test_a_job_survives_a_pipe_and_is_found_done(tmp_path: Path, photo_bytes: Any) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(photo_bytes(1))
    size = (tmp_path / "images" / "a.jpg").stat().st_size
    setup = BuildSetup(
        containers=(tmp_path / "images",), recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path / "images"
    )
    made: Job[Sidecar] = ShardJob(
        number=0,
        name="train-000.tar",
        keys=np.array([b"a"]),
        file_names=np.array([b"a.jpg"]),
        locations=np.array([(0, 0, 0, size)], LOCATION_DTYPE),
        labels=np.zeros(1, np.int32),
        patched=np.zeros(1, np.bool_),
    )
    job: Job[Sidecar] = pickle.loads(pickle.dumps(made))
    assert (job.images, job.key(0)) == (1, "a")
    assert job.finished(setup, lambda *_: None) is None
    sidecar, seconds = job.run(setup, SourceReader(setup.containers), lambda *_: None)
    assert seconds.stages["decode"] > 0
    assert job.finished(setup, lambda *_: None) == sidecar
    assert job.without(0, "why").quarantined == {0: "why"}
    assert job.quarantined == {}


def test_jobs_are_taken_while_there_are_some() -> None:
    asked: list[int] = []

    def jobs() -> Iterator[int | None]:
        for number, job in enumerate((7, None, 8)):
            asked.append(number)
            yield job

    supply = Supply(jobs())
    assert asked == []  # none is made before it is asked for
    assert [(supply.take(), supply.has_more) for _ in range(3)] == [(7, True), (None, True), (8, True)]
    assert [(supply.take(), supply.has_more) for _ in range(2)] == [(None, False), (None, False)]
