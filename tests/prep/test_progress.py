"""What a run shows on stderr."""

import io

import numpy as np
from rich.console import Console

from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import Seconds, ShardJob, Sidecar
from alexnet_prep.progress import RunProgress

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


def test_the_bar_counts_and_names_the_bottleneck() -> None:
    output = io.StringIO()
    progress = RunProgress(Console(file=output, width=160, force_terminal=True))
    progress.begin("train", 6)
    for _ in range(3):
        progress.image(2_000_000)
    seconds = Seconds()
    seconds.stages.update(read=1.0, decode=6.0, resize=2.0, encode=1.0)
    progress.shard(JOB, SIDECAR, seconds)
    progress.shard(JOB, SIDECAR, None)
    progress.retry(JOB, "train-000.tar: a worker died (exit status -9)")
    progress.end()
    text = output.getvalue()
    for words in (
        "6/6",
        "6 MB",
        "dropped 2",
        "a worker died",
        "1 shards were there already",
        "bound by decode",
        "decode 60%",
    ):
        assert words in text, words
