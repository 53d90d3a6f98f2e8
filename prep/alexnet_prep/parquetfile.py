"""Parquet files, by pyarrow: what columns they have, their labels and paths, and their images row by row."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.forward import address_of, opened_forward
from alexnet_remote import NoRangesError, open_ranged
from alexnet_shards.errors import AlexnetError
from alexnet_shards.extras import require
from alexnet_shards.parsing import PARSING_ERRORS, Where, parse_json
from alexnet_shards.splits import listed

require("pyarrow.parquet", "pyarrow", "parquet")
import pyarrow as pa  # noqa: E402  after the line that says what to install
import pyarrow.parquet as pq  # noqa: E402

IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "picture", "photo")
LABEL_NAMES = ("label", "labels", "cls", "class", "target", "wnid")
INDEX_ROWS = 16_384
BATCH_BYTES = 8 << 20  # of images, about, that are decoded at once
MAX_BATCH_ROWS = 1024
MAX_FEATURES_BYTES = 16 << 20
COPIED_BYTES = 8 << 20


@dataclass(frozen=True)
class Columns:
    """The columns of a file: `image` and, where the images' names stand beside them, `path`, "" without; `label`, ""
    without; and the names of the classes in label order, where the schema lists them."""

    image: str
    path: str
    label: str
    class_names: tuple[str, ...] = ()


class ParquetFile:
    """An open file. Use as a context manager; every failure to read is a SourceError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with worded(path):
            self._file = _opened(path)
        try:
            with worded(path):
                options: dict[str, Any] = {"pre_buffer": False, "buffer_size": 1 << 20}
                self._parquet = pq.ParquetFile(self._file, page_checksum_verification=True, **options)
                self.schema: pa.Schema = self._parquet.schema_arrow
                metadata = self._parquet.metadata
                rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
                if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows or sum(rows) >= 2**40:
                    raise ValueError("its row groups have other rows than the file")
        except SourceError:
            self._file.close()
            raise
        self.starts = np.cumsum([0, *rows])

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()
        self._file.close()

    def batches(self, columns: list[str], batch_rows: int, groups: list[int] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of some columns, so many at once, of some row groups or of all."""
        with worded(self.path):
            yield from self._parquet.iter_batches(batch_rows, row_groups=groups, columns=columns, use_threads=False)

    def mean_bytes(self, group: int) -> int:
        """About how many bytes a row of a row group has, before it is compressed: nearly all are the image's.

        The facts of single columns are left alone: where they are damaged, pyarrow ends the process.
        """
        with worded(self.path):
            total = self._parquet.metadata.row_group(group).total_byte_size
        return max(0, int(total)) // max(1, int(self.starts[group + 1] - self.starts[group]))


def _opened(path: Path) -> IO[bytes]:
    """The file; one that is elsewhere is read by range, or, of a server without ranges, brought here until it is closed."""
    address = address_of(path)
    if isinstance(address, Path):
        return path.open("rb")
    try:
        return cast(IO[bytes], open_ranged(address))
    except NoRangesError:
        copy = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  who opened it closes it
        with opened_forward(path) as file:
            while piece := file.read(COPIED_BYTES):
                copy.write(piece)
            file.finish()
        copy.seek(0)
        return copy


@contextmanager
def worded(path: Path) -> Iterator[None]:
    """One line for whatever pyarrow raises for a file."""
    try:
        yield
    except SourceError:
        raise
    except AlexnetError as error:  # of an address
        raise SourceError(str(error)) from error
    except FileNotFoundError as error:
        raise SourceError(f"{path}: is not there any more; start again with the same files") from error
    except (*PARSING_ERRORS, pa.ArrowException) as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(f"{path}: cannot be read as parquet ({words}); fetch it again, or check its disk") from error


def find_columns(file: ParquetFile, fields: Fields) -> Columns:
    """The columns of images and labels: as `fields` says, else by Hugging Face's features, else by types and usual names.

    Raises SourceError where none is there or there is a choice.
    """
    features = _features(file)
    images = [field.name for field in file.schema if _image_kind(field.type)]
    labels = [field.name for field in file.schema if _is_label(field.type)]
    image = _choose(file, fields.image, images, (_of_kind(features, "Image"), IMAGE_NAMES), "image")
    label = _choose(file, fields.label, labels, (_of_kind(features, "ClassLabel"), LABEL_NAMES), "label")
    if not image:
        raise SourceError(f"{file.path}: no column of images; {_there_are(file)}; name it with --columns image=COLUMN")
    kind = file.schema.field(image).type
    has_path = pa.types.is_struct(kind) and any(field.name == "path" and _is_text(field.type) for field in kind)
    names = features.get(label, {}).get("names") if isinstance(features.get(label), dict) else None
    sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return Columns(
        image=f"{image}.bytes" if pa.types.is_struct(kind) else image,
        path=f"{image}.path" if has_path else "",
        label=label,
        class_names=tuple(names) if sound and names else (),
    )


def _choose(file: ParquetFile, wanted: str, fitting: list[str], known: tuple[Any, ...], what: str) -> str:
    """The column that was named, or the only one that can be meant; "" where there is none."""
    if wanted:
        if wanted not in fitting:
            raise SourceError(f"{file.path}: {wanted!r} is no column of {what}s; {_there_are(file)}")
        return wanted
    for names in known:
        found = [name for name in names if name in fitting]
        if len(found) > 1 and what == "label":
            raise SourceError(f"{file.path}: {' or '.join(found)}? Choose the label with --columns label=COLUMN")
        if found:
            return str(found[0])
    if what == "image" and len(fitting) == 1:
        return fitting[0]
    return ""


def _there_are(file: ParquetFile) -> str:
    return "there are " + listed(f"{field.name} ({str(field.type)[:40]})" for field in file.schema)


def _features(file: ParquetFile) -> Mapping[str, Any]:
    """The features that Hugging Face's datasets wrote into the schema, {} without."""
    content = (file.schema.metadata or {}).get(b"huggingface", b"")
    if not content or len(content) > MAX_FEATURES_BYTES:
        return {}
    where = Where(path=file.path, what="features in its schema", remedy="fetch it again")
    found = parse_json(content, where)
    with worded(file.path):
        features = found["info"]["features"] if isinstance(found, dict) and "info" in found else {}
    return features if isinstance(features, dict) else {}


def _of_kind(features: Mapping[str, Any], kind: str) -> list[str]:
    return [name for name, found in features.items() if isinstance(found, dict) and found.get("_type") == kind]


def _image_kind(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or _is_text(kind))


class ParquetReader:
    """Reads the images of a parquet file by row, forward from where it is: rows in ascending order are decoded once."""

    has_sizes = False

    def __init__(self, path: Path, column: str) -> None:
        self._file, self._column = ParquetFile(path), column
        self._rows = range(0)  # those of the batch that is in memory
        self._batch: pa.RecordBatch | None = None
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._group = -1

    def read(self, name: bytes, offset: int, size: int) -> bytes:
        """The bytes in row `offset`, b"" where it is null."""
        group = int(np.searchsorted(self._file.starts, offset, side="right")) - 1
        if group != self._group or offset < self._rows.start or self._batches is None:
            self._begin(group)
        while offset not in self._rows:
            self._next(name)
        with worded(self._file.path):
            value = self._batch.column(0)[offset - self._rows.start].as_py()  # type: ignore[union-attr]
        content = next(iter(value.values())) if isinstance(value, dict) else value
        return content if isinstance(content, bytes) else b""

    def _begin(self, group: int) -> None:
        if not 0 <= group < len(self._file.starts) - 1:
            raise SourceError(
                f"{self._file.path}: has fewer rows than when it was indexed; start again with the same files"
            )
        rows = max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // max(1, self._file.mean_bytes(group))))
        self._batches = self._file.batches([self._column], rows, [group])
        start = int(self._file.starts[group])
        self._group, self._batch, self._rows = group, None, range(start, start)

    def _next(self, name: bytes) -> None:
        self._batch = next(self._batches, None) if self._batches is not None else None
        if self._batch is None or self._batch.num_columns != 1:
            self._batches = None
            shown = name.decode("utf-8", "surrogateescape")
            raise SourceError(
                f"{self._file.path}: {shown} is not there; the file is damaged or was changed, fetch it again"
            )
        self._rows = range(self._rows.stop, self._rows.stop + self._batch.num_rows)

    def close(self) -> None:
        """Close the file."""
        self._batch = self._batches = None
        self._file.close()
