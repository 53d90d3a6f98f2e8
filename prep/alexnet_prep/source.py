"""What lies in a source directory: which edition, and which splits of it."""

from dataclasses import dataclass
from pathlib import Path

from alexnet_prep.archive import Tick
from alexnet_prep.errors import SourceError
from alexnet_prep.imagenet import EDITIONS, read_official_split
from alexnet_prep.split import SplitSource

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source directory that was recognised: `edition` and the splits that are there."""

    directory: Path
    edition: str
    splits: tuple[str, ...]

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split; `label_order` None takes the edition's own ("devkit" for the official archives)."""
        return read_official_split(EDITIONS[self.edition], self.directory, split, label_order or "devkit", tick)

    def stamps(self) -> dict[str, list[int]]:
        """[size in bytes, mtime in ns] of every file the source is made of, by name."""
        edition = EDITIONS[self.edition]
        names = (edition.train, edition.val, *edition.tests, edition.devkit, edition.patch, edition.test_truth)
        paths = [self.directory / name for name in names if name and (self.directory / name).is_file()]
        return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}


def find_source(directory: Path, edition: str) -> Source:
    """Recognise the source in `directory`; `edition` "auto" takes what is there.

    Raises SourceError where there is nothing, or archives of two editions and no choice between them.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory}: no such directory; expected the folder with the official archives")
    found = [
        Source(directory=directory, edition=name, splits=splits)
        for name, official in EDITIONS.items()
        if edition in ("auto", name)
        and (splits := tuple(split for split in SPLITS if official.archive(directory, split) is not None))
    ]
    if len(found) > 1:
        raise SourceError(f"{directory}: holds archives of 2010 and of 2012; choose one with --edition")
    if not found:
        expected = ", ".join(official.train for name, official in EDITIONS.items() if edition in ("auto", name))
        raise SourceError(f"{directory}: no ImageNet archive found; expected {expected} (or its val or test archive)")
    return found[0]
