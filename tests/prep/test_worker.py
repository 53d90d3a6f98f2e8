"""A worker process by itself: it answers in lines."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob
from alexnet_prep.job import AT_IMAGE, READING, BuildSetup
from alexnet_prep.sidecar import Sidecar
from alexnet_prep.worker import worker_main


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    """A running worker on a folder source, and its pipe."""
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    setup = BuildSetup(containers=(folder,), recipe=PixelRecipe(), out=out, sidecars=out)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=worker_main, args=(theirs, setup, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    yield setup, ours
    ours.close()
    process.join(20)
    assert process.exitcode == 0


def job_of(setup: BuildSetup, contents: list[bytes]) -> ShardJob:
    """A shard of files with these contents."""
    names = [f"i{number}.JPEG".encode() for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (setup.containers[0] / name.decode()).write_bytes(content)
    return ShardJob(
        number=0,
        name="train-000.tar",
        keys=np.array([name.removesuffix(b".JPEG") for name in names]),
        file_names=np.array(names),
        locations=np.array([(0, 0, 0, len(content)) for content in contents], LOCATION_DTYPE),
        labels=np.zeros(len(names), np.int32),
        patched=np.zeros(len(names), np.bool_),
    )


def answers(connection: Any) -> list[tuple[Any, ...]]:
    """Messages up to the job's end."""
    messages = []
    while True:
        assert connection.poll(60)
        messages.append(connection.recv())
        if messages[-1][0] in ("done", "failed"):
            return messages


def test_a_job_is_told_image_by_image(worker: Any, photo_bytes: Any) -> None:
    setup, connection = worker
    photos = [photo_bytes(number) for number in range(3)]
    job = job_of(setup, photos)
    connection.send(job)
    messages = answers(connection)
    assert [message for message in messages if message[0] == "at" and message[2] >= 0] == [
        message
        for number, photo in enumerate(photos)
        for message in (("at", READING, number, 0), ("at", AT_IMAGE, number, len(photo)))
    ]
    kind, sidecar, seconds = messages[-1]
    assert (kind, sidecar.samples) == ("done", 3)
    assert seconds.stages["decode"] > 0
    connection.send(job)
    kind, again, seconds = answers(connection)[-1]
    assert (again, seconds) == (sidecar, None)
    assert isinstance(again, Sidecar)


def test_failures_are_one_line(worker: Any, photo_bytes: Any) -> None:
    setup, connection = worker
    job = job_of(setup, [photo_bytes(1)])
    (setup.containers[0] / "i0.JPEG").unlink()
    connection.send(job)
    kind, line = answers(connection)[-1]
    assert kind == "failed"
    assert "i0.JPEG cannot be read (No such file or directory)" in line
    job = job_of(setup, [photo_bytes(1)])
    (setup.out / "train-000.tar").mkdir()  # a directory in the way
    connection.send(job)
    kind, line = answers(connection)[-1]
    assert kind == "failed"
    assert "train-000.tar: is a folder; name a file" in line
