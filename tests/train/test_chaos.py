"""Everything that can happen to a run, in random order, and it ends as one to which nothing happened.

Kills, requests, full and read-only disks, damaged newest files, two starts at once, and torchrun with its worker.
"""

import errno
import json
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_train.checkpoint import Verdict, list_checkpoints, load_checkpoint, look_at
from alexnet_train.metrics import read_metrics

SETTINGS = ("width=0.03125", "batch_size=5", "log_every_steps=1", "checkpoint_every_steps=2", "keep_checkpoints=3")
TIMES = {"images_per_second", "data_wait_fraction", "checkpoint", "memory_bytes", "bound_by"}
DEADLINE_SECONDS = 240
STEPS = 3  # of an epoch
# Imports torch once for all the processes of this file.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["alexnet_train.loop", "alexnet_train.commands"])


def serve(words: list[str], log: str, failing: int, after: int) -> None:
    """The command in a process of its own; from the call number `after` on fsync answers the errno `failing`."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 2)
    os.dup2(stream, 1)
    calls, really = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if failing and calls > after:
            raise OSError(failing, os.strerror(failing))
        really(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    torch.set_num_threads(1)  # as torchrun's workers have: sums over more threads round otherwise
    sys.argv = ["alexnet_train.cli", *words]
    runpy.run_module("alexnet_train.cli", run_name="__main__", alter_sys=True)


class Chaos:
    """A run directory, and what is done to the run there."""

    def __init__(self, pattern: str, out: Path, seed: int) -> None:
        self.pattern, self.out, self.chance = pattern, out, random.Random(seed)
        self.epochs = 100_000  # it cannot end before something happens to it
        self.log = out.with_suffix(".log")
        self.done: Counter[str] = Counter()

    @property
    def words(self) -> list[str]:
        sets = [word for setting in (*SETTINGS, f"epochs={self.epochs}") for word in ("--set", setting)]
        return ["train", "--shards", self.pattern, "--recipe", "demo", *sets, "--device", "cpu", "--out"]

    def start(self, out: Path | None = None, log: Path | None = None, failing: int = 0, after: int = 0) -> Any:
        words = [*self.words, str(out or self.out)]
        process = PROCESSES.Process(target=serve, args=(words, str(log or self.log), failing, after))
        process.start()
        return process

    def wait_for_steps(self, ended: Callable[[], bool]) -> None:
        """Until the run has done a few steps, or has ended."""
        goal, deadline = self.chance.randint(1, 5), time.monotonic() + DEADLINE_SECONDS
        before = self.lines()
        while not ended() and self.lines() < before + goal:
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            before = min(before, self.lines())
            time.sleep(0.005)
        time.sleep(self.chance.uniform(0, 0.05))

    def lines(self) -> int:
        with suppress(FileNotFoundError):
            return (self.out / "metrics.jsonl").read_bytes().count(b"\n")
        return 0

    def join(self, process: Any, *statuses: int) -> None:
        process.join(DEADLINE_SECONDS)
        assert process.exitcode in statuses, (process.exitcode, self.log.read_text()[-2000:])

    @contextmanager
    def running(self) -> Iterator[Any]:
        process = self.start()
        self.wait_for_steps(lambda: not process.is_alive())
        assert process.is_alive(), self.log.read_text()[-2000:]
        yield process

    def killed(self) -> None:
        with self.running() as process:
            process.kill()
        self.join(process, -signal.SIGKILL)

    def terminated(self) -> None:
        with self.running() as process:
            os.kill(process.pid, self.chance.choice([signal.SIGTERM, signal.SIGINT]))
        self.join(process, 128 + signal.SIGTERM, 128 + signal.SIGINT)

    def asked_to_save(self) -> None:
        with self.running() as process:
            os.kill(process.pid, signal.SIGUSR1)
            self.wait_for_steps(lambda: not process.is_alive())
            assert process.is_alive(), "a request to save ended the run"
            process.terminate()
        self.join(process, 128 + signal.SIGTERM)

    def failing_disk(self) -> None:
        number = self.chance.choice([errno.ENOSPC, errno.EROFS, errno.EIO])
        process = self.start(failing=number, after=self.chance.randint(0, 12))
        self.join(process, 1)
        assert self.log.read_text().splitlines()[-1].startswith("error: ")

    def cut_newest(self) -> None:
        """As a power cut leaves it on a disk that lied; only where another is whole, for two lost ones are lost."""
        newest = [path for path in list_checkpoints(self.out / "checkpoints") if look_at(path).verdict is Verdict.WHOLE]
        if len(newest) > 1:
            path = newest[-1]
            whole = path.read_bytes()
            path.unlink()  # best.pt may be another name of it
            path.write_bytes(whole[: self.chance.randrange(len(whole))])
        self.killed()

    def two_at_once(self) -> None:
        with self.running() as process:
            log = self.log.with_suffix(".second")
            second = self.start(log=log)
            self.join(second, 1)
            assert f"in use by process {process.pid} on " in log.read_text().splitlines()[-1]
            assert process.is_alive(), self.log.read_text()[-2000:]
            process.kill()
        self.join(process, -signal.SIGKILL)

    def torchrun(self) -> tuple[subprocess.Popen[bytes], int]:
        """(torchrun, its worker's process id) of a run that has done some steps."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
        command = [*launcher, "--max-restarts=3", "-m", "alexnet_train.cli", *self.words, str(self.out), "--fresh"]
        # It was begun long ago: a job that is queued again does not begin anew.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "SLURM_RESTART_COUNT": "1"}
        with self.log.open("a") as log:
            run = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.wait_for_steps(lambda: run.poll() is not None)
        assert run.poll() is None, self.log.read_text()[-2000:]
        return run, worker_of(run)

    def torchrun_worker_killed(self) -> None:
        run, worker = self.torchrun()
        os.kill(worker, signal.SIGKILL)
        self.wait_for_steps(lambda: run.poll() is not None)  # the worker that torchrun starts in its place
        run.terminate()
        assert run.wait(DEADLINE_SECONDS) != 0

    def torchrun_killed(self) -> None:
        self.kill(*self.torchrun())

    def torchrun_and_worker_killed(self) -> None:
        """The one after the other, of one start."""
        run, worker = self.torchrun()
        os.kill(worker, signal.SIGKILL)
        self.wait_for_steps(lambda: run.poll() is not None)
        assert run.poll() is None, self.log.read_text()[-2000:]
        self.kill(run, worker_of(run))

    def kill(self, run: "subprocess.Popen[bytes]", worker: int) -> None:
        """Kill torchrun."""
        run.kill()
        run.wait()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while Path(f"/proc/{worker}").exists():  # it notices, saves and leaves
            assert time.monotonic() < deadline, "the worker trains on without its torchrun"
            time.sleep(0.05)

    def whole(self) -> int:
        names = [*list_checkpoints(self.out / "checkpoints"), self.out / "checkpoints" / "best.pt"]
        return sum(look_at(path).verdict is Verdict.WHOLE for path in names)

    def happen(self, event: Callable[[], None]) -> None:
        before = self.whole() if (self.out / "checkpoints").exists() else 0
        event()
        self.done[event.__name__] += 1
        assert self.whole() or not before, f"no whole checkpoint is left after {event.__name__}"


def worker_of(run: "subprocess.Popen[bytes]") -> int:
    """The process id of torchrun's worker."""
    return int(Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()[-1])


def end_of(out: Path) -> dict[str, Any]:
    """Weights, velocities and records of the last checkpoint, and the records of metrics.jsonl, without times."""
    content = load_checkpoint(list_checkpoints(out / "checkpoints")[-1])
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    velocities = {f"velocity {key}": state["velocity"] for key, state in content["optimizer"]["state"].items()}
    return {
        "tensors": {**content["model"], **velocities},
        "log": [{key: value for key, value in record.items() if key not in TIMES} for record in records],
        "records": [{k: v for k, v in record.items() if k not in TIMES} for record in content["records"]],
        "best": load_checkpoint(out / "checkpoints" / "best.pt")["step"],
    }


def run_through(chaos: Chaos, events: list[Callable[[], None]], straight: Path) -> None:
    for event in events:
        chaos.happen(event)
    chaos.epochs = read_metrics(chaos.out / "metrics.jsonl")[-1]["step"] // STEPS + 2
    for process in (chaos.start(straight, log=straight.with_suffix(".log")), chaos.start()):
        process.join()
        assert process.exitcode == 0, chaos.log.read_text()[-2000:]
    one, other = end_of(straight), end_of(chaos.out)
    assert one["tensors"].keys() == other["tensors"].keys()
    for name, tensor in one["tensors"].items():
        assert torch.equal(tensor, other["tensors"][name]), name
    for key in ("records", "log", "best"):
        assert one[key] == other[key], key
    assert [record["epoch"] for record in other["log"] if record["kind"] == "epoch"] == [*range(1, chaos.epochs + 1)]


@pytest.mark.timeout(900)
def test_seven_events(make_run: Callable[..., str], tmp_path: Path) -> None:
    chaos = Chaos(make_run(tmp_path / "shards", val_sizes=(3,)), tmp_path / "run", seed=1)
    events = [
        chaos.killed, chaos.failing_disk, chaos.terminated, chaos.cut_newest, chaos.asked_to_save, chaos.two_at_once,
        chaos.torchrun_and_worker_killed,
    ]  # fmt: skip
    run_through(chaos, events, tmp_path / "straight")


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_sixty_events(make_run: Callable[..., str], tmp_path: Path) -> None:
    chaos = Chaos(make_run(tmp_path / "shards", val_sizes=(3,)), tmp_path / "run", seed=2)
    kinds = [
        chaos.killed, chaos.terminated, chaos.asked_to_save, chaos.failing_disk, chaos.cut_newest, chaos.two_at_once,
        chaos.torchrun_worker_killed, chaos.torchrun_killed,
    ]  # fmt: skip
    started = time.monotonic()
    events = [*kinds, *chaos.chance.choices(kinds, weights=[4, 4, 3, 4, 4, 2, 1, 1], k=60 - len(kinds))]
    chaos.chance.shuffle(events)
    run_through(chaos, events, tmp_path / "straight")
    sys.stdout.write(f"\n{sum(chaos.done.values())} events in {time.monotonic() - started:.0f} s: {dict(chaos.done)}\n")
