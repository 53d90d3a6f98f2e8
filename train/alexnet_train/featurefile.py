"""Features of a set of shards, kept beside them: an .npy of a row an image, and which of its rows are there.

The file's name holds what it is of: the checkpoint's checksum and the index's. It has its full size from the start and
takes disk for the rows that were written alone, where the file system has holes. A row counts once it is on disk: a
computation that was killed goes on behind its last block.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards import AlexnetError, FormatError, ShardSet
from alexnet_shards.files import atomic_file, file_sha256, write_at
from alexnet_shards.parsing import Where, descr_of, load_npz, read_npy_header

FLOAT16 = np.dtype("<f2")
LAYER = "last hidden layer, centre view"
REMEDY = "remove it, it is made again"


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """The features of `rows` images, `columns` each, in `directory`, of one checkpoint and one index."""

    directory: Path
    split: str
    rows: int
    columns: int
    checkpoint_sha256: str
    index_sha256: str

    @classmethod
    def of(cls, directory: Path, shards: ShardSet, checkpoint: Path, columns: int) -> "FeatureFile":
        """The file in `directory` of the features that the network of `checkpoint` has for `shards`."""
        return cls(
            directory=directory,
            split=shards.manifest.split,
            rows=shards.num_samples,
            columns=columns,
            checkpoint_sha256=file_sha256(checkpoint),
            index_sha256=shards.rows_sha256,
        )

    @property
    def path(self) -> Path:
        """Where the features lie."""
        what = "\n".join((self.checkpoint_sha256, self.index_sha256, LAYER, str(self.columns)))
        return self.directory / f"{self.split}.features-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npy"

    @property
    def done_path(self) -> Path:
        """Where it is written which rows are there, and of what."""
        return self.path.with_suffix(".npz")

    def done(self) -> npt.NDArray[np.bool_]:
        """(rows,) which rows are there; none where the files are not there or not whole."""
        none = np.zeros(self.rows, bool)
        try:
            self._header_bytes()
            limits = {"done": self.rows // 8 + 1, "checkpoint_sha256": 256, "index_sha256": 256}
            kept = load_npz(Where(path=self.done_path, what="list of features", remedy=REMEDY), limits)
        except (FileNotFoundError, FormatError):
            return none
        same = all(str(kept[name]) == getattr(self, name) for name in ("checkpoint_sha256", "index_sha256"))
        if not same or kept["done"].dtype != np.uint8 or len(kept["done"]) != -(-self.rows // 8):
            return none
        return np.unpackbits(kept["done"], count=self.rows).astype(bool)

    def create(self) -> None:
        """Have an empty file at `path`, if none of this size is there. Raises FileError where it cannot be made."""
        try:
            self._header_bytes()
        except (FileNotFoundError, FormatError):
            head = self._head()
            self.done_path.unlink(missing_ok=True)  # it may be of an earlier file: no row of this one is there
            with atomic_file(self.path) as file:
                file.write(head)
                file.flush()
                file.truncate(len(head) + self.rows * self.columns * FLOAT16.itemsize)

    def write(
        self, rows: npt.NDArray[np.int64], features: npt.NDArray[np.float16], done: npt.NDArray[np.bool_]
    ) -> None:
        """Write (len(rows), columns) features to those ascending rows, on disk before `done` says so."""
        begin, row_bytes = self._header_bytes(), self.columns * FLOAT16.itemsize
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)
        content = features.astype(FLOAT16, copy=False)
        write_at(self.path, [(begin + int(rows[run[0]]) * row_bytes, content[run].tobytes()) for run in runs])
        done[rows] = True
        with atomic_file(self.done_path) as file:
            np.savez(
                file,
                done=np.packbits(done),
                checkpoint_sha256=np.array(self.checkpoint_sha256),
                index_sha256=np.array(self.index_sha256),
            )

    def mapped(self) -> npt.NDArray[np.float16]:
        """(rows, columns) float16, memory-mapped; raises FormatError for another array, FileNotFoundError."""
        begin = self._header_bytes()
        return np.memmap(self.path, FLOAT16, "r", begin, (self.rows, self.columns))

    def _header_bytes(self) -> int:
        where = Where(path=self.path, what="features", remedy=REMEDY)
        with self.path.open("rb") as file:
            try:
                header = read_npy_header(file)
            except (ValueError, EOFError) as error:
                raise where.unreadable(error) from error
            size = file.seek(0, 2)
        whole = header.data + self.rows * self.columns * FLOAT16.itemsize
        if header.descr != descr_of(FLOAT16) or tuple(header.shape) != (self.rows, self.columns) or size != whole:
            raise where.wrong(f"{header.shape} of {header.descr[:20]} in {size:,} bytes")
        return header.data

    def _head(self) -> bytes:
        file = io.BytesIO()
        described: dict[str, Any] = {"descr": FLOAT16.str, "fortran_order": False, "shape": (self.rows, self.columns)}
        np.lib.format.write_array_header_1_0(file, described)
        return file.getvalue()


def folder_of(shards: ShardSet, asked: Path | None) -> Path:
    """Where features are kept: the folder that was `asked` for, else beside the shards; raises AlexnetError in a store."""
    if asked is not None:
        return asked
    if "://" in shards.paths[0]:
        raise AlexnetError(
            f"{shards.paths[0]}: features are not kept in stores; name a folder here with --features DIR"
        )
    return Path(shards.paths[0]).parent


def spans(rows: Sequence[int] | npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    """`rows` in parts of at most `size`."""
    array = np.asarray(rows, np.int64)
    return [array[begin : begin + size] for begin in range(0, len(array), size)]
