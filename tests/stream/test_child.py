"""The loader process: the same pixels, and nothing left behind whoever is killed."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream.child import ChildLoader
from alexnet_stream.loader import Job, LoaderConfig, ThreadLoader
from alexnet_stream.reader import LocalShards
from alexnet_stream.stream import Stream, StreamConfig

TRAINER = """
import sys, time
from alexnet_shards.shardset import open_shards
from alexnet_stream.stream import Stream, StreamConfig
stream = Stream(open_shards([sys.argv[1]]), StreamConfig(batch_size=2, seed=1, child_process=True))
next(stream.epoch())
print("streaming", flush=True)
{then}
"""
ENDINGS = {
    "SIGKILL": "time.sleep(600)",
    "SIGTERM": "time.sleep(600)",
    "SIGINT": "time.sleep(600)",
    "exit": "sys.exit(0)",
    "exception": "1 / 0",
    "forked": "import os; os.fork() or time.sleep(8); time.sleep(120)",
}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory, make_shards: Callable[..., str]) -> str:
    return make_shards(tmp_path_factory.mktemp("shards"), (8, 9))


def config_of(shards: ShardSet) -> LoaderConfig:
    return LoaderConfig(
        source=LocalShards(shards.paths), num_slots=2, slot_shape=(17, 256, 256, 3), threads=2, check_crc=True
    )


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def gone(pid: int, seconds: float = 60) -> bool:
    """Whether the process ends, or is a zombie that waits for somebody else's parent, within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_the_same_pixels_as_threads(pattern: str) -> None:
    shards = open_shards([pattern])
    threads, child = ThreadLoader(config_of(shards)), ChildLoader(config_of(shards))
    rows = np.array(shards.rows)
    for first in range(4):
        job = Job(rows=rows[first:])
        for loader in (threads, child):
            loader.submit(first % 2, job)
        for loader in (threads, child):
            assert loader.wait(first % 2).failures == ()
        assert np.array_equal(threads.slots[first % 2][: 17 - first], child.slots[first % 2][: 17 - first])
    threads.close()
    child.close()


def test_cancel_and_close(pattern: str) -> None:
    shards = open_shards([pattern])
    child = ChildLoader(config_of(shards))
    pid = child.pid
    for _ in range(5):
        child.submit(0, Job(rows=np.array(shards.rows)))
        child.submit(1, Job(rows=np.array(shards.rows)))
        child.cancel(0)
        child.cancel(1)
        child.cancel(1)
    child.submit(0, Job(rows=np.array(shards.rows[:1])))
    assert child.wait(0).failures == ()
    child.close()
    assert gone(pid)
    child.slots[0][:] = 9
    assert (child.slots[0] == 9).all()


def test_a_killed_child_is_one_line_and_the_next_start_works(pattern: str) -> None:
    shards = open_shards([pattern])
    config = StreamConfig(batch_size=2, seed=1, child_process=True)
    kill_the_child(shards, config)
    gc.collect()
    assert not [child for child in children_of(os.getpid()) if is_loader(child)]
    assert not own_memory()
    with Stream(shards, config) as stream:
        assert sum(len(batch.rows) for batch in stream.epoch()) == 17


def kill_the_child(shards: ShardSet, config: StreamConfig) -> None:
    with Stream(shards, config) as stream:
        batches = stream.epoch()
        next(batches)
        (pid,) = [child for child in children_of(os.getpid()) if is_loader(child)]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(AlexnetError, match=rf"the loader process {pid} ended \(killed by signal 9") as error:
            list(batches)
        assert "\n" not in str(error.value)


def is_loader(pid: int) -> bool:
    return b"alexnet_stream.child" in Path(f"/proc/{pid}/cmdline").read_bytes()


def forks_of(pid: int, loaders: list[int]) -> list[int]:
    """The children that are no loaders, once there are any."""
    deadline = time.monotonic() + 60
    while not (forks := [child for child in children_of(pid) if child not in loaders]):
        assert time.monotonic() < deadline, "it does not fork"
        time.sleep(0.02)
    return forks


def own_memory() -> list[str]:
    """Descriptors of this process that hold the ring's memory."""
    links = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]  # noqa: PTH115
    return [link for link in links if "alexnet-stream" in link]


@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_ends_the_parent_nothing_is_left(pattern: str, ending: str) -> None:
    """The child ends with its parent: also if the parent is killed, or a fork of it keeps the pipe open."""
    program = [sys.executable, "-c", TRAINER.format(then=ENDINGS[ending]), pattern]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"streaming\n"
        killed = ending in ("SIGKILL", "forked")
        loaders = [child for child in children_of(trainer.pid) if is_loader(child)] if killed else []
        forks = forks_of(trainer.pid, loaders) if ending == "forked" else []
        try:
            if ending.startswith("SIG"):
                trainer.send_signal(getattr(signal, ending))
            elif ending == "forked":
                trainer.kill()
            trainer.wait(120)
            assert all(gone(pid) for pid in loaders)
            assert all(not gone(pid, 0.05) for pid in forks)
        finally:
            for pid in forks:
                os.kill(pid, signal.SIGKILL)
    assert not session_members(trainer.pid, forks)
    assert not [path for path in Path("/dev/shm").iterdir() if "alexnet" in path.name]
    with Stream(open_shards([pattern]), StreamConfig(batch_size=2, seed=1, child_process=True)) as stream:
        assert len(next(stream.epoch()).rows) == 2


def session_members(session: int, but: list[int]) -> list[int]:
    """Living processes of the session that the trainer led, after they had time to end."""
    deadline = time.monotonic() + 60
    while True:
        living = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in but:
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(fields[3]) == session and fields[0] not in "ZX":
                    living.append(int(entry.name))
        if not living or time.monotonic() > deadline:
            return living
        time.sleep(0.05)


def test_modules_of_the_current_directory_are_not_run(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pickle", "numpy", "json", "alexnet_stream", "signal", "selectors"):
        (tmp_path / f"{name}.py").write_text("open('/proc/self/cwd/trapped', 'w').close()")
    monkeypatch.chdir(tmp_path)
    with Stream(open_shards([pattern]), StreamConfig(batch_size=2, seed=1, child_process=True)) as stream:
        next(stream.epoch())
    assert not (tmp_path / "trapped").exists()
