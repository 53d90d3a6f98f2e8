"""The official archives of ILSVRC-2010 and ILSVRC-2012: which files there are, and what their members are labelled."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_prep import entries
from alexnet_prep.archive import Members, Tick, read_flat_tar
from alexnet_prep.classes import shown_names
from alexnet_prep.devkit import Devkit, read_devkit, read_ids
from alexnet_prep.entries import Account, Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.forward import ArchiveOpener
from alexnet_prep.split import Labels, SplitSource, apply_patches, relabel, sort_members
from alexnet_prep.unpacked import WNID, find_place, read_place
from alexnet_shards.editions import Edition, plain_name
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact

TRAIN_NAME = re.compile(rb"(n\d{8})_.+")
SHOWN_COUNTS = 20
NUMBERED_NAME = re.compile(rb"(ILSVRC\d{4}_(?:val|test)_)(\d{8})\.\w+")


def read_official_split(
    edition: Edition, directory: Path, split: str, label_order: str, tick: Tick, opener: ArchiveOpener | None = None
) -> SplitSource:
    """Index one split of the official archives in `directory`, patches applied; only headers are read, in place unless
    `opener` opens them otherwise.

    `label_order` is "devkit" (label = ID - 1, the original's) or "wnid" (place among the sorted WNIDs). Raises
    SourceError where an archive is missing, damaged, or does not fit the devkit.
    """
    place = find_place(edition, directory, split)
    if place is None:
        raise SourceError(f"{directory}: no {edition.name_of(split)}; expected the archive of the {split} split there")
    devkit = read_devkit(directory / edition.devkit, edition.year)
    notes: list[str] = []
    truth, prefix = None, f"ILSVRC{edition.year}_{split}_"
    members = read_place(place, tick, opener)
    if split == "train":
        official = _train_labels(place.shown, members, devkit)
    else:
        truth = _truth(edition, directory, split, devkit, notes)
        official = _numbered_labels(place.shown, members, truth, prefix)
        _refuse_other_folders(place.shown, members, official, devkit)
    members, official, keys = sort_members(members, official, None, str(place.shown))
    members, patched, patches = _patch(edition, (directory, len(place.paths)), split, members, notes, opener)
    classes = [ClassFact(wnid=c.wnid, words=c.words, official_id=c.official_id) for c in devkit.classes]
    labels, ordered = relabel(official, classes, label_order)
    promised = {c.wnid: c.num_train_images for c in devkit.classes}
    found = SplitSource(
        split=split,
        edition=edition.year,
        label_order=label_order,
        classes=ordered,
        containers=(*place.paths, *patches),
        names=members.names,
        keys=keys,
        locations=members.locations,
        labels=labels,
        patched=patched,
        expected_counts=tuple(promised[fact.wnid] for fact in ordered) if split == "train" else (),
        account=members.account,
        sparse=members.sparse,
    )
    missing, lines = _missing_classes(found) if truth is None else _missing_numbers(found, truth, prefix)
    lines = [*lines, *notes, *members.account.lines(split)]
    return replace(found, missing=missing + members.account.lost(), notes=tuple(lines))


def _missing_classes(found: SplitSource) -> tuple[int, list[str]]:
    """(training images that the devkit promises and the archive lacks, lines that name the classes off count)."""
    differences = found.count_differences()
    absent = [each.wnid for each in differences if not each.found]
    off = [f"{each.wnid} {each.found:,} of {each.expected:,}" for each in differences if each.found]
    lines = []
    if absent:
        of_all = f"{len(absent):,} of the devkit's {len(found.classes):,} classes"
        lines.append(f"{found.split}: no image of {of_all}: {shown_names(absent)}")
    if off:
        verb = "classes have not the devkit's number of images" if len(off) > 1 else "class has not"
        lines.append(f"{found.split}: {len(off):,} {verb}: {shown_names(off, SHOWN_COUNTS)}")
    return sum(max(0, each.expected - each.found) for each in differences), lines


def _number(name: bytes, prefix: str) -> int:
    """The number of an image of the validation or test set, 0 of what is called otherwise: of another year, say."""
    match = NUMBERED_NAME.fullmatch(name.rpartition(b"/")[2])
    return int(match[2]) if match is not None and match[1] == prefix.encode() else 0


def _missing_numbers(found: SplitSource, truth: Labels, prefix: str) -> tuple[int, list[str]]:
    """(images that the ground truth lists and the archive lacks, a line that names them)."""
    there = {_number(bytes(name), prefix) for name in found.names}
    missing = [f"{number:08d}" for number in range(1, len(truth) + 1) if number not in there]
    if not missing:
        return 0, []
    line = f"{found.split}: {len(there):,} of the {len(truth):,} images that the ground truth lists are there"
    return len(missing), [f"{line}; missing are {shown_names(missing)}"]


def _train_labels(archive: Path, members: Members, devkit: Devkit) -> Labels:
    """0-based devkit labels by class tar; every file's own WNID must agree with the tar it lies in."""
    label_of = {c.wnid: c.official_id - 1 for c in devkit.classes}
    strangers = [group for group in members.groups if group not in label_of]
    if strangers:
        raise SourceError(
            f"{archive}: holds {strangers[0]}, a class the devkit does not know ({len(strangers)} of "
            f"{len(members.groups)} are); expected the devkit and the archive of one edition"
        )
    for name, group in zip(members.names, members.locations["group"], strict=True):
        match = TRAIN_NAME.fullmatch(name.rpartition(b"/")[2])
        if match is not None and match[1].decode() != members.groups[group]:
            raise SourceError(
                f"{archive}: {members.groups[group]} holds {name.decode('utf-8', 'surrogateescape')}, an image of "
                "another class; its label is in doubt: fetch the archive again"
            )
    by_group = np.array([label_of[group] for group in members.groups], np.int32)
    labels: Labels = by_group[members.locations["group"]]
    return labels


def _truth(edition: Edition, directory: Path, split: str, devkit: Devkit, notes: list[str]) -> Labels | None:
    """(K,) int32 1-based IDs of images 1..K of the val or test split; None without labels."""
    if split == "val":
        return devkit.val_ids
    truth = directory / edition.test_truth
    if edition.test_truth and truth.is_file():
        return read_ids(truth, len(devkit.classes))
    notes.append(f"{split}: written without labels: {edition.test_truth or 'their ground truth is private'}")
    return None


def _numbered_labels(archive: Path, members: Members, truth: Labels | None, prefix: str) -> Labels:
    """0-based devkit labels by the number in each name: the archive's order is not the names' order."""
    if truth is None:
        return np.full(len(members.names), NO_LABEL, np.int32)
    numbers = np.empty(len(members.names), np.int64)
    for row, name in enumerate(members.names):
        number = _number(bytes(name), prefix)
        if not 1 <= number <= len(truth):
            raise SourceError(
                f"{archive}: {name.decode('utf-8', 'surrogateescape')} has no ground truth; expected names as "
                f"{prefix}00000001.JPEG, of 1..{len(truth)}, and the devkit of the same edition"
            )
        numbers[row] = number
    labels: Labels = truth[numbers - 1] - np.int32(1)
    return labels


def _refuse_other_folders(place: Path, members: Members, official: Labels, devkit: Devkit) -> None:
    """Raise SourceError for an image that was sorted into the folder of another class than the ground truth says."""
    for name, label in zip(members.names, official, strict=True):
        folder = bytes(name).rpartition(b"/")[0].rpartition(b"/")[2].decode("utf-8", "surrogateescape")
        if label != NO_LABEL and WNID.fullmatch(folder) and folder != (wnid := devkit.classes[label].wnid):
            raise SourceError(
                f"{place}: {name.decode('utf-8', 'surrogateescape')} is of {wnid} by the devkit; its label is in doubt: "
                "unpack the archive again"
            )


def _patch(
    edition: Edition,
    place: tuple[Path, int],
    split: str,
    members: Members,
    notes: list[str],
    opener: ArchiveOpener | None,
) -> tuple[Members, npt.NDArray[np.bool_], tuple[Path, ...]]:
    """Members with the split's patches in place of what they replace, which were patched, and the patch archive.

    `place` is where that archive is looked for, and the number that it has among the containers.
    """
    directory, container = place
    archive = edition.patch_archive(directory)
    if archive is None:
        if edition.patch:
            notes.append(f"{edition.patch}: not there; images that the organisers replaced keep their first form")
        return members, np.zeros(len(members.names), np.bool_), ()
    patches = read_flat_tar(archive, container, lambda _: None, opener)
    replaced, patched, unused = apply_patches(members, patches)
    here = [name for name in unused if _split_of(name) == split]
    notes += [f"{plain_name(archive.name)}: {name} patches no image of {split}" for name in here]
    ledger = Ledger()
    for kind, names in ((entries.REPLACED, patched.nonzero()[0]), (entries.NO_PATCH, here)):
        for name in names:
            ledger.found()
            ledger.ignore(kind, str(name))
    beside = patches.account.ignored_alone() if split == "train" else Account()  # of no split: counted once
    account = members.account + ledger.account() + beside
    return replace(replaced, account=account), patched, (archive,)


def _split_of(name: str) -> str:
    return "val" if "_val_" in name else "test" if "_test_" in name else "train"
