"""A share of a split's shards, for job arrays: which shards it has, what became of them, and what is missing at the end."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_prep.build import ShardJob
from alexnet_prep.errors import RunError
from alexnet_prep.job import BuildSetup
from alexnet_prep.progress import RunProgress
from alexnet_prep.sidecar import Sidecar, written_shard
from alexnet_prep.stretch import StretchFacts
from alexnet_shards.manifest import BUILD_DIRECTORY
from alexnet_shards.pool import Workers, worker_pool

LOCK_NAME = re.compile(r"part-(\d+)-of-(\d+)\.lock")
SHOWN_NAMES = 6


@dataclass(frozen=True)
class Share:
    """Part `number` of `of`, counted from 1; written 3/8."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(f"part {self.number}/{self.of}: expected I/N with I from 1 to N")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Share":
        """The share that "I/N" means; raises ValueError for any other text."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None:
            raise ValueError(f"{text!r:.40}: expected I/N, as 3/8")
        return cls(int(match[1]), int(match[2]))

    @property
    def lock_name(self) -> str:
        """Name of the lock file of whoever makes this share."""
        return f"part-{self.number}-of-{self.of}.lock"

    def takes(self, place: int) -> bool:
        """Whether what stands at a place of a list is of this share, where all shares take turns."""
        return place % self.of == self.number - 1

    def shards(self, num_shards: int) -> range:
        """The numbers of its shards; none where there are more shares than shards."""
        return range(num_shards * (self.number - 1) // self.of, num_shards * self.number // self.of)


def share_facts(part: str, split: str, sidecars: Sequence[Sidecar], images_per_second: float) -> dict[str, Any]:
    """The object that `alexnet-prep shards --part --json` prints for a split."""
    return {
        "split": split,
        "part": part,
        "members": sum(sidecar.samples + len(sidecar.dropped) for sidecar in sidecars),
        "written": sum(sidecar.samples for sidecar in sidecars),
        "dropped": [{"key": key, "reason": reason} for sidecar in sidecars for key, reason in sidecar.dropped],
        "shards": len(sidecars),
        "bytes": sum(sidecar.bytes for sidecar in sidecars),
        "images_per_second": round(images_per_second, 1),
    }


def stretches_facts(part: str, split: str, stretches: Sequence[StretchFacts], seconds: float) -> dict[str, Any]:
    """The same of a part of a source that is read once: its pictures wait for --finish."""
    images = sum(len(facts.images()) for facts in stretches)
    dropped = [
        {"key": facts.name, "reason": reason} for facts in stretches for reason in facts.dropped
    ]  # whose they are is known at the end
    return {
        "split": split,
        "part": part,
        "members": images,
        "written": images - len(dropped),
        "dropped": dropped,
        "shards": 0,
        "stretches": len(stretches),
        "bytes": sum(facts.bytes for facts in stretches),
        "images_per_second": round(images / seconds, 1),
    }


def share_lines(facts: Sequence[dict[str, Any]]) -> list[str]:
    """What the command prints of a share: a line a split."""
    return [
        f"{each['split']} part {each['part']}: {each['written']:,} images in {_pieces(each)}, "
        f"{len(each['dropped']):,} dropped, {each['images_per_second']:,} images/s"
        for each in facts
    ]


def _pieces(facts: dict[str, Any]) -> str:
    return f"{facts['stretches']:,} stretches" if "stretches" in facts else f"{facts['shards']:,} shards"


def collect_shards(
    jobs: Iterable[ShardJob], setup: BuildSetup, workers: Workers, progress: RunProgress
) -> list[Sidecar]:
    """The sidecars of shards that were made in shares, every shard hashed.

    Raises RunError that names the shards which are missing or not as they were written, and the parts that make them.
    """
    waiting = list(jobs)
    names = [job.name for job in waiting]
    light = replace(setup, containers=(), sparse={})  # it goes to the workers with every shard
    found: list[Sidecar] = []
    with worker_pool(workers, len(waiting), str(setup.out)) as pool:
        for job, sidecar in zip(waiting, pool.map(written_shard, [light] * len(waiting), names), strict=True):
            if sidecar is not None:
                found.append(sidecar)
                progress.done(job, sidecar, None)
    missing = sorted({job.number for job in waiting} - {sidecar.number for sidecar in found})
    if missing:
        shown = _ranges([names[number] for number in missing], missing)
        where = setup.out if setup.store is None else setup.store.shown
        raise RunError(
            f"{where}: {len(missing)} of {len(waiting)} shards are missing or damaged: {shown}; run "
            f"{_parts(setup.out, missing, len(waiting))}, then --finish again"
        )
    return found


def _ranges(names: Sequence[str], numbers: Sequence[int]) -> str:
    """Names of shards, neighbours as "A to B"."""
    runs: list[list[str]] = []
    for place, name in enumerate(names):
        if place and numbers[place] == numbers[place - 1] + 1:
            runs[-1][1:] = [name]
        else:
            runs.append([name])
    shown = [" to ".join(run) for run in runs[:SHOWN_NAMES]]
    return ", ".join([*shown, *([f"and {len(runs) - SHOWN_NAMES} more"] if len(runs) > SHOWN_NAMES else [])])


def _parts(out: Path, missing: Sequence[int], num_shards: int) -> str:
    """Which parts make the `missing` shards, where the lock files say into how many parts this run was cut."""
    shares = shares_of(out)
    wanted = [str(share) for share in shares if set(share.shards(num_shards)) & set(missing)]
    return parts_line(wanted)


def shares_of(out: Path) -> list[Share]:
    """All parts that a run was cut into, as its lock files say; [] where they do not."""
    locks = [LOCK_NAME.fullmatch(path.name) for path in (out / BUILD_DIRECTORY).glob("part-*.lock")]
    counts = {int(match[2]) for match in locks if match}
    of = counts.pop() if len(counts) == 1 else 0
    return [Share(number, of) for number in range(1, of + 1)]


def parts_line(wanted: Sequence[str]) -> str:
    """What to type for some parts."""
    if not wanted:
        return "the parts that make them"
    more = f" and {len(wanted) - SHOWN_NAMES} more" if len(wanted) > SHOWN_NAMES else ""
    return f"--part {', '.join(wanted[:SHOWN_NAMES])}{more}"
