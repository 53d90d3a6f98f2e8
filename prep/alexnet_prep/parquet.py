"""Sources of parquet files with an image and a label column, as Hugging Face's data sets are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_prep.archive import LOCATION_DTYPE, MAX_SIZE, Members, Tick
from alexnet_prep.classes import ClassList, ClassRules, class_list_files, listed_classes
from alexnet_prep.entries import Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.labelled import (
    Found,
    LabelColumn,
    RawLabels,
    classes_of,
    labelled_split,
    listed_names,
    refuse_devkit_order,
)
from alexnet_prep.names import MAX_NAME_BYTES, shortened
from alexnet_prep.parquetfile import INDEX_ROWS, Columns, ParquetFile, find_columns, worded
from alexnet_prep.split import SplitSource
from alexnet_prep.splitfiles import SplitFiles, split_files
from alexnet_shards.splits import listed

SUFFIX = ".parquet"


@dataclass(frozen=True, kw_only=True)
class ParquetSource:
    """The parquet files of each split."""

    directory: Path
    by_split: SplitFiles
    rules: ClassRules
    fields: Fields
    edition: str = "parquet"
    is_cached: bool = True
    why_once: str = "parquet is decoded by row group"
    # The labels of a split that was read: those of the training split make the class list where there is no other.
    _read: dict[str, RawLabels] = field(default_factory=dict, compare=False, repr=False)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have files."""
        return self.by_split.splits

    def files(self) -> tuple[Path, ...]:
        """Every file of every split, and those that list classes."""
        files = (path for split in self.splits for path in self.by_split.of[split])
        return (*files, *class_list_files(self.directory))

    def choices(self) -> dict[str, Any]:
        """The columns, where the user named them."""
        return self.fields.choices()

    def read(self, split: str, label_order: str | None, tick: Tick) -> SplitSource:
        """Index one split: paths and labels are read, images are not.

        Raises SourceError for damaged files, missing columns, and labels that are no class.
        """
        refuse_devkit_order(self.directory, label_order)
        if self.fields.place is not None:
            raise SourceError(f"{self.directory}: --label is for webdataset tars; name columns with --columns")
        paths = self.by_split.of[split]
        columns = [self._columns(path, split) for path in paths]
        found = self._rows(split, paths, columns, tick)
        self._read[split] = found.labels
        image = columns[0].image
        if any(each.image != image for each in columns):
            raise SourceError(
                f"{paths[0]}: images in {image}, in other files elsewhere; name it with --columns image=COLUMN"
            )
        return labelled_split(found, self._classes(tick), self.edition, image)

    def _columns(self, path: Path, split: str) -> Columns:
        with ParquetFile(path) as file:
            columns = find_columns(file, self.fields)
            if not columns.label and split != "test":
                there = listed(f"{each.name} ({str(each.type)[:40]})" for each in file.schema)
                raise SourceError(
                    f"{path}: no column of labels; there are {there}; name it with --columns label=COLUMN"
                )
        return columns

    def _classes(self, tick: Tick) -> ClassList:
        """The listed classes, else those of the schema, else those that the labels of the training split make."""
        there = listed_classes(self.directory, self.rules)
        if there is not None:
            return there
        first = self.splits[0]
        paths = self.by_split.of[first]
        columns = [self._columns(path, first) for path in paths]
        names = columns[0].class_names
        for path, other in zip(paths, columns, strict=True):
            if other.class_names != names:
                raise SourceError(f"{path}: other class names in its schema than {paths[0].name}; give --classes")
        if names:
            return listed_names(names, paths[0])
        if first not in self._read:
            self._read[first] = self._rows(first, paths, columns, tick).labels
        return classes_of(self._read[first], paths[0])

    def _rows(self, split: str, paths: Sequence[Path], columns: Sequence[Columns], tick: Tick) -> Found:
        ledger, labels, names, rows = Ledger(), LabelColumn(), list[bytes](), list[np.ndarray[Any, Any]]()
        for container, (path, chosen) in enumerate(zip(paths, columns, strict=True)):
            with ParquetFile(path) as file:
                first = len(names)
                rows.append(_locations(file, container))
                _read_names(file, chosen, names, labels)
                if len(names) - first != len(rows[-1]):
                    raise SourceError(
                        f"{path}: {len(names) - first:,} rows, {len(rows[-1]):,} by its footer; fetch it again"
                    )
                tick(len(rows[-1]))
        locations = np.concatenate([np.empty(0, LOCATION_DTYPE), *rows])
        for _ in names:
            ledger.found()
        members = Members(names=np.array(names, np.bytes_) if names else np.empty(0, "S1"), locations=locations)

        def place_of(row: int) -> str:
            return _row_name(paths[int(locations["container"][row])], int(locations["offset"][row]))

        return Found(
            split=split,
            where=paths[0].parent,
            containers=tuple(paths),
            members=members,
            labels=labels.labels(),
            ledger=ledger,
            place_of=place_of,
        )


def find_parquet_source(directory: Path, rules: ClassRules | None, fields: Fields) -> ParquetSource | None:
    """The parquet files in `directory`, None where there is none."""
    found = split_files(directory, SUFFIX)
    if not found.splits:
        return None
    return ParquetSource(directory=directory, by_split=found, rules=rules or ClassRules(), fields=fields)


def _locations(file: ParquetFile, container: int) -> "np.ndarray[Any, Any]":
    """(rows,) LOCATION_DTYPE: the row as offset, and the mean length of its row group as size."""
    rows = np.zeros(int(file.starts[-1]), LOCATION_DTYPE)
    rows["container"], rows["offset"] = container, np.arange(len(rows))
    for group in range(len(file.starts) - 1):
        rows["size"][file.starts[group] : file.starts[group + 1]] = min(file.mean_bytes(group), MAX_SIZE)
    return rows


def _read_names(file: ParquetFile, columns: Columns, names: list[bytes], labels: LabelColumn) -> None:
    """Append the name and the label of every row; the column chunks of the images are not touched."""
    wanted = [name for name in (columns.path, columns.label) if name]
    row = 0
    for batch in file.batches(wanted, INDEX_ROWS) if wanted else ():
        paths = _values(file, batch, columns.path.partition(".")[0]) if columns.path else [None] * batch.num_rows
        found = _values(file, batch, columns.label) if columns.label else [None] * batch.num_rows
        for path, label in zip(paths, found, strict=True):
            text = path.get("path") if isinstance(path, dict) else None
            names.append(_name(text, file.path, row))
            labels.add(_label(label, file.path, row))
            row += 1
    for missing in range(row, int(file.starts[-1]) if not wanted else row):
        names.append(_name(None, file.path, missing))
        labels.add(None)


def _values(file: ParquetFile, batch: Any, name: str) -> list[Any]:
    with worded(file.path):
        values: list[Any] = batch.column(batch.schema.names.index(name)).to_pylist()
    return values


def _label(label: int | str | None, path: Path, row: int) -> int | str | None:
    """A label as `LabelPlace.read` has it: -1, null and no text are none, digits a number."""
    if isinstance(label, str):
        label = label.strip()
        label = int(label) if label.isascii() and label.isdigit() and len(label) < 10 else label or None
    if label == -1:
        return None
    if isinstance(label, int) and not 0 <= label < 2**31:
        raise SourceError(f"{path}: row {row} has label {label}; expected a class number from 0 on, or -1 for none")
    return label


def _name(path: str | None, file: Path, row: int) -> bytes:
    """The name of an image: its path where there is one, else its file's name and its row."""
    name = path.encode("utf-8", "surrogateescape") if path else b""
    base = name.rpartition(b"/")[2]
    head, dot, tail = base.rpartition(b".")
    if not (head if dot else tail):
        return _row_name(file, row).encode("utf-8", "surrogateescape")
    return name if len(name) <= MAX_NAME_BYTES else shortened(base)


def _row_name(file: Path, row: int) -> str:
    stem = file.name.removesuffix(SUFFIX).replace(".", "_")
    return f"{stem}_{row:06d}"
