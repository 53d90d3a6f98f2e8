"""Workers that die, hang or choke on an image, as real processes with real signals."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob
from alexnet_prep.engine import Engine
from alexnet_prep.errors import RunError
from alexnet_prep.job import BuildSetup, Job, Result, Seconds
from alexnet_prep.sidecar import Sidecar

# A worker whose decoder does what the bytes of an image say; everything else is the real one.
POISON = """
import os, time
from alexnet_prep import build, worker
real_convert = build.convert
def convert(source, recipe):
    if source.endswith(b"DIE"):
        os._exit(7)
    if source.endswith(b"HANG"):
        time.sleep(600)
    return real_convert(source, recipe)
def poisoned_main(connection, setup, parent_pid):
    build.convert = convert
    worker.worker_main(connection, setup, parent_pid)
class SlowReader(worker.SourceReader):
    def read(self, container, name, offset, size):
        while name == b"s1i5.JPEG" and (self._containers[0] / "stall").exists():
            time.sleep(0.05)
        return super().read(container, name, offset, size)
def stalled_main(connection, setup, parent_pid):
    worker.SourceReader = SlowReader
    worker.worker_main(connection, setup, parent_pid)
"""


class Log:
    """A listener that remembers, and may do something at an image."""

    def __init__(self, engine_pids: Any = None) -> None:
        self.images = 0
        self.retries: list[str] = []
        self.waits: list[str] = []
        self.names: list[str] = []
        self.at_image = engine_pids

    def image(self, source_bytes: int) -> None:
        """Count, and act."""
        self.images += 1
        if self.at_image is not None:
            self.at_image(self.images)

    def done(self, job: Job[Result], result: Result, seconds: Seconds | None) -> None:
        """Remember."""
        self.names.append(result.name)

    def retry(self, job: Job[Result], reason: str) -> None:
        """Remember."""
        self.retries.append(reason)

    def waiting(self, line: str) -> None:
        """Remember."""
        self.waits.append(line)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is stopped before it says a word is not waited for as long as a cold disk would need."""
    monkeypatch.setattr("alexnet_prep.engine.START_SECONDS", 12.0)


@pytest.fixture
def jobs(tmp_path: Path, photo_bytes: Any) -> tuple[BuildSetup, list[ShardJob]]:
    """Three shards of eight images each in a folder source."""
    folder, sidecars = tmp_path / "images", tmp_path / "out" / "sidecars"
    folder.mkdir()
    sidecars.mkdir(parents=True)
    setup = BuildSetup(containers=(folder,), recipe=PixelRecipe(), out=tmp_path / "out", sidecars=sidecars)
    return setup, [make_job(folder, number, photo_bytes) for number in range(3)]


def make_job(folder: Path, number: int, photo_bytes: Any) -> ShardJob:
    """One shard's job; its images are files in `folder`."""
    names = [f"s{number}i{image}.JPEG".encode() for image in range(8)]
    for image, name in enumerate(names):
        (folder / name.decode()).write_bytes(photo_bytes(10 * number + image))
    sizes = [(folder / name.decode()).stat().st_size for name in names]
    return ShardJob(
        number=number,
        name=f"train-{number:03d}.tar",
        keys=np.array([name.removesuffix(b".JPEG") for name in names]),
        file_names=np.array(names),
        locations=np.array([(0, 0, 0, size) for size in sizes], LOCATION_DTYPE),
        labels=np.arange(8, dtype=np.int32),
        patched=np.zeros(8, np.bool_),
    )


def children() -> list[int]:
    """Process ids of our worker processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"alexnet_prep.worker" in command:
            found.append(int(path.parent.name))
    return found


def run(
    setup: BuildSetup, jobs: list[ShardJob], log: Log, hang_seconds: float = 60, target: Any = None
) -> dict[str, Sidecar]:
    """Sidecars by shard name."""
    targets = {} if target is None else {"target": target}
    with Engine(setup, 2, hang_seconds, log, **targets) as engine:
        return {sidecar.name: sidecar for sidecar in engine.run(jobs, len(jobs))}


def contents(setup: BuildSetup) -> dict[str, bytes]:
    """Every file of the output."""
    return {path.name: path.read_bytes() for path in sorted(setup.out.rglob("*")) if path.is_file()}


def test_an_undisturbed_run(jobs: Any) -> None:
    setup, shard_jobs = jobs
    log = Log()
    sidecars = run(setup, shard_jobs, log)
    assert sorted(log.names) == sorted(sidecars) == ["train-000.tar", "train-001.tar", "train-002.tar"]
    assert [sidecar.samples for sidecar in sidecars.values()] == [8, 8, 8]
    assert (log.images, log.retries) == (24, [])
    assert children() == []


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_worker_costs_a_retry_only(jobs: Any, signal_number: int, tmp_path: Path) -> None:
    setup, shard_jobs = jobs
    run(setup, shard_jobs, Log())
    undisturbed = contents(setup)
    again = replace(setup, out=tmp_path / "again", sidecars=tmp_path / "again" / "sidecars")
    again.sidecars.mkdir(parents=True)

    def strike(image: int) -> None:
        if image in (3, 11):
            os.kill(children()[0], signal_number)

    log = Log(strike)
    run(again, shard_jobs, log, hang_seconds=3 if signal_number == signal.SIGSTOP else 60)
    assert contents(again) == undisturbed
    assert 1 <= len(log.retries) <= 2  # a strike may hit a worker that has just ended its job
    assert children() == []


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The main of a worker that chokes on poisoned images."""
    (tmp_path / "poison_worker.py").write_text(POISON)
    monkeypatch.syspath_prepend(tmp_path)
    import poison_worker  # type: ignore[import-not-found]

    yield poison_worker
    del sys.modules["poison_worker"]


@pytest.mark.parametrize(
    ("poison", "words"), [(b"DIE", "3 workers died (exit status 7) on it"), (b"HANG", "2 workers hung for 3 s on it")]
)
def test_a_poison_image_is_quarantined_by_name(jobs: Any, poisoned: Any, poison: bytes, words: str) -> None:
    setup, shard_jobs = jobs
    path = setup.containers[0] / "s1i5.JPEG"
    path.write_bytes(path.read_bytes() + poison)
    shard_jobs[1].locations["size"][5] += len(poison)
    log = Log()
    sidecars = run(setup, shard_jobs, log, hang_seconds=3, target=poisoned.poisoned_main)
    assert [sidecar.samples for _, sidecar in sorted(sidecars.items())] == [8, 7, 8]
    assert sidecars["train-001.tar"].dropped == [("s1i5", f"quarantined: {words}")]
    assert len(log.retries) == (3 if poison == b"DIE" else 2)


def test_what_was_given_up_is_tried_again_by_the_next_start(jobs: Any, poisoned: Any) -> None:
    setup, shard_jobs = jobs
    path = setup.containers[0] / "s1i5.JPEG"
    path.write_bytes(path.read_bytes() + b"DIE")
    shard_jobs[1].locations["size"][5] += len(b"DIE")
    given_up = run(setup, shard_jobs, Log(), target=poisoned.poisoned_main)["train-001.tar"]
    assert (given_up.samples, given_up.given_up) == (7, ["s1i5"])
    again = run(setup, shard_jobs, Log())["train-001.tar"]  # by a machine on which nothing kills the worker
    assert (again.samples, again.given_up, again.dropped) == (8, [], [])


def test_a_stalled_disk_is_waited_for_and_said(jobs: Any, poisoned: Any) -> None:
    setup, shard_jobs = jobs
    stall = setup.containers[0] / "stall"
    stall.touch()
    log = Log()

    def end_stall(line: str) -> None:
        log.waits.append(line)
        stall.unlink(missing_ok=True)

    log.waiting = end_stall  # type: ignore[method-assign]
    sidecars = run(setup, shard_jobs, log, hang_seconds=1, target=poisoned.stalled_main)
    assert [sidecar.samples for _, sidecar in sorted(sidecars.items())] == [8, 8, 8]
    assert log.retries == []
    assert any(line.startswith("train-001.tar: reading s1i5 takes") for line in log.waits)


def test_a_member_over_the_limit_is_one_drop(jobs: Any) -> None:
    setup, shard_jobs = jobs
    small = replace(setup, max_member_bytes=int(shard_jobs[0].locations["size"].max()) - 1)
    dropped = run(small, shard_jobs[:1], Log())["train-000.tar"].dropped
    assert dropped
    assert all("over the limit" in reason for _, reason in dropped)


def test_an_unreadable_source_ends_the_run_with_its_line(jobs: Any) -> None:
    setup, shard_jobs = jobs
    (setup.containers[0] / "s2i0.JPEG").unlink()
    with pytest.raises(RunError, match=r"s2i0.JPEG cannot be read"):
        run(setup, shard_jobs, Log())
    assert children() == []
