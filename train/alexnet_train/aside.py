"""Names in a run directory moved without a loss: damaged files kept, an old run set aside, a second name for a file."""

import errno
import filecmp
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from alexnet_shards.files import link_or_copy, replace_file, sync_directory

CHECKPOINTS = "checkpoints"
RUN_FILES = (
    "metrics.jsonl",
    "recipe.toml",
    "bad-batch-*.pt",
    "trace-*-steps.json.gz",
    "tensorboard/events.out.tfevents.*",
    "steps.csv",
    "epochs.csv",
    "report.html",
    "evaluation.html",
    "looks/epoch-*.npz",
    "looks/activity-*.npz",
    "looks/starts.txt",
    "wandb-id.txt",
    "wandb",
)


def set_aside(path: Path, word: str = "bad") -> Path:
    """Give the file at `path` the name PATH.bad (`word`), or the next free one; returns it."""
    names = (path.with_name(f"{path.name}.{word}" + (f"-{number}" if number > 1 else "")) for number in count(1))
    kept = next(name for name in names if not os.path.lexists(name))
    replace_file(path, kept)
    return kept


def point_to(path: Path, name: Path) -> None:
    """Make `name` another name of the file at `path`, a copy where the file system has no links; whole at any time.

    It outlives the removal of `path`.
    """
    if name.exists() and (name.samefile(path) or filecmp.cmp(name, path, shallow=False)):
        return
    link_or_copy(path, name)


def move_run_aside(out_dir: Path) -> Path | None:
    """Move a run's files, and nothing else, from `out_dir` to a new directory beside it, whose path it returns.

    The checkpoints go first and at once: who is killed in between has not two runs in one place. None where there is no
    run.
    """
    paths = list(_run_paths(out_dir))
    if not paths:
        return None
    target = _new_directory(out_dir)
    for path in paths:
        goal = target / path.relative_to(out_dir)
        goal.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(goal)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.move(path, goal)
    sync_directory(target)
    sync_directory(out_dir)
    return target


def _run_paths(out_dir: Path) -> Iterator[Path]:
    checkpoints = out_dir / CHECKPOINTS
    if checkpoints.is_dir() and any(checkpoints.iterdir()):
        yield checkpoints
    for pattern in RUN_FILES:
        yield from sorted(out_dir.glob(pattern))


def _new_directory(out_dir: Path) -> Path:
    """NAME.old-1 beside `out_dir`, or the next free number; inside of it where beside is another file system's or no
    place for this user."""
    whole = out_dir.resolve()
    same_disk = whole.parent.stat().st_dev == whole.stat().st_dev
    names = ((whole.with_name(f"{whole.name}.old-{number}"), whole / f"old-{number}") for number in count(1))
    beside, inside = next(pair for pair in names if not any(map(os.path.lexists, pair)))
    if same_disk:
        try:
            beside.mkdir()
        except PermissionError:
            pass
        else:
            return beside
    inside.mkdir()
    return inside
