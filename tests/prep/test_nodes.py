"""One job in a process beside the caller's, as a Dask worker runs it; with a real cluster in test_cluster.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels import PixelRecipe, decoder_facts
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob
from alexnet_prep.engine import Engine
from alexnet_prep.errors import RunError
from alexnet_prep.job import BuildSetup
from alexnet_prep.nodes import ClusterEngine, _Notes, end_stations, job_engine, run_apart
from alexnet_prep.progress import RunProgress
from alexnet_shards.errors import AlexnetError


def make_job(folder: Path, number: int) -> ShardJob:
    """A shard of the one image of `folder`."""
    (photo,) = folder.iterdir()
    return ShardJob(
        number=number,
        name=f"train-{number:03d}.tar",
        keys=np.array([b"a"]),
        file_names=np.array([photo.name.encode()]),
        locations=np.array([(0, 0, 0, photo.stat().st_size)], LOCATION_DTYPE),
        labels=np.zeros(1, np.int32),
        patched=np.zeros(1, np.bool_),
    )


@pytest.fixture
def setup(tmp_path: Path, photo_bytes: Any) -> BuildSetup:
    """One photo, and where its shards go."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.JPEG").write_bytes(photo_bytes(1))
    (tmp_path / "out" / "sidecars").mkdir(parents=True)
    sidecars = tmp_path / "out" / "sidecars"
    return BuildSetup(containers=(tmp_path / "photos",), recipe=PixelRecipe(), out=tmp_path / "out", sidecars=sidecars)


def test_a_process_serves_job_after_job(setup: BuildSetup) -> None:
    facts = decoder_facts()
    try:
        first, again, second = (
            run_apart(make_job(setup.containers[0], number), setup, 60.0, facts) for number in (0, 0, 1)
        )
    finally:
        end_stations()
    assert [first[1].name, again[1].name, second[1].name] == ["train-000.tar", "train-000.tar", "train-001.tar"]
    assert len(first[2].images) == 1
    assert first[2].seconds is not None
    assert (again[2].images, again[2].seconds) == ([], None)  # it was there already
    assert first[1] == again[1]


def test_another_decoder_is_refused(setup: BuildSetup) -> None:
    with pytest.raises(RunError, match="decodes with .*, expected .*install the same"):
        run_apart(make_job(setup.containers[0], 0), setup, 60.0, {"pillow": "0"})


def test_a_job_that_fails_leaves_no_process(setup: BuildSetup, tmp_path: Path) -> None:
    job = make_job(setup.containers[0], 0)
    (tmp_path / "photos" / "a.JPEG").unlink()
    for _ in range(2):
        with pytest.raises(AlexnetError, match=r"a\.JPEG"):
            run_apart(job, setup, 60.0, decoder_facts())
    end_stations()


def test_numbers_are_processes_of_this_machine(setup: BuildSetup) -> None:
    listener: RunProgress = None  # type: ignore[assignment]
    assert isinstance(job_engine(2, setup, 60.0, listener), Engine)


class OneAtATime:
    """What ClusterEngine asks of a cluster, whose one thread ends a job whenever it is waited for."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.most_open = 0

    def threads(self) -> int:
        return 1

    def begin(self, function: object, arguments: tuple[int, ...]) -> int:
        self.begun.append(arguments[0])
        return arguments[0]

    def wait(self, futures: set[int], seconds: float) -> list[int]:
        self.most_open = max(self.most_open, len(futures))
        return sorted(futures)[:1]

    def result(self, future: int, where: str) -> tuple[int, int, _Notes]:
        return future, 10 * future, _Notes()


def test_a_cluster_is_given_what_is_ready_and_no_more_than_it_has_room_for(setup: BuildSetup) -> None:
    cluster: Any = OneAtATime()
    engine: Any = ClusterEngine(cluster, setup, 60.0, _Notes())
    assert list(engine.run([1, None, 2, 3, 4, None, 5], 5)) == [10, 20, 30, 40, 50]
    assert (cluster.begun, cluster.most_open) == ([1, 2, 3, 4, 5], 2)
