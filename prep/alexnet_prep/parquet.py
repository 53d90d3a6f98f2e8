"""Sources of parquet files with an image and a label column, as Hugging Face's data sets are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from alexnet_prep.archive import LOCATION_DTYPE, MAX_SIZE, Members, Tick
from alexnet_prep.classes import ClassList, ClassRules
from alexnet_prep.entries import Ledger
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.labelled import Found, LabelledSource
from alexnet_prep.names import MAX_NAME_BYTES, shortened
from alexnet_prep.parquetfile import INDEX_ROWS, Columns, ParquetFile, find_columns, worded
from alexnet_prep.rawlabels import LabelColumn, listed_names
from alexnet_prep.splitfiles import split_files
from alexnet_shards.editions import plain_name
from alexnet_shards.splits import listed

SUFFIX = ".parquet"


@dataclass(frozen=True, kw_only=True)
class ParquetSource(LabelledSource):
    """The parquet files of each split."""

    edition: ClassVar[str] = "parquet"
    why_once: ClassVar[str] = "parquet is decoded by row group"

    def check(self, split: str) -> None:
        """Refuse what is said for tars."""
        if self.fields.place is not None:
            raise SourceError(f"{self.directory}: --label is for webdataset tars; name columns with --columns")

    def named(self, found: Found | None) -> ClassList | None:
        """The classes of the schemas of the first split."""
        split = self.splits[0]
        paths, schemas = self.by_split.of[split], found.class_names if found is not None else ()
        if found is None:
            schemas = tuple(self._names_in(path, split) for path in paths)
        for path, names in zip(paths, schemas, strict=True):
            if names != schemas[0]:
                raise SourceError(f"{path}: other class names in its schema than {paths[0].name}; give --classes")
        return listed_names(schemas[0], paths[0]) if schemas[0] else None

    def _names_in(self, path: Path, split: str) -> tuple[str, ...]:
        with ParquetFile(path) as file:
            return self._columns(file, split).class_names

    def _columns(self, file: ParquetFile, split: str) -> Columns:
        columns = find_columns(file, self.fields)
        if not columns.label and split != "test":
            there = listed(f"{each.name} ({str(each.type)[:40]})" for each in file.schema)
            raise SourceError(
                f"{file.path}: no column of labels; there are {there}; name it with --columns label=COLUMN"
            )
        return columns

    def found(self, split: str, tick: Tick) -> Found:
        """Paths and labels of a split's rows."""
        paths = self.by_split.of[split]
        ledger, labels, names, rows = Ledger(), LabelColumn(), list[bytes](), list[np.ndarray[Any, Any]]()
        columns = list[Columns]()
        for container, path in enumerate(paths):
            with ParquetFile(path) as file:
                columns.append(self._columns(file, split))
                first = len(names)
                rows.append(_locations(file, container))
                _read_names(file, columns[-1], names, labels)
                if len(names) - first != len(rows[-1]):
                    raise SourceError(
                        f"{path}: {len(names) - first:,} rows, {len(rows[-1]):,} by its footer; fetch it again"
                    )
                tick(len(rows[-1]))
        image = _one_for_all([each.image for each in columns], paths, "image")
        _one_for_all([each.label for each in columns if each.label], paths, "label")
        locations = np.concatenate([np.empty(0, LOCATION_DTYPE), *rows])
        for _ in names:
            ledger.found()
        members = Members(names=np.array(names, np.bytes_) if names else np.empty(0, "S1"), locations=locations)

        def place_of(row: int) -> str:
            return _row_name(paths[int(locations["container"][row])], int(locations["offset"][row]))

        return Found(
            split=split,
            where=paths[0].parent,
            containers=paths,
            members=members,
            labels=labels.labels(),
            ledger=ledger,
            place_of=place_of,
            class_names=tuple(each.class_names for each in columns),
            image_column=image,
        )


def find_parquet_source(directory: Path, rules: ClassRules | None, fields: Fields) -> ParquetSource | None:
    """The parquet files in `directory`, None where there is none."""
    found = split_files(directory, SUFFIX)
    if not found.splits:
        return None
    return ParquetSource(directory=directory, by_split=found, rules=rules or ClassRules(), fields=fields)


def _one_for_all(names: list[str], paths: Sequence[Path], what: str) -> str:
    """The column that all files have; raises SourceError where they have several."""
    if len(set(names)) > 1:
        raise SourceError(
            f"{paths[0].parent}: {what}s in {listed(sorted(set(names)))}, by file; name one with --columns {what}=COLUMN"
        )
    return names[0] if names else ""


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
    stem = plain_name(file.name).removesuffix(SUFFIX).replace(".", "_")
    return f"{stem}_{row:06d}"
