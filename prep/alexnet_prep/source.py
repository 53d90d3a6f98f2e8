"""What lies in a source directory: which edition, and which splits of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from alexnet_prep.archive import Tick
from alexnet_prep.classes import ClassRules
from alexnet_prep.devkit import read_devkit, read_ids
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.folders import FolderSource, find_folder_source, unnamed_folders
from alexnet_prep.forward import ArchiveOpener, facts_of, is_address
from alexnet_prep.imagenet import read_official_split
from alexnet_prep.split import SplitSource
from alexnet_prep.splitfiles import missing_splits, names_in, split_files
from alexnet_prep.unpacked import find_place, left_out, refuse_class_tars
from alexnet_prep.webdataset import find_webdataset_source
from alexnet_shards.editions import EDITIONS, in_any_form
from alexnet_shards.splits import SPLITS, listed

OTHERS = {
    "folder": "train/CLASS/*.JPEG",
    "parquet": "train-*.parquet",
    "webdataset": "train-*.tar of KEY.jpg and KEY.cls",
}
PARQUET = ".parquet"


class Source(Protocol):
    """What was found in a directory: `splits` of train, val and test, each read to one table of its images.

    A source `is_cached` where what `files` and `choices` say tells whether a split that was read before is still that.
    """

    @property
    def directory(self) -> Path:
        """Where it lies."""

    @property
    def edition(self) -> str:
        """What it is: `2010`, `2012`, `folder`, …"""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are there."""

    @property
    def is_cached(self) -> bool:
        """Whether a split that was read is kept."""

    @property
    def why_once(self) -> str:
        """Why reading it in place is slow whatever the disk is, "" where it is not."""

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split; no image is read. Raises SourceError for what cannot be used."""

    def after(self, images: SplitSource) -> "Source":
        """The same, which need not look again for what the images of a split that was read say of the others."""

    def files(self) -> tuple[Path, ...]:
        """The files that say what the source is."""

    def choices(self) -> dict[str, Any]:
        """What the user said of the source, as it stands in the manifest: a repair says the same."""


@runtime_checkable
class ArchivedSource(Protocol):
    """A source whose splits lie in tars that can be walked forward, before anybody knows what is in them."""

    def archives(self, split: str) -> tuple[Path, ...]:
        """The tars of a split, in the order in which `SplitSource.containers` will have them."""

    def check(self, split: str) -> None:
        """Raise SourceError for what is wrong beside the tars: they take hours to read."""

    def through(self, opener: ArchiveOpener) -> Self:
        """The same source, which reads its tars by what `opener` opens."""

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """As Source has it."""


@dataclass(frozen=True, kw_only=True)
class OfficialSource:
    """The official archives of one edition: `splits` are those whose archive is there."""

    directory: Path
    edition: str
    splits: tuple[str, ...]
    has_folders: bool = False  # of images, unpacked from an archive
    why_once: str = ""
    opener: ArchiveOpener | None = None

    @property
    def is_cached(self) -> bool:
        """Unless there are folders, which are read as fast as they are compared."""
        return not self.has_folders

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split; `label_order` None takes the devkit's, the original's."""
        edition = EDITIONS[self.edition]
        return read_official_split(edition, self.directory, split, label_order or "devkit", tick, self.opener)

    def after(self, images: SplitSource) -> "OfficialSource":
        """The same: the devkit says it all."""
        return self

    def archives(self, split: str) -> tuple[Path, ...]:
        """The split's tars, and the patches; none where it has a folder of images, which has to be listed."""
        edition = EDITIONS[self.edition]
        place, patch = find_place(edition, self.directory, split), edition.patch_archive(self.directory)
        return (*place.paths, *filter(None, [patch])) if place is not None and place.is_of_tars else ()

    def check(self, split: str) -> None:
        """Read the devkit and the ground truth."""
        edition = EDITIONS[self.edition]
        devkit, truth = read_devkit(self.directory / edition.devkit, edition.year), self.directory / edition.test_truth
        if split == "test" and edition.test_truth and truth.is_file():
            read_ids(truth, len(devkit.classes))

    def through(self, opener: ArchiveOpener) -> "OfficialSource":
        """The same, with archives that `opener` opens."""
        return replace(self, opener=opener)

    def files(self) -> tuple[Path, ...]:
        """Every file the source is made of."""
        edition = EDITIONS[self.edition]
        places = (find_place(edition, self.directory, split) for split in SPLITS)
        names = (edition.devkit, edition.patch, edition.test_truth)
        found = (in_any_form(self.directory / name) for name in names if name)
        return (
            *(path for place in places if place is not None for path in place.paths),
            *(path for path in found if path is not None),
        )

    def choices(self) -> dict[str, Any]:
        """Nothing: the devkit says it all."""
        return {}


def find_source(directory: Path, edition: str, rules: ClassRules | None = None, fields: Fields | None = None) -> Source:
    """Recognise the source in `directory`; `edition` "auto" takes what is there. `rules` and `fields` are for others than
    the official archives.

    Raises SourceError where there is nothing, or archives of two editions and no choice between them.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory}: no such directory; expected the folder with the official archives")
    _check_readable(directory)
    names = [name for name in EDITIONS if edition in ("auto", name)]
    found: list[Source] = [source for name in names if (source := _find_official(directory, name)) is not None]
    if len(found) > 1:
        raise SourceError(f"{directory}: holds archives of 2010 and of 2012; choose one with --edition")
    if not found:
        if edition in ("auto", *EDITIONS):
            refuse_class_tars(directory)
        other = _find_other(directory, edition, rules, fields or Fields())
        found = [other] if other is not None else []
    if not found:
        looked_for = [EDITIONS[name].train for name in names]
        looked_for += [files for name, files in OTHERS.items() if edition in ("auto", name)]
        expected = " or ".join(looked_for)
        raise SourceError(
            f"{directory}: no ImageNet source found; expected {expected} there (or the same of val or test); there lie "
            f"{listed(names_in(directory)) or 'no files'}"
        )
    if rules is not None and rules.listed and rules.list_name == "--classes" and isinstance(found[0], OfficialSource):
        raise SourceError(f"{directory}: the devkit says what the classes of the archives are; leave --classes out")
    return found[0]


def _find_official(directory: Path, edition: str) -> OfficialSource | None:
    """The official splits of an edition, as archives or unpacked; None where class folders are all there is."""
    places = [place for split in SPLITS if (place := find_place(EDITIONS[edition], directory, split)) is not None]
    if not any(place.names_the_source for place in places):
        return None
    return OfficialSource(
        directory=directory,
        edition=edition,
        splits=tuple(place.split for place in places),
        has_folders=not all(place.is_of_tars for place in places),
    )


def _find_other(directory: Path, edition: str, rules: ClassRules | None, fields: Fields) -> Source | None:
    """What is no official archive: class folders, else parquet files, else webdataset tars."""
    if edition in ("auto", "folder", *EDITIONS):
        folder = find_folder_source(directory, SPLITS, rules)
        if folder is not None and edition in ("auto", "folder", folder.edition):  # Kaggle's copy is of 2012
            return folder
    if edition in ("auto", "parquet") and split_files(directory, PARQUET).splits:
        from alexnet_prep.parquet import find_parquet_source  # an optional library

        return find_parquet_source(directory, rules, fields)
    return find_webdataset_source(directory, rules, fields) if edition in ("auto", "webdataset") else None


def missing_lines(source: Source, directory: Path) -> list[str]:
    """What to say of splits that were not found in `directory`."""
    if source.edition not in OTHERS:
        return left_out(directory, source.splits)
    lines = [missing_splits(directory, source.splits)]
    if isinstance(source, FolderSource) and not lines[0]:  # else they are named there
        lines = [f"{folder}: left out: its name is no split's" for folder in unnamed_folders(directory)]
    return [line for line in lines if line]


def _check_readable(directory: Path) -> None:
    try:
        next(directory.iterdir(), None)
    except OSError as error:
        raise SourceError(f"{directory}: cannot be read ({error.strerror}); check its permissions") from error


def stamps(source: Source) -> dict[str, list[int | str]]:
    """[size in bytes (0: a directory), mtime in ns] of all that the source is made of, by path below its directory; of a
    file that is elsewhere also what its server says of it now, unless the file with its address does."""
    files = source.files()
    elsewhere = [path for path in files if is_address(path) and "\n#" not in path.read_text("utf-8", "replace")]
    states = dict(zip(elsewhere, facts_of(elsewhere), strict=True))
    found = dict[str, list[int | str]]()
    for path in files:
        stat, state = path.stat(), states[path].state if path in states else ()
        size = stat.st_size if path.is_file() else 0
        found[path.relative_to(source.directory).as_posix()] = [size, stat.st_mtime_ns, *state]
    return found
