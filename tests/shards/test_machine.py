"""Processors by the files of control groups, workers by open files, memory by the process's own limit."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_shards import machine
from alexnet_shards.machine import affordable_workers, available_cpus, cpu_quota, limit_memory

V1 = "9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/docker/x\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "processors"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "cpu.max": "max 100000"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "150000 100000\n"}, 0.5),
        # In a container of its own mount the group's folder is the root.
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 3.0),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "400000", "cpu/docker/x/cpu.cfs_period_us": "100000"}, 4.0),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float(1 << 30)),
        ("0::/\n", {}, float(1 << 30)),
        ("0::/\n", {"cpu.max": "garbage"}, float(1 << 30)),
    ],
)
def test_the_time_of_control_groups(tmp_path: Path, membership: str, files: dict[str, str], processors: float) -> None:
    (tmp_path / "membership").write_text(membership)
    assert cpu_quota(tmp_path / "membership", write(tmp_path / "cgroups", files)) == processors


def test_processors_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(machine, "MEMBERSHIP", write(tmp_path, {"membership": "0::/\n"}) / "membership")
    monkeypatch.setattr(machine, "CGROUPS", write(tmp_path, {"cpu.max": "200000 100000\n"}))
    assert available_cpus() == 2
    monkeypatch.setattr(machine, "CGROUPS", write(tmp_path, {"cpu.max": "20000 100000\n"}))
    assert available_cpus() == 1
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "missing")
    assert available_cpus() == 64
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "missing")
    assert available_cpus() == 64


def test_workers_by_open_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        assert affordable_workers(4) == 4
        assert 10 < affordable_workers(1000) < 100
        resource.setrlimit(resource.RLIMIT_NOFILE, (5, before[1]))
        assert affordable_workers(1000) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_memory_of_a_process() -> None:
    program = (
        "from alexnet_shards.machine import limit_memory; import sys, resource; limit_memory(200 << 20);"
        "print(len(bytearray(100 << 20))); limit_memory(1 << 40);"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] < 1 << 39)\n"
        "try: bytearray(300 << 20)\n"
        "except MemoryError: print('no memory')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [str(100 << 20), "True", "no memory", ""]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what the C library does with freed memory is glibc's")
def test_freed_memory_is_taken_again() -> None:
    program = (
        "from alexnet_shards.machine import keep_freed_memory; import resource\n"
        "def faults_of_pictures():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(100): [b'x' * size for size in (200_000, 250_000, 300_000)]\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "print(faults_of_pictures()); keep_freed_memory(); print(faults_of_pictures())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10


def test_a_limit_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 21))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    limit_memory(1 << 30)
    assert asked == [(1 << 20, 1 << 21)]
