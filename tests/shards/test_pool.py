"""Pools of real processes: results in order, killed workers are one line, nothing of it needs /dev/shm."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from alexnet_shards.errors import AlexnetError, FormatError, WorkerError
from alexnet_shards.locks import LockHeldError
from alexnet_shards.pool import start_many, worker_pool
from alexnet_shards.processes import Child, start_child

WITHOUT_SHM = """
import operator
from alexnet_shards.pool import worker_pool
with worker_pool(2, 4, "shards") as pool:
    print(list(pool.map(operator.add, range(4), range(4))))
"""


def own_pid(_: int = 0) -> int:
    return os.getpid()


def slow_square(number: int) -> int:
    time.sleep(0.2 if number % 3 == 0 else 0)
    return number * number


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise FormatError(f"shard {number}: bad")
    return number


def raise_held(path: Path) -> None:
    raise LockHeldError(path, "7 on host")


def wait_for_ever(connection: Connection) -> None:
    connection.recv()


def kill_self(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def take_too_much(_: int) -> int:
    return len(bytearray(1 << 40))


def big(number: int, content: bytes) -> bytes:
    return bytes([number]) * len(content)


def test_results_come_in_order_from_several_processes() -> None:
    with worker_pool(2, 20, "shards") as pool:
        assert list(pool.map(slow_square, range(20))) == [number * number for number in range(20)]
        assert len(set(pool.map(own_pid, range(50)))) == 2


def test_large_jobs_and_answers_pass_one_another() -> None:
    with worker_pool(2, 8, "shards") as pool:
        answers = list(pool.map(big, range(8), [bytes(3 << 20)] * 8))
    assert [(answer[0], len(answer)) for answer in answers] == [(number, 3 << 20) for number in range(8)]


def test_jobs_are_taken_lazily() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with worker_pool(2, 100, "shards") as pool:
        results = pool.map(own_pid, jobs(), ahead=5)
        next(results)
        assert len(taken) <= 6
        assert len(list(results)) == 99


def test_at_most_one_process_a_job() -> None:
    with worker_pool(8, 1, "shards") as pool:
        assert len(set(pool.map(own_pid, range(20)))) == 1


def test_the_first_failure_in_the_order_of_the_jobs_is_raised() -> None:
    with worker_pool(2, 9, "shards") as pool, pytest.raises(FormatError, match="^shard 4: bad$"):
        list(pool.map(fail_at, range(9), [4] * 9))


def test_failures_pass_the_pipe(tmp_path: Path) -> None:
    with worker_pool(1, 9, "shards") as pool, pytest.raises(AlexnetError, match="held by process 7 on host"):
        list(pool.map(raise_held, [tmp_path]))
    with worker_pool(1, 9, "shards") as pool, pytest.raises(ZeroDivisionError) as raised:
        list(pool.map(divmod, [1], [0]))
    assert "in _serve" in raised.value.__notes__[0]


def test_a_killed_worker_is_one_line() -> None:
    line = r"^shards: a worker was killed \(out of memory\?\); start again, with fewer --workers$"
    with pytest.raises(WorkerError, match=line), worker_pool(2, 2, "shards") as pool:
        list(pool.map(kill_self, [signal.SIGKILL, 0]))
    line = r"^shards: a worker ended by itself with status 5; start again$"
    with pytest.raises(WorkerError, match=line), worker_pool(1, 1, "shards") as pool:
        list(pool.map(os._exit, [5]))


def test_a_worker_without_memory_is_one_line() -> None:
    with worker_pool(1, 1, "shards") as pool, pytest.raises(WorkerError, match="more than its 4 GiB of memory"):
        list(pool.map(take_too_much, [1]))


def test_no_worker_is_left_whatever_ends_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(2, 9, "shards") as pool:
        pids = set(pool.map(own_pid, range(20)))
        next(pool.map(time.sleep, [60, 60, 60]), None) if not pids else None
        raise KeyboardInterrupt
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_map_that_was_left_early_is_not_mixed_with_the_next() -> None:
    with worker_pool(2, 9, "shards") as pool:
        next(pool.map(time.sleep, [0, 600]))
        with pytest.raises(RuntimeError, match="left before its end"):
            list(pool.map(own_pid, range(3)))


@pytest.mark.parametrize("options", ["ro,size=4k", "size=4k"])
def test_shared_memory_is_not_needed(options: str) -> None:
    """The semaphores of multiprocessing's own pools lie in /dev/shm."""
    script = f"mount -t tmpfs -o {options} none /dev/shm && exec {sys.executable} -c '{WITHOUT_SHM}'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("only root may mount")
    assert (done.returncode, done.stdout) == (0, "[0, 2, 4, 6]\n"), done.stderr


FEW_FILES = """
import logging, resource
from alexnet_shards.pool import worker_pool
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (51, 51))
with worker_pool(64, 64, "shards") as pool:
    print(list(pool.map(abs, range(-64, 0), ahead=200)) == list(range(64, 0, -1)))
"""


def test_fewer_workers_where_files_are_few() -> None:
    """In a process of its own: who ran before in this one may have threads that open files."""
    done = subprocess.run([sys.executable, "-c", FEW_FILES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("shards: ")
    assert 1 <= int(line.split()[1]) < 32
    assert line.endswith("workers instead of 64 (too many open files; raise ulimit -n)")


def test_fewer_workers_where_the_system_gives_no_more(caplog: pytest.LogCaptureFixture) -> None:
    def start(most: int, children: list[Child]) -> Child:
        if len(children) == most:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        children.append(start_child(wait_for_ever, ()))
        return children[-1]

    started: list[Child] = []
    with caplog.at_level(logging.WARNING):
        assert len(start_many(5, lambda: start(2, started), "shards")) == 2
    assert "shards: 2 workers instead of 5 (Resource temporarily unavailable)" in caplog.text
    for child in started:
        child.close()
    with pytest.raises(WorkerError, match=r"^shards: a worker process: cannot be started \(the system allows no more"):
        start_many(5, lambda: start(0, []), "shards")
