"""The machine that figures are of, its cores for whoever is measured, and what else is busy on it."""

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.rounds import ContenderError

ROOT = Path(__file__).parent.parent
POLL_SECONDS = 0.05
BUSY = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
parent, there, here = os.getppid(), bytearray(32 << 20), bytearray(32 << 20)
while os.getppid() == parent:
    here[:] = there
    sum(range(100_000))
"""


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    names = {key.strip(): value.strip() for key, value in fields.items()}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kinds = [kind for kind in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if kind in names.get("flags", "")]
    return {
        "processor": names.get("model name", platform.machine()),
        "instructions": kinds,
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": sys.version.split()[0],
    }


def load_average() -> str:
    """Over one, five and fifteen minutes."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


@contextmanager
def pinned(cpus: tuple[int, ...]) -> Iterator[None]:
    """This process and whatever it starts meanwhile on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute and copy memory, each on a core, in turn; they end with this one too."""
    cpus = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-c", BUSY]
    running = [subprocess.Popen([*command, str(cpus[number % len(cpus)])]) for number in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def run(command: list[str], settings: Mapping[str, str] | None = None, timeout_seconds: float = 300) -> str:
    """What a command prints; raises ContenderError with its last line where it fails or does not end."""
    rooms = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PYTHONPATH": rooms,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        **(settings or {}),
    }
    try:
        done = subprocess.run(
            command, capture_output=True, env=environment, text=True, check=False, timeout=timeout_seconds
        )
    except subprocess.TimeoutExpired:
        raise ContenderError(f"does not end within {timeout_seconds:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ContenderError(f"does not run: {lines[-1].strip()[:200]}")
    return done.stdout


class MemoryWatch:
    """The most memory, in MiB, that this process's children hold together while the block lasts; shared pages count once."""

    def __init__(self) -> None:
        self.peak_mib, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self.peak_mib = max(self.peak_mib, sum(pss_mib(pid) for pid in descendants(os.getpid())))


def descendants(pid: int) -> list[int]:
    """Processes below one, itself left out."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                children = [int(child) for child in (task / "children").read_text().split()]
                found += [other for child in children for other in (child, *descendants(child))]
    return found


def pss_mib(pid: int) -> float:
    """A process's memory, pages shared by n processes counting 1/n; 0 where it has ended."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0]) / 1024
    return 0.0
