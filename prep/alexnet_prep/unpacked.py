"""Where the images of an official split lie: in its archive, or in what was unpacked from it, and all of them as members."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from alexnet_prep import entries
from alexnet_prep.archive import (
    Members,
    Tick,
    merge_members,
    passed_over,
    read_class_tar,
    read_directory,
    read_flat_tar,
    read_nested_tar,
    utf8_name,
)
from alexnet_prep.classes import account_beside, below, shown_names
from alexnet_prep.entries import Account, Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.folders import KAGGLE_VAL_LABELS
from alexnet_prep.forward import ArchiveOpener
from alexnet_prep.splitfiles import split_folder
from alexnet_prep.tree import FILE, list_folder, walk_tree
from alexnet_shards.editions import EDITIONS, Edition, plain_name
from alexnet_shards.splits import SPLITS

ARCHIVE, CLASSES, IMAGES, SORTED_IMAGES = "archive", "classes", "images", "sorted images"
WNID = re.compile(r"n\d{8}")
LOOKED_AT = 1000  # files, to tell what a folder holds: it may be another set's, with millions


@dataclass(frozen=True)
class SplitPlace:
    """What holds a split: an ARCHIVE, CLASSES (class tars and class folders, in the order of their names, which all lie in
    `folder`), or a folder of IMAGES, or of SORTED_IMAGES where they are in class folders."""

    split: str
    kind: str
    paths: tuple[Path, ...]
    folder: Path
    is_shared: bool = False  # the folder is the source's own, where its archives and devkit lie too

    @property
    def shown(self) -> Path:
        """What messages call it."""
        return self.folder if self.kind == CLASSES else self.paths[0]

    @property
    def is_of_tars(self) -> bool:
        """Whether it can be walked forward: there is no folder of images in it."""
        return self.kind == ARCHIVE or (self.kind == CLASSES and not any(path.is_dir() for path in self.paths))

    @property
    def names_the_source(self) -> bool:
        """Whether it can be no other source: class folders alone are a folder source."""
        return self.kind in (ARCHIVE, IMAGES) or any(not path.is_dir() for path in self.paths)


def find_place(edition: Edition, directory: Path, split: str) -> SplitPlace | None:
    """Where a split of `edition` lies in `directory`; None where it is not there.

    The archive comes first. Else, where the edition's devkit is there, what `tar -x` makes of it: in a folder called as the
    archive or the split is, or in `directory` itself, the class tars or class folders of the training set; in such a folder
    the numbered images of the others, sorted into class folders or not. Of a class whose tar and folder are there, the tar.
    Raises SourceError for a folder that cannot be read.
    """
    archive = edition.archive(directory, split)
    if archive is not None:
        return SplitPlace(split, ARCHIVE, (archive,), directory)
    if not (directory / edition.devkit).is_file() or (directory / KAGGLE_VAL_LABELS).is_file():
        return None
    for folder in _folders(directory, split, edition.name_of(split)):
        if split == "train":
            if classes := _classes_in(folder, folder == directory):
                return SplitPlace(split, CLASSES, classes, folder, folder == directory)
        elif folder != directory and (kind := _kind_of_images(folder, f"ILSVRC{edition.year}_{split}_")):
            return SplitPlace(split, kind, (folder,), folder)
    return None


def read_place(place: SplitPlace, tick: Tick, opener: ArchiveOpener | None = None) -> Members:
    """The members of a split, `container` counting the place's paths; only headers are read.

    `opener` opens archives where they are not read in place. Raises SourceError for what is missing, damaged or empty.
    """
    if place.kind in (IMAGES, SORTED_IMAGES):
        members = read_directory(place.folder, 0, -1)
        tick(len(members.names))
        return members
    if place.kind == ARCHIVE:
        read = read_nested_tar if place.split == "train" else read_flat_tar
        return read(place.paths[0], 0, tick, opener)
    parts, groups = [], []
    for number, path in enumerate(place.paths):
        is_folder = path.is_dir()
        part = read_directory(path, number, number) if is_folder else read_class_tar(path, number, number, opener)
        parts.append(part)
        groups.append(utf8_name(path) if is_folder else plain_name(utf8_name(path)).removesuffix(".tar"))
        tick(len(part.names))
    if not sum(len(part.names) for part in parts):
        raise SourceError(
            f"{place.folder}: no image in any class; expected what the official archive holds: unpack it again"
        )
    return merge_members(parts, tuple(groups), _beside(place))


def refuse_class_tars(directory: Path) -> None:
    """Raise SourceError for class tars without the devkit, which alone says what they are labelled; those of which the
    folder is there too were unpacked."""
    for folder in _folders(directory, "train"):
        tars = [path.name for path in _classes_in(folder, folder == directory) if not path.is_dir()]
        if any(not (folder / plain_name(name).removesuffix(".tar")).is_dir() for name in tars):
            kits = " or ".join(edition.devkit for edition in EDITIONS.values())
            raise SourceError(
                f"{folder}: holds class tars ({shown_names(tars)}), and no devkit is in {directory}; put {kits} there, or "
                "unpack each into a folder of its name"
            )


def left_out(directory: Path, splits: Sequence[str]) -> list[str]:
    """A line for each split that an official source lacks though a folder is called so."""
    folders = [split_folder(directory, split) for split in SPLITS if split not in splits]
    return [
        f"{folder}: left out: holds neither class tars or folders as n01440764, nor images as ILSVRC2012_val_00000001.JPEG"
        for folder in folders
        if folder.is_dir()
    ]


def _folders(directory: Path, split: str, archive: str = "") -> Iterator[Path]:
    """Where what was unpacked may lie."""
    named = [directory / archive.removesuffix(".tar")] if archive else []
    for folder in (*named, split_folder(directory, split), directory):
        if folder.is_dir():
            yield folder


def _classes_in(folder: Path, is_shared: bool) -> tuple[Path, ...]:
    """The class tars and class folders in a folder, by name; none where no name is a WNID.

    Of a folder that is not shared with other things every folder is one: who reads it knows which are none.
    """
    found: dict[str, Path] = {}
    for entry in list_folder(folder):
        is_folder, name = entry.kind == entries.DIRECTORY, plain_name(entry.path)
        if passed_over(entry.path) or not (is_folder or (entry.kind == FILE and name.endswith(".tar"))):
            continue
        group = entry.path if is_folder else name.removesuffix(".tar")
        if (is_shared or not is_folder) and not WNID.fullmatch(group):
            continue
        if not is_folder or group not in found:
            found[group] = below(folder, entry.path)
    return tuple(path for _, path in sorted(found.items())) if any(map(WNID.fullmatch, found)) else ()


def _kind_of_images(folder: Path, prefix: str) -> str:
    """IMAGES or SORTED_IMAGES, by where the first file lies that is called as those of a validation or test set are; ""
    where none is."""
    files = (entry.path for entry in walk_tree(folder) if entry.kind == FILE)
    for path in islice(files, LOOKED_AT):
        *parents, name = path.split("/")
        if name.startswith(prefix):
            return SORTED_IMAGES if parents and WNID.fullmatch(parents[-1]) else IMAGES
    return ""


def _beside(place: SplitPlace) -> Account:
    """The entries of the folder that classes lie in; of the source's own folder the classes alone."""
    taken = {utf8_name(path): entries.DIRECTORY if path.is_dir() else entries.CLASS_TAR for path in place.paths}
    if not place.is_shared:
        return account_beside(place.folder, taken).account()
    ledger = Ledger()
    for name, kind in taken.items():
        ledger.found()
        ledger.ignore(kind, name)
    return ledger.account()
