"""Sources of webdataset tars: originals of any size with their labels beside them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from alexnet_prep import entries
from alexnet_prep.archive import (
    LOCATION_DTYPE,
    MAX_SIZE,
    TAR_KINDS,
    Extents,
    Members,
    Tick,
    merge_members,
    open_tar,
    passed_over,
    shown_member,
    utf8,
    walk_members,
)
from alexnet_prep.classes import ClassRules, listed_classes
from alexnet_prep.entries import PICTURE_ENDINGS, Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.forward import ArchiveOpener, OpenArchive, is_streamed
from alexnet_prep.labelled import Found, LabelledSource
from alexnet_prep.names import MAX_NAME_BYTES, shortened
from alexnet_prep.rawlabels import LabelColumn
from alexnet_prep.splitfiles import split_files
from alexnet_shards.editions import plain_name
from alexnet_shards.errors import FormatError
from alexnet_shards.labels import LabelPlace
from alexnet_shards.scan import key_and_suffix
from alexnet_shards.splits import listed
from alexnet_shards.tar import TarMember, read_member

SUFFIX = ".tar"
LABEL_SUFFIXES = (".cls", ".json", ".txt")


@dataclass(frozen=True, kw_only=True)
class WebdatasetSource(LabelledSource):
    """The tars of each split; a sample is the members of one folder whose names agree up to the first dot."""

    edition: ClassVar[str] = "webdataset"
    opener: ArchiveOpener | None = None

    def archives(self, split: str) -> tuple[Path, ...]:
        """The split's tars."""
        return self.by_split.of[split]

    def through(self, opener: ArchiveOpener) -> "WebdatasetSource":
        """The same, with tars that `opener` opens."""
        return replace(self, opener=opener)

    def check(self, split: str) -> None:
        """Read the class list, where there is one; where there is none the labels of the first split must be to be had."""
        if self.fields.image or self.fields.label:
            raise SourceError(f"{self.directory}: --columns is for parquet files; say where labels stand with --label")
        if listed_classes(self.directory, self.rules) or self.known or split == self.splits[0]:
            return
        forward = next(filter(is_streamed, self.by_split.of[self.splits[0]]), None)
        if forward is not None:
            raise SourceError(
                f"{forward}: its labels say which classes there are, and it is read forward alone; give the classes with "
                f"--classes, or make {self.splits[0]} too: --split all"
            )

    def found(self, split: str, tick: Tick) -> Found:
        """Headers and labels of a split's tars. Raises SourceError for samples with two images or labels too."""
        place, paths = self.fields.place or LabelPlace(), self.by_split.of[split]
        ledger, labels = Ledger(), LabelColumn()
        parts, beside = [], set[str]()
        for container, path in enumerate(paths):
            with (self.opener or open_tar)(path) as file:
                tar = _Tar(file, place, ledger)
                parts.append(tar.read(container, labels))
                beside |= tar.others
            tick(len(parts[-1].names))
        members, raw = merge_members(parts, ()), labels.labels()
        where = paths[0].parent
        if not len(members.names):
            names = listed(plain_name(path.name) for path in paths)
            raise SourceError(f"{where}: no webdataset sample in {names}; expected KEY.jpg")
        if split != "test" and (raw.values < 0).all():
            there = f"there are {listed(sorted(beside))}" if beside else "there is nothing beside the images"
            raise SourceError(
                f"{where}: no image of {split} has a label in {place}; {there}; say where labels stand with --label cls, "
                "txt or json:FIELD"
            )

        def place_of(row: int) -> str:
            return plain_name(paths[int(members.locations["container"][row])].name).removesuffix(SUFFIX)

        return Found(
            split=split,
            where=where,
            containers=paths,
            members=members,
            labels=raw,
            ledger=ledger,
            place_of=place_of,
        )


def find_webdataset_source(directory: Path, rules: ClassRules | None, fields: Fields) -> WebdatasetSource | None:
    """The tars in `directory`, None where there is none."""
    found = split_files(directory, SUFFIX)
    if not found.splits:
        return None
    return WebdatasetSource(directory=directory, by_split=found, rules=rules or ClassRules(), fields=fields)


class _Tar:
    """One tar whose members are put together to samples; what is no image of one goes to the ledger."""

    def __init__(self, file: OpenArchive, place: LabelPlace, ledger: Ledger) -> None:
        self._file, self._place, self._ledger = file, place, ledger
        self._name = plain_name(file.path.name)
        self._images: dict[str, TarMember] = {}
        self._labels: dict[str, TarMember] = {}
        self._rest: list[tuple[str, str, str]] = []
        self.others: set[str] = set()  # suffixes of members where labels may stand too

    def read(self, container: int, labels: LabelColumn) -> Members:
        """The images of the tar in their order; their labels go to `labels`."""
        for member in walk_members(self._file):
            self._ledger.found()
            self._add(member)
        rows, names, sparse = [], [], dict[tuple[int, int], Extents]()
        for key, image in self._images.items():
            label = self._labels.pop(key, None)
            labels.add(None if label is None else self._label(label))
            name = utf8(image.name)
            names.append(name if len(name) <= MAX_NAME_BYTES else shortened(name.rpartition(b"/")[2]))
            rows.append((container, -1, image.offset, min(image.size, MAX_SIZE)))
            if image.extents:
                sparse[container, image.offset] = image.extents
        for label in self._labels.values():
            self._ledger.ignore(entries.NO_IMAGE, f"{self._name}: {label.name}")
        for key, suffix, other in self._rest:
            dotted = key not in self._images and suffix.rpartition(".")[2] in PICTURE_ENDINGS
            self._ledger.ignore(entries.DOTTED if dotted else entries.FIELD, f"{self._name}: {other}")
        return Members(
            names=np.array(names, np.bytes_) if names else np.empty(0, "S1"),
            locations=np.array(rows, LOCATION_DTYPE),
            sparse=sparse,
        )

    def _add(self, member: TarMember) -> None:
        parts = key_and_suffix(member.name)
        if not member.is_file:
            self._ledger.ignore(TAR_KINDS.get(member.kind, member.kind), shown_member(member, self._file.path))
        elif passed_over(member.name):
            self._ledger.ignore(passed_over(member.name), f"{self._name}: {member.name}")
        elif parts is None:
            self._ledger.ignore(entries.SIDECAR, f"{self._name}: {member.name}")
        elif parts[1][1:] in PICTURE_ENDINGS:
            self._put(self._images, parts[0], member, "images")
        elif parts[1] == self._place.suffix:
            self._put(self._labels, parts[0], member, "labels")
        else:
            if parts[1] in LABEL_SUFFIXES:
                self.others.add(parts[1])
            self._rest.append((parts[0], parts[1], member.name))

    def _put(self, found: dict[str, TarMember], key: str, member: TarMember, what: str) -> None:
        if key in found:
            raise SourceError(
                f"{self._file.path}: sample {key} has two {what}, {found[key].name} and {member.name}; expected one a key: "
                "make the tar again without the other"
            )
        found[key] = member

    def _label(self, member: TarMember) -> int | str | None:
        where = f"{self._file.path}: {member.name}"
        if member.size > self._place.max_bytes:
            raise SourceError(f"{where}: {member.size:,} bytes are too many for a label in {self._place}; see --label")
        self._ledger.ignore(entries.LABEL, member.name)
        try:
            return self._place.read(read_member(self._file.read_at, member), where)
        except FormatError as error:
            raise SourceError(str(error)) from error
        except OSError as error:
            raise SourceError(
                f"{where}: cannot be read ({error.strerror}); check its disk, then start again"
            ) from error
