"""The output directory of a run: its lock, the plan it is bound to, and the room it needs."""

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_pixels import PixelRecipe
from alexnet_prep.errors import RunError
from alexnet_prep.share import LOCK_NAME as LOCK_NAME_OF_SHARE
from alexnet_prep.share import Share
from alexnet_shards.files import TEMPORARY_SUFFIX, own_directory, worded, write_atomic
from alexnet_shards.locks import LockHeldError, locked_file, owned
from alexnet_shards.manifest import BUILD_DIRECTORY
from alexnet_shards.parsing import Where, as_json_values, load_json

# What becomes of a source image: its mean length at most, how many times its own it becomes at most, and tar headers.
SAMPLE_BYTES, GROWTH, TAR_BYTES = 31_000, 10, 2_048
LOCK_NAME = ".lock"
PLAN_NAME = "plan.json"


@contextmanager
def locked_directory(out: Path, share: Share | None = None) -> Iterator[None]:
    """Own `out` (made where missing) while the block runs; the kernel frees the lock when its owner dies.

    A `share` is owned beside other shares. Raises RunError where another process owns it, FileError where it cannot be
    written.
    """
    with worded(out):
        out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            if share is not None:  # first, so that who may not have it does not stand in the other
                build = own_directory(out / BUILD_DIRECTORY)
                held.enter_context(owned(build / share.lock_name))
                _refuse_other_cuts(build, share)
            held.enter_context(owned(out / LOCK_NAME, shared=share is not None))
        except LockHeldError as error:
            waits = f", and part {share} has to wait" if share else ""
            raise RunError(
                f"{out}: alexnet-prep process {error.owner} is at work there{waits}; wait until it ends, or take "
                "another --out"
            ) from error
        yield


def _refuse_other_cuts(build: Path, share: Share) -> None:
    """Raise LockHeldError where somebody makes a part of another cut, which may have the same shards."""
    for path in sorted(build.glob("part-*.lock")):
        match = LOCK_NAME_OF_SHARE.fullmatch(path.name)
        if match and int(match[2]) != share.of:
            with locked_file(path, wait=False, shared=True):
                pass


def bind_plan(out: Path, split: str, facts: dict[str, Any], finished: dict[str, Any] | None = None) -> Path:
    """Bind `out` to what determines a split's bytes, and return the directory of its sidecars.

    The first run writes `facts`; a later one must bring the same. `finished` are those of a split that is whole, which
    count where the plan itself was deleted. Raises RunError with the field that differs.
    """
    directory = own_directory(own_directory(out / BUILD_DIRECTORY) / split)
    path = directory / PLAN_NAME
    try:
        bound = load_json(Where(path=path, what="plan", remedy=f"remove {out} and start again, or take another --out"))
    except FileNotFoundError:
        strangers = sorted(out.glob(f"{split}-*.tar"))
        if finished is not None:
            _refuse_difference(out, finished, facts)
        elif strangers:
            raise RunError(
                f"{strangers[0]}: is there, but not from a run that can be continued; remove it, or take another --out"
            ) from None
        write_atomic(path, json.dumps(facts, indent=1).encode())
        return directory
    _refuse_difference(out, bound, facts)
    return directory


def refuse_early(out: Path, split: str, facts: dict[str, Any]) -> None:
    """Raise RunError where `bind_plan` will, as far as the `facts` tell that are known before the source is read."""
    path = out / BUILD_DIRECTORY / split / PLAN_NAME
    try:
        bound = load_json(Where(path=path, what="plan", remedy=f"remove {out} and start again, or take another --out"))
    except FileNotFoundError:
        return
    known = {name: value for name, value in bound.items() if name in facts}
    _refuse_difference(out, known, {name: facts[name] for name in known})


def _refuse_difference(out: Path, bound: dict[str, Any], facts: dict[str, Any]) -> None:
    if found := difference(bound, facts):
        raise RunError(f"{out}: holds a run with another {found}; use the same as before, or take another --out")


def difference(bound: dict[str, Any], facts: dict[str, Any]) -> str:
    """As `first_difference`, of what a plan was bound to and what is wanted now."""
    wanted = as_json_values(facts)
    return first_difference(_comparable(_as_of_today(bound, wanted)), _comparable(wanted))


def _as_of_today(bound: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The facts of a plan, where an older version wrote it, in today's form; what it is silent about is taken as equal.

    It told sources apart by names, sizes, places and labels (`members`) and by their times, which are no longer looked at,
    and used fewer libraries: those of today give the same pixels.
    """
    if "members" not in bound:
        return bound
    today = {name: value for name, value in bound.items() if name != "members"}
    libraries = wanted.get("libraries", {}) | bound.get("libraries", {})
    return {**today, "libraries": libraries, "source": {**wanted["source"], "members": bound["members"]}}


def _comparable(facts: dict[str, Any]) -> dict[str, Any]:
    """Of the pixel recipe the options alone: its words for the rest may be worded anew by another version."""
    return {**facts, "recipe": asdict(PixelRecipe.from_dict(facts["recipe"]))} if facts.get("recipe") else facts


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


def remove_temporaries(out: Path, split: str, shards: Collection[str] | None = None) -> None:
    """Remove what a killed run left half-written; only under the lock. `shards` are the names of a share: others' stay."""
    ours = [*out.glob(f"{split}[-.]*{TEMPORARY_SUFFIX}"), *(out / BUILD_DIRECTORY / split).glob(f"*{TEMPORARY_SUFFIX}")]
    for path in ours:
        if shards is None or path.name.partition(".tar")[0] + ".tar" in shards:
            path.unlink(missing_ok=True)


def expected_bytes(source_bytes: npt.NDArray[np.integer[Any]]) -> int:
    """About how many bytes the shards of source images of these lengths have.

    A photo at quality 95, 4:2:0, has 31 kB on average, and a small one no more than a few times its own length; two
    tar headers, the label and padding come to 2 kB.
    """
    jpeg_bytes = np.minimum(SAMPLE_BYTES, GROWTH * source_bytes.astype(np.float64))
    return int(jpeg_bytes.sum()) + TAR_BYTES * len(source_bytes)


def check_space(out: Path, needed_bytes: int) -> str | None:
    """A warning where `out` may not have room for about `needed_bytes`; RunError where it clearly has not."""
    free_bytes = shutil.disk_usage(out).free
    if free_bytes >= needed_bytes:
        return None
    room = f"{out}: about {needed_bytes / 1e9:.1f} GB are needed, {free_bytes / 1e9:.1f} GB are free"
    if free_bytes < needed_bytes // 2:
        raise RunError(f"{room}; free space or take another --out")
    return f"{room}: the run may stop with a full disk, and goes on when started again"
