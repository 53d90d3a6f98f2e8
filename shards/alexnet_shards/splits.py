"""The splits that there are and how people spell them in names of files and folders."""

import re
from collections.abc import Iterable

SPLITS = ("train", "val", "test")
ALL_SPLITS = "all"  # in the place of one: whichever there are
SPELLINGS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


def split_in(name: str) -> str:
    """The split that a file's or folder's name says, "" where it says none or two.

    `imagenet1k-validation-00.tar`, `val_000.tar` and `VAL` are of val; a word counts, `trainer.tar` is of none.
    """
    found = {SPELLINGS[word] for word in re.findall("[a-z]+", name.lower()) if word in SPELLINGS}
    return found.pop() if len(found) == 1 else ""


def spellings_of(split: str) -> tuple[str, ...]:
    """All spellings of a split, the usual one first."""
    return tuple(word for word, meant in SPELLINGS.items() if meant == split)


def counterparts(name: str, split: str) -> tuple[str, ...]:
    """What the set of `split` beside the training set `name` may be called, the likeliest first.

    Beside `train` they are `val` and `validation`, beside `imagenet1k-train` `imagenet1k-val` and so on.
    """
    words = spellings_of(split)
    pattern = r"(?<![A-Za-z])train(?![A-Za-z])"
    return tuple(re.sub(pattern, word, name) for word in words) if re.search(pattern, name) else words


def listed(names: Iterable[str], shown: int = 5) -> str:
    """A few of some names, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - shown:,} more" if len(found) > shown else ""
    return ", ".join(found[:shown]) + more
