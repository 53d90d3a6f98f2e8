"""Which files of a folder are of which split, by what they are called."""

import os
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_prep.errors import SourceError
from alexnet_shards.editions import EDITIONS, plain_name
from alexnet_shards.splits import SPELLINGS, SPLITS, listed, spellings_of, split_in

DEVKITS = tuple(edition.devkit for edition in EDITIONS.values())
NUMBERED = re.compile(r"(.*?)(\d+)-of-(\d+)(?:-[0-9a-f]{16})?\.\w+")  # the digits behind are of Hugging Face's uploads
MOST_NUMBERS = 100_000
DATA_FOLDER = "data"  # where Hugging Face's repositories have them


@dataclass(frozen=True)
class SplitFiles:
    """The files of each split that has some, sorted by path, and the names of those that are of none. `absent` names, by
    split, the files that are not there of sets whose names say how many there are."""

    of: dict[str, tuple[Path, ...]]
    strangers: tuple[str, ...] = ()
    absent: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are there."""
        return tuple(split for split in SPLITS if split in self.of)


def split_files(directory: Path, suffix: str) -> SplitFiles:
    """The files with `suffix`, compressed tars and addresses of such files too, in `directory`, in its folder `data`, and in
    folders there that are called as a split is.

    A file is of the split whose name stands in its own name (train, val or validation, test), else of its folder's; where no
    name says any, all are of train. Raises SourceError where validation is there in both spellings, a set in two editions,
    and for a link that leads nowhere: as many images as a file has would be missing.
    """
    found: dict[str, list[Path]] = {}
    strangers: list[Path] = []
    for folder in (directory, directory / DATA_FOLDER):
        for path in _files(folder, suffix):
            split = split_in(path.name)
            (found.setdefault(split, []) if split else strangers).append(path)
        for spelling, split in SPELLINGS.items():
            inside = _files(folder / spelling, suffix)
            if inside:
                found.setdefault(split, []).extend(inside)
    if strangers and not found:
        found, strangers = {"train": strangers}, []
    _refuse_two_spellings(found.get("val", []))
    of = {split: tuple(sorted(paths, key=_plain)) for split, paths in found.items()}
    absent = {split: _absent(paths) for split, paths in of.items()}
    return SplitFiles(of, tuple(path.name for path in strangers), absent)


def split_folder(images: Path, split: str) -> Path:
    """The folder of a split below `images`, in whichever spelling it is there.

    Raises SourceError where it is there in two.
    """
    there = [images / name for name in spellings_of(split) if (images / name).is_dir()]
    if len(there) > 1:
        raise SourceError(f"{there[0]}: {there[1].name}/ lies beside it; expected one folder of the {split} split")
    return there[0] if there else images / split


def missing_splits(directory: Path, splits: Sequence[str]) -> str:
    """What to say of a source without a validation split: what was looked for, and what else lies there; "" with one."""
    if "val" in splits or "train" not in splits:
        return ""
    others = [name for name in names_in(directory) if not split_in(name)]
    lies = f"; there also lie {listed(others)}" if others else ""
    return f"{directory}: no validation split, by the names {' and '.join(spellings_of('val'))}{lies}"


def names_in(directory: Path) -> list[str]:
    """What lies in a directory, sorted, folders with a slash; what begins with a dot or `_` is no part of a source."""
    return sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(directory) if entry.name[0] not in "._")


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        entries = list(os.scandir(folder))
        names = sorted(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    dead = {entry.name for entry in entries if entry.is_symlink() and not os.path.exists(entry)}  # noqa: PTH110
    found: dict[str, str] = {}
    for name in sorted([*names, *dead], key=lambda name: (len(name), name)):  # of several forms the plain one
        plain = plain_name(name)
        if plain.lower().endswith(suffix) and name[0] not in "._" and name not in DEVKITS:
            found.setdefault(plain, name)
    lost = next((name for name in found.values() if name in dead), None)
    if lost is not None:
        raise SourceError(f"{folder / lost}: is a link that leads nowhere; fetch what it leads to, or remove it")
    return [folder / name for _, name in sorted(found.items())]


def _absent(paths: Sequence[Path]) -> tuple[str, ...]:
    """Names of the files that are not there of sets as `train-00000-of-00294.parquet`.

    Raises SourceError where a number is there twice, or of several totals, as where a newer edition of a set was fetched
    into the folder of the one before: its images would be there twice.
    """
    sets: dict[tuple[Path, str], dict[int, tuple[Path, re.Match[str]]]] = {}
    for path in paths:
        match = NUMBERED.fullmatch(plain_name(path.name))
        if match is None:
            continue
        numbers = sets.setdefault((path.parent, match[1]), {})
        other = numbers.get(int(match[2])) or next((each for each in numbers.values() if each[1][3] != match[3]), None)
        if other is not None:
            raise SourceError(
                f"{other[0]}: {path.name} lies beside it, a file of another edition of the set; expected one edition: move "
                "the older one away"
            )
        numbers[int(match[2])] = (path, match)
    return tuple(
        f"{prefix}{number:0{len(match[2])}d}-of-{match[3]}{Path(plain_name(path.name)).suffix}"
        for (_, prefix), numbers in sets.items()
        for path, match in [next(iter(numbers.values()))]
        for number in _numbers(min(int(match[3]), MOST_NUMBERS), numbers)
        if number not in numbers
    )


def _numbers(total: int, there: Container[int]) -> range:
    """From 0 on, or from 1 where the last has the number of all."""
    return range(1, total + 1) if total in there else range(total)


def _plain(path: Path) -> Path:
    return path.with_name(plain_name(path.name))


def _refuse_two_spellings(paths: Sequence[Path]) -> None:
    first = {_spelling(path): path for path in reversed(paths)}
    if len(first) > 1:
        one, other = list(first.values())[:2]
        raise SourceError(f"{one}: {other.name} there is of the val split too; expected one spelling, remove the other")


def _spelling(path: Path) -> str:
    words: Iterator[str] = (
        word for part in (path.name, path.parent.name) for word in re.findall("[a-z]+", part.lower())
    )
    return next((word for word in words if word in SPELLINGS), "")
