"""The five ways to name shards: a folder, a glob, {000..999}, <000..999>, and many paths."""

import glob
import math
import os
import re
import stat
from collections.abc import Sequence

from alexnet_shards.errors import PatternError
from alexnet_shards.folder import folder_shards, missing_line

Patterns = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

# One numeric range in braces or in angle brackets, as the shell writes it.
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|<(\d+)\.\.(\d+)>")
SIGNS = re.compile(r"[{}<>*?\[]")
MAX_SHARDS = 1_000_000
MAX_DIGITS = 18


def listed_patterns(patterns: Patterns) -> list[str]:
    """Patterns as texts; one alone need not stand in a list, and a Path is a pattern too."""
    if isinstance(patterns, str | os.PathLike):
        return [os.fspath(patterns)]
    return [os.fspath(pattern) for pattern in patterns]


def expand_patterns(patterns: Patterns, split: str | None = None) -> tuple[str, ...]:
    """Expand shard patterns to existing paths, in the order given and ascending within a pattern.

    Each pattern is a path, a glob, a path with numeric ranges, `train-{000..999}.tar` or `train-<000..999>.tar`, or a
    folder: all its shards of `split`, where that is None of the one split that it holds, "all" of each. A folder that is
    there by the name of a pattern's is meant whatever signs it has; `~` is the user's home. Raises PatternError where a
    pattern is malformed, names a missing file, or names a file twice, by two spellings or links perhaps.
    """
    patterns = listed_patterns(patterns)
    paths = [path for pattern in patterns for path in _expand_one(pattern, split)]
    if not paths:
        raise PatternError(
            "no shards: the pattern is empty; expected a path, a glob or a range like train-{000..999}.tar"
        )
    path_of: dict[object, str] = {}
    missing = []
    for path in paths:
        place = _place(path)
        if place is None:
            missing.append(path)
        elif place in path_of:
            other = path_of[place]
            words = "named twice by the shard pattern" if other == path else f"the same file as {other}"
            raise PatternError(f"{path}: {words}; every shard may be named once")
        else:
            path_of[place] = path
    if missing:
        raise PatternError(missing_line(paths, missing, patterns))
    return tuple(paths)


def _place(path: str) -> tuple[int, int] | None:
    """What two spellings of one file have in common, None where there is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116  a thousand Path objects take as long as the rest of the opening
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def is_folder(pattern: str) -> bool:
    """Whether a pattern is the name of a folder here."""
    return not pattern.endswith(".tar") and os.path.isdir(pattern)  # noqa: PTH112  as above


def _expand_one(pattern: str, split: str | None) -> list[str]:
    if pattern.startswith("~") and not os.path.lexists(pattern.partition("/")[0]):
        pattern = os.path.expanduser(pattern)  # noqa: PTH111  the shell does not, in the quotes that a pattern needs
    if is_folder(pattern):
        return folder_shards(pattern, split)
    folder, slash, name = pattern.rpartition("/")
    if SIGNS.search(folder) is None or not os.path.isdir(folder):  # noqa: PTH112
        folder, slash, name = "", "", pattern
    return [path for one in expand_ranges(name) for path in _expand_name(folder + slash, one, split)]


def _expand_name(folder: str, name: str, split: str | None) -> list[str]:
    """Paths of a `name` without ranges in a `folder`, which is no pattern and ends in its slash."""
    pattern = folder + name
    if is_folder(pattern):
        return folder_shards(pattern, split)
    if not glob.has_magic(name) or _place(pattern) is not None:
        return [pattern]
    matches = sorted(glob.glob(glob.escape(folder) + name))
    if not matches:
        raise PatternError(
            f"{pattern!r}: no file matches this glob; check the directory, or make shards with alexnet-prep shards"
        )
    return matches


def expand_ranges(pattern: str) -> list[str]:
    """Expand the numeric ranges of a pattern alone, without a look at any file; raises PatternError as above."""
    if "\0" in pattern:
        raise PatternError(f"{pattern!r}: no path has a null character; correct the pattern")
    ranges = [_numbers(match, pattern) for match in RANGE.finditer(pattern)]
    if math.prod(len(numbers) for numbers, _ in ranges) > MAX_SHARDS:
        raise PatternError(f"{pattern!r}: the ranges name over {MAX_SHARDS:,} shards; expected fewer")
    texts = RANGE.sub("\0", pattern).split("\0")
    if any(re.search(r"[{}<>]", text) for text in texts):
        raise PatternError(f"{pattern!r}: unreadable shard pattern; expected a range like {{000..999}} or <000..999>")
    names = [texts[0]]
    for (numbers, digits), text in zip(ranges, texts[1:], strict=True):
        names = [f"{name}{number:0{digits}d}{text}" for name in names for number in numbers]
    return names


def _numbers(match: re.Match[str], pattern: str) -> tuple[range, int]:
    """(numbers of a range, digits of each); as in bash, one leading zero pads them all to the longer of the two."""
    first, last = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    if max(len(first), len(last)) > MAX_DIGITS or int(last) - int(first) >= MAX_SHARDS:
        raise PatternError(f"{pattern!r}: the range names over {MAX_SHARDS:,} shards; expected fewer")
    if int(last) < int(first):
        raise PatternError(f"{pattern!r}: the range runs backwards; expected {last}..{first}")
    padded = any(len(digits) > 1 and digits[0] == "0" for digits in (first, last))
    return range(int(first), int(last) + 1), max(len(first), len(last)) if padded else 1
