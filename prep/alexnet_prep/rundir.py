"""The output directory of a run: its lock, the plan it is bound to, and the room it needs."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from alexnet_prep.errors import RunError
from alexnet_shards.files import TEMPORARY_SUFFIX, own_directory, worded, write_atomic
from alexnet_shards.locks import LockHeldError, owned
from alexnet_shards.manifest import BUILD_DIRECTORY

LOCK_NAME = ".lock"
PLAN_NAME = "plan.json"


@contextmanager
def locked_directory(out: Path) -> Iterator[None]:
    """Own `out` (made where missing) while the block runs; the kernel frees the lock when its owner dies.

    Raises RunError where another process owns it, FileError where it cannot be written.
    """
    with worded(out):
        out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(owned(out / LOCK_NAME))
        except LockHeldError as error:
            raise RunError(
                f"{out}: alexnet-prep process {error.owner} is at work there; wait until it ends, or take another --out"
            ) from error
        yield


def bind_plan(out: Path, split: str, facts: dict[str, Any]) -> Path:
    """Bind `out` to what determines a split's bytes, and return the directory of its sidecars.

    The first run writes `facts`; a later one must bring the same. Raises RunError with the field that differs.
    """
    directory = own_directory(own_directory(out / BUILD_DIRECTORY) / split)
    path = directory / PLAN_NAME
    try:
        bound = json.loads(path.read_bytes())
    except FileNotFoundError:
        strangers = sorted(out.glob(f"{split}-*.tar"))
        if strangers:
            raise RunError(
                f"{strangers[0]}: is there, but not from a run that can be continued; remove it, or take another --out"
            ) from None
        write_atomic(path, json.dumps(facts, indent=1).encode())
        return directory
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); remove {out} and start again, or take another --out") from error
    difference = first_difference(bound, json.loads(json.dumps(facts)))
    if difference:
        raise RunError(f"{out}: holds a run with another {difference}; use the same as before, or take another --out")
    return directory


def first_difference(bound: Any, wanted: Any, name: str = "") -> str:
    """`field (there A, wanted B)` for the first field in which two JSON values differ, "" where they are equal."""
    if isinstance(bound, dict) and isinstance(wanted, dict):
        for key in sorted(bound.keys() | wanted.keys()):
            difference = first_difference(bound.get(key), wanted.get(key), f"{name}.{key}" if name else key)
            if difference:
                return difference
        return ""
    return "" if bound == wanted else f"{name} (there {_short(bound)}, wanted {_short(wanted)})"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def remove_temporaries(out: Path, split: str) -> None:
    """Remove what a killed run left half-written; only under the lock."""
    ours = [*out.glob(f"{split}[-.]*{TEMPORARY_SUFFIX}"), *(out / BUILD_DIRECTORY / split).glob(f"*{TEMPORARY_SUFFIX}")]
    for path in ours:
        path.unlink(missing_ok=True)


def check_space(out: Path, needed_bytes: int) -> str | None:
    """A warning where `out` may not have room for about `needed_bytes`; RunError where it clearly has not."""
    free_bytes = shutil.disk_usage(out).free
    if free_bytes >= needed_bytes:
        return None
    room = f"{out}: about {needed_bytes / 1e9:.1f} GB are needed, {free_bytes / 1e9:.1f} GB are free"
    if free_bytes < needed_bytes // 2:
        raise RunError(f"{room}; free space or take another --out")
    return f"{room}: the run may stop with a full disk, and goes on when started again"
