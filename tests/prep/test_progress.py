"""What a run shows on stderr."""

import numpy as np
import pytest

from alexnet_command.progress import Progress
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob
from alexnet_prep.job import Seconds
from alexnet_prep.progress import RunProgress
from alexnet_prep.sidecar import Sidecar

JOB = ShardJob(
    number=0,
    name="train-000.tar",
    keys=np.array([b"a", b"b", b"c"]),
    file_names=np.array([b"a.JPEG", b"b.JPEG", b"c.JPEG"]),
    locations=np.zeros(3, LOCATION_DTYPE),
    labels=np.zeros(3, np.int32),
    patched=np.zeros(3, np.bool_),
)
SIDECAR = Sidecar(
    number=0,
    name="train-000.tar",
    samples=2,
    bytes=9,
    sha256="",
    rows="",
    dropped=[("c", "x")],
    converted={},
    patched=[],
)


def test_the_final_counts_are_right_and_the_bottleneck_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """What the last shard dropped is counted, and images of a shard that was built twice are counted once."""
    with Progress("shards", "images") as progress:
        run = RunProgress(progress)
        run.begin("train", 6)
        for _ in range(5):
            run.image(2_000_000)
        run.retry(JOB, "train-000.tar: a worker died (exit status -9)")
        for _ in range(3):
            run.image(2_000_000)
        run.done(JOB, SIDECAR, None)
        seconds = Seconds()
        seconds.stages.update(read=1.0, decode=6.0, resize=2.0, encode=1.0)
        run.done(JOB, SIDECAR, seconds)
        run.end()
    retried, counted, reused, stages = capsys.readouterr().err.splitlines()
    assert retried == "train-000.tar: a worker died (exit status -9)"
    assert counted.startswith("train: 6/6 images in ")
    assert counted.endswith(", read 16.0 MB, dropped 2")
    assert reused == "1 shards were there already and are as they were written"
    assert stages == "time a stage: read 10%, decode 60%, resize 20%, encode 10%, write 0%; bound by decode"


def test_headers_that_are_read_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("shards", "images") as progress:
        run = RunProgress(progress)
        tick = run.indexing("train")
        tick(1300)
        tick(1300)
        run.begin("train", 2600)
        with run.hashing() as hashed:
            hashed(1_000_000, 2_000_000)
            hashed(2_000_000, 2_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("train: reading headers: 2,600 images in ")
    assert lines[2].startswith("checksums: 2.0 MB of 2.0 MB in ")
