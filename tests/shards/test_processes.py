"""Pools of real processes: killed workers are one line, a killed or interrupted parent leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_shards.errors import WorkerError
from alexnet_shards.processes import worker_pool

PARENT = """
import os, sys, time
from pathlib import Path
from alexnet_shards.processes import worker_pool
def job(directory, number):
    (Path(directory) / f"{os.getpid()}.pid").touch()
    (Path(directory) / f"{number}.job").touch()
    time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 120)
if __name__ == "__main__":
    with worker_pool(2, 9, "shards") as pool:
        list(pool.map(job, [sys.argv[1]] * 9, range(9)))
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def workers_of(directory: Path) -> list[int]:
    return [int(path.stem) for path in directory.glob("*.pid")]


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    """A parent in a process group of its own, as from a shell, whose two workers are at their first jobs."""
    script = directory / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), str(directory), *options]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: len(workers_of(directory)) == 2)
    return parent


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    with start(tmp_path) as parent:
        assert all(map(is_running, workers_of(tmp_path)))
        parent.kill()
        parent.wait()
        wait_until(lambda: not any(map(is_running, workers_of(tmp_path))))


def test_ctrl_c_ends_the_pool_after_the_jobs_in_hand(tmp_path: Path) -> None:
    with start(tmp_path, "0.5") as parent:
        os.killpg(parent.pid, signal.SIGINT)
        errors = parent.communicate(timeout=60)[1]
    assert errors.count("KeyboardInterrupt") == 1  # the parent's own; its workers say nothing
    assert len(list(tmp_path.glob("*.job"))) < 9
    assert not any(map(is_running, workers_of(tmp_path)))


def test_a_killed_worker_is_one_line() -> None:
    with (
        pytest.raises(WorkerError, match=r"^shards: a worker was killed \(out of memory\?\); start again, with fewer"),
        worker_pool(2, 2, "shards") as pool,
    ):
        pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL).result()


def test_at_most_one_process_a_job() -> None:
    with worker_pool(8, 1, "shards") as pool:
        assert len(set(pool.map(_own_pid, range(20)))) == 1


def _own_pid(_: int) -> int:
    return os.getpid()
