"""Where the workers' time went: a line a job in a file of its own, which no output depends on, and its sum."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path

from alexnet_prep.job import STAGES, Seconds
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import append_bytes
from alexnet_shards.parsing import Where, parse_json, read_bounded

TIMES_NAME = "times.jsonl"  # beside a split's sidecars
MAX_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Of `jobs` jobs, whatever runs they were done in: wall seconds a stage, in all, and of those computing."""

    jobs: int
    stages: Mapping[str, float]
    wall_s: float
    cpu_s: float

    @property
    def bound(self) -> str:
        """The stage that took most."""
        return max(STAGES, key=lambda stage: self.stages[stage])

    @property
    def other_s(self) -> float:
        """Seconds in none of the stages: looks at sidecars, folders, checksums, waits for a processor between them."""
        return max(0.0, self.wall_s - sum(self.stages.values()))

    @property
    def waiting(self) -> float:
        """The share of the workers' time, 0..1, in which they did not compute: disks, or others on their processors."""
        return max(0.0, 1.0 - self.cpu_s / self.wall_s) if self.wall_s else 0.0


def note_times(path: Path, job: str, seconds: Seconds) -> None:
    """Append what a job took to the file. That it cannot be written harms nobody."""
    stages = {stage: round(seconds.stages[stage], 4) for stage in STAGES}
    line = {"job": job, **stages, "wall_s": round(seconds.wall_s, 4), "cpu_s": round(seconds.cpu_s, 4)}
    with suppress(AlexnetError):
        append_bytes(path, dumps(line).encode() + b"\n")


def load_times(path: Path) -> StageTimes | None:
    """The sum of a file's lines; None where there is none, or nothing in it. Lines that are damaged are passed over."""
    where = Where(path=path, what="times of a run", remedy="remove it")
    try:
        lines = read_bounded(where, MAX_BYTES).splitlines()
    except (FileNotFoundError, FormatError):
        return None
    found = [numbers for numbers in (_numbers(line, where) for line in lines) if numbers]
    if not found:
        return None
    total = {name: sum(numbers[name] for numbers in found) for name in (*STAGES, "wall_s", "cpu_s")}
    stages = {stage: total[stage] for stage in STAGES}
    return StageTimes(jobs=len(found), stages=stages, wall_s=total["wall_s"], cpu_s=total["cpu_s"])


def _numbers(line: bytes, where: Where) -> dict[str, float]:
    with suppress(FormatError, TypeError, KeyError, ValueError, OverflowError):
        content = parse_json(line, where)
        numbers = {name: float(content[name]) for name in (*STAGES, "wall_s", "cpu_s")}
        if all(0 <= number < 1e12 for number in numbers.values()):
            return numbers
    return {}
