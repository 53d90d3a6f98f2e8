"""The four ways to name shards: {000..999}, <000..999>, a glob, and many paths."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from alexnet_shards.errors import PatternError

# One numeric range in braces or in angle brackets, as the shell writes it: the width of the first number counts.
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|<(\d+)\.\.(\d+)>")
MAX_SHARDS = 1_000_000


def expand_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Expand shard patterns to existing paths, in the order given and ascending within a pattern.

    Each pattern is a path, a glob, or a path with numeric ranges: `train-{000..999}.tar` or `train-<000..999>.tar`.
    Raises PatternError where a pattern is malformed, names a missing file, or names a file twice.
    """
    paths = [path for pattern in patterns for path in _expand_one(pattern)]
    if not paths:
        raise PatternError(
            "no shards: the pattern is empty; expected a path, a glob or a range like train-{000..999}.tar"
        )
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise PatternError(
            f"{missing[0]}: no such shard ({len(missing)} of {len(paths)} of {' '.join(patterns[:3])!r} missing); "
            "make them with alexnet-prep shards, or correct the pattern"
        )
    if len(set(paths)) != len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise PatternError(f"{twice}: named twice by the shard pattern; every shard may be named once")
    return tuple(paths)


def _expand_one(pattern: str) -> list[str]:
    return [path for name in expand_ranges(pattern) for path in _expand_glob(name)]


def _expand_glob(pattern: str) -> list[str]:
    if not glob.has_magic(pattern) or Path(pattern).is_file():
        return [pattern]
    matches = sorted(glob.glob(pattern))
    if not matches:
        raise PatternError(
            f"{pattern!r}: no file matches this glob; check the directory, or make shards with alexnet-prep shards"
        )
    return matches


def expand_ranges(pattern: str) -> list[str]:
    """Expand the numeric ranges of a pattern alone, without a look at any file; raises PatternError as above."""
    match = RANGE.search(pattern)
    if match is None:
        if re.search(r"[{}<>]", pattern):
            raise PatternError(
                f"{pattern!r}: unreadable shard pattern; expected a range like {{000..999}} or <000..999>"
            )
        return [pattern]
    first, last = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    if int(last) < int(first):
        raise PatternError(f"{pattern!r}: the range runs backwards; expected {last}..{first}")
    if int(last) - int(first) >= MAX_SHARDS:
        raise PatternError(f"{pattern!r}: the range names over {MAX_SHARDS:,} shards; expected fewer")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
    return [path for number in numbers for path in expand_ranges(f"{head}{number}{tail}")]
