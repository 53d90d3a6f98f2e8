"""What this process may use of the machine: processors, open files, memory."""

import math
import os
import resource
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
OPEN_FILES = Path("/proc/self/fd")
MEMORY = Path("/proc/self/statm")
FILES_A_WORKER = 2  # its pipe, and for a moment the other end of it
FILES_OF_OURS = 16  # that the work itself may need beside its workers
MIN_OPEN_SHARDS, MAX_OPEN_SHARDS = 16, 4096
OPEN_SHARE = 4  # training and validation each have two readers
KEPT_BYTES = 8 << 20  # glibc then keeps up to twice as much, and takes blocks up to this size from it


def available_cpus() -> int:
    """Processors that this process may use: those it may run on, and no more than its control groups give it time for.

    A container of two processors on a machine of 64 may run on all of them, but is stopped when it has had the time of
    two.
    """
    runnable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(runnable, int(cpu_quota(MEMBERSHIP, CGROUPS))))


def cpu_quota(membership: Path, cgroups: Path) -> float:
    """The smallest number of processors that a control group of this process has time for; a huge one without limits.

    `membership` is the kernel's list of groups, `cgroups` where they are mounted, version 1 or 2.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    quotas = [float(1 << 30)]
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            quotas += [_quota_of(path / "cpu.max", None) for path in _up_from(cgroups, group)]
        elif "cpu" in controllers.split(","):
            for root in (cgroups / "cpu", cgroups / controllers):
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                quotas += [_quota_of(*(path / name for name in names)) for path in _up_from(root, group)]
    return min(quotas)


def _up_from(root: Path, group: str) -> list[Path]:
    """The folder of a group and of those that it is part of; in a container its own folder may be the root."""
    parts = [part for part in group.split("/") if part]
    return [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _quota_of(quota: Path, period: Path | None) -> float:
    """Processors by a group's files, infinite where it has no limit: "QUOTA PERIOD" in one file, or one number each."""
    try:
        words = quota.read_text().split() + (period.read_text().split() if period else [])
        processors = int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError, ZeroDivisionError):  # "max", or no such group here
        return math.inf
    return processors if processors > 0 else math.inf  # -1: no limit


def affordable_workers(workers: int) -> int:
    """As many of `workers` processes as this process may hold files open for (ulimit -n), at least one."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return workers
    try:
        open_now = len(list(OPEN_FILES.iterdir()))
    except OSError:
        open_now = FILES_OF_OURS
    return max(1, min(workers, (limit - open_now - FILES_OF_OURS) // FILES_A_WORKER))


def most_open_files() -> int:
    """How many shards a reader may have open, of the files that this process may have (RLIMIT_NOFILE)."""
    return min(MAX_OPEN_SHARDS, max(MIN_OPEN_SHARDS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // OPEN_SHARE))


def limit_memory(extra_bytes: int) -> None:
    """Let this process have no more than `extra_bytes` of address space beside what it has now (RLIMIT_AS)."""
    try:
        wanted = int(MEMORY.read_text().split()[0]) * resource.getpagesize() + extra_bytes
    except OSError:  # no such file: not Linux, where the limit means little
        return
    limits = [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), resource.getrlimit(resource.RLIMIT_AS)[1]))


def keep_freed_memory() -> None:
    """Have this process keep some MB that it frees for what it takes next, as one that makes picture after picture wants it.

    The C library gives each of their buffers back to the system, and takes it anew page by page, until it has seen a
    larger block freed.
    """
    bytes(KEPT_BYTES)  # zeros that are never touched: it costs nothing
