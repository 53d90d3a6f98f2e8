"""A real scheduler and real worker processes on this machine: the same bytes whatever becomes of the workers."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.cluster import ClusterPool, connected, hired
from alexnet_prep.errors import RunError
from alexnet_shards.errors import WorkerError

pytest.importorskip("distributed", reason="needs the extra cluster")
SILENCE_SECONDS = 5  # after which the scheduler gives a worker up; its own default is five minutes
START_SECONDS = 120


@dataclass
class Machines:
    """A scheduler at `address` and its worker processes."""

    address: str
    folder: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]

    def start_worker(self, *words: str) -> None:
        """One process more, of one thread and without a nurse that would start it again."""
        flags = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder), *words]
        self.workers.append(start(self.folder, "worker", self.address, *flags))

    def wait_for(self, workers: int) -> None:
        """Wait until so many are known."""
        import distributed

        client: Any = distributed.Client
        with client(self.address) as client:
            client.wait_for_workers(workers, timeout=START_SECONDS)


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """`dask WORDS`, anywhere but here, so that relative paths would be noticed."""
    settings = {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{SILENCE_SECONDS}s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "60s",
    }
    with (folder / f"{words[0]}.log").open("ab") as log:
        command = [sys.executable, "-m", "dask", *words]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **settings})


@contextmanager
def machines(folder: Path, *words: str, workers: int = 3) -> Iterator[Machines]:
    """A scheduler and `workers` processes, gone after the block."""
    file = folder / "scheduler.json"
    scheduler = start(folder, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    there = Machines("", folder, scheduler, [])
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline and scheduler.poll() is None:
            time.sleep(0.1)
        there.address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            there.start_worker(*words)
        there.wait_for(workers)
        yield there
    finally:
        for process in [*there.workers, scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Three workers."""
    with machines(tmp_path_factory.mktemp("dask")) as there:
        yield there


def hashes(directory: Path) -> dict[str, str]:
    paths = [path for path in sorted(directory.iterdir()) if path.is_file() and path.name != ".lock"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def write_photos(folder: Path, photos: int, jpeg: bytes) -> None:
    """A folder source of two classes, `photos` each, all the same."""
    for name in ("ant", "bee"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(photos):
            (folder / "train" / name / f"{name}{number:03d}.jpg").write_bytes(jpeg)


def say(_: str) -> None:
    """Nobody listens."""


def test_every_command_gives_the_same_bytes(
    crew: Machines, small_source: Any, tmp_path: Path, prep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    far = ("--scheduler", crew.address)
    shards = ("shards", "--source", small_source.directory.relative_to(tmp_path), "--split", "train", "--num-shards", 3)
    here = prep(*shards, "--out", "here", "--workers", 1, "--json")
    there = prep(*shards, "--out", "there", *far, "--json")
    assert json.loads(here.stdout)[0].keys() == json.loads(there.stdout)[0].keys()
    assert "time a stage" in there.stderr
    once = prep(*shards, "--out", "once", "--read", "once", *far, "--json")
    assert "reading once" in once.stderr
    assert hashes(tmp_path / "once") == hashes(tmp_path / "here")
    prep("compute-stats", "--shards", "here/train-*.tar", "--workers", 1)
    prep("compute-stats", "--shards", "there/train-*.tar", *far)
    assert hashes(tmp_path / "here") == hashes(tmp_path / "there")
    prep("verify", "--shards", "there", *far)
    (tmp_path / "there" / "train.index.npy").unlink()
    prep("index", "--shards", "there/train-*.tar", *far)
    assert hashes(tmp_path / "here") == hashes(tmp_path / "there")
    content = bytearray((tmp_path / "there" / "train-001.tar").read_bytes())
    content[1500] ^= 1
    (tmp_path / "there" / "train-001.tar").write_bytes(content)
    assert "findings" in prep("verify", "--shards", "there", *far, status=1).stderr
    prep("verify", "--shards", "there", "--repair", "--source", small_source.directory, *far)
    assert hashes(tmp_path / "here") == hashes(tmp_path / "there")


def test_a_killed_and_a_paused_worker_cost_time_only(tmp_path: Path, photo_bytes: Any, prep: Any) -> None:
    write_photos(tmp_path / "photos", 64, photo_bytes(3, 2400, 1800))
    words = ["shards", "--source", str(tmp_path / "photos"), "--num-shards", "16", "--json", "--out"]
    prep(*words, tmp_path / "here", "--workers", 2)
    with machines(tmp_path) as crew:
        command = [
            sys.executable,
            "-m",
            "alexnet_prep.cli",
            *words,
            str(tmp_path / "there"),
            "--scheduler",
            crew.address,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            deadline = time.monotonic() + START_SECONDS
            while not list(tmp_path.glob("there/*.tar")) and time.monotonic() < deadline:
                time.sleep(0.01)
            crew.workers[0].send_signal(signal.SIGKILL)
            crew.workers[1].send_signal(signal.SIGSTOP)
            done_before = len(list(tmp_path.glob("there/*.tar")))
            _, said = run.communicate(timeout=200)
        assert run.returncode == 0, said
        assert "Traceback" not in said
    assert done_before < 16  # both were lost in the middle
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")


POISON = """
import os
from functools import partial
from alexnet_prep import build, engine, nodes, worker

real_convert = build.convert

def convert(source, recipe):
    if source.endswith(b"DIE"):
        os._exit(7)
    return real_convert(source, recipe)

def poisoned_main(connection, setup, parent_pid):
    build.convert = convert
    worker.worker_main(connection, setup, parent_pid)

nodes.Engine = partial(engine.Engine, target=poisoned_main)
"""


def test_an_image_that_kills_is_quarantined_and_no_worker_is_lost(tmp_path: Path, photo_bytes: Any, prep: Any) -> None:
    write_photos(tmp_path / "photos", 4, photo_bytes(1))
    (tmp_path / "photos" / "train" / "ant" / "ant002.jpg").write_bytes(photo_bytes(2) + b"DIE")
    (tmp_path / "poisoned.py").write_text(POISON)
    with machines(tmp_path, "--preload", str(tmp_path / "poisoned.py"), workers=1) as crew:
        words = ("shards", "--source", tmp_path / "photos", "--out", tmp_path / "out", "--num-shards", 2, "--json")
        done = prep(*words, "--scheduler", crew.address)
        assert crew.workers[0].poll() is None
    (report,) = json.loads(done.stdout)
    assert [each["reason"] for each in report["dropped"]] == ["quarantined: 3 workers died (exit status 7) on it"]
    assert report["written"] == 7
    assert "a worker died (exit status 7) at" in done.stderr


def test_a_pool_keeps_the_order_and_raises_at_its_turn(crew: Machines, tmp_path: Path) -> None:
    with connected(crew.address, None, say) as cluster, cluster.pool(str(tmp_path)) as pool:
        assert isinstance(pool, ClusterPool)
        assert list(pool.map(divmod, range(40), [7] * 40)) == [divmod(number, 7) for number in range(40)]
        assert list(pool.map(divmod, [], [])) == []
        answers = pool.map(divmod, [5, 6], [1, 0])
        assert next(answers) == (5, 0)
        with pytest.raises(ZeroDivisionError):
            next(answers)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".shared")]


def test_a_folder_that_workers_do_not_share_is_one_line(
    crew: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with another root, as a container has: it sees nothing of what is written here."""
    with connected(crew.address, None, say) as cluster:
        cluster.check_shared(tmp_path)
        monkeypatch.setattr("alexnet_prep.cluster.write_atomic", lambda path, content: path.write_bytes(b"other"))
        with pytest.raises(
            RunError, match="worker tcp://.* does not see it as it is here; expected a folder of a file"
        ):
            cluster.check_shared(tmp_path)


def test_what_is_asked_for_in_vain(crew: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheduler, workers, line in (
        ("tcp://127.0.0.1:1", None, "no Dask scheduler answers there"),
        ("nowhere", None, "expected tcp://HOST:8786, slurm or slurm:FILE.yaml"),
        (crew.address, 3, "all workers of .* are taken; leave --workers out"),
    ):
        monkeypatch.setattr("alexnet_prep.cluster.CONNECT_SECONDS", 2)
        with pytest.raises(RunError, match=line), hired(scheduler, workers, say):
            pass
    monkeypatch.setattr("alexnet_prep.cluster.__version__", "0.0.0")
    with (
        pytest.raises(RunError, match=r"worker|tcp://.*: has alexnet-prep .*, here it is 0.0.0"),
        hired(crew.address, None, say),
    ):
        pass
    with hired(None, 2, say) as team:
        assert team == 2


def test_a_scheduler_that_ends_is_one_line(tmp_path: Path) -> None:
    with machines(tmp_path, workers=1) as crew, connected(crew.address, None, say) as cluster:
        answers = ClusterPool(cluster, str(tmp_path)).map(time.sleep, [0.0, 60.0])
        assert next(answers) is None
        crew.scheduler.kill()
        with pytest.raises(WorkerError, match="the scheduler tcp://.* is gone; start again"):
            next(answers)
        with pytest.raises(WorkerError, match="the scheduler tcp://.* is gone; start again"):
            cluster.begin(time.sleep, [0.0])
            cluster.threads()
