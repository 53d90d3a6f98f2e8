"""The index of a split: one fixed-size row a sample, so that a sample is one pread and 1.28 M of them open at once."""

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file, file_sha256
from alexnet_shards.parsing import Where, map_npy

VERSION = "alexnet-index-1"
NO_LABEL = -1

# `shard` counts the manifest's shards from 0; `offset` and `size` are the JPEG's bytes in its tar; `crc32` is of those
# bytes (zlib.crc32). The version travels as the title of the first field, which .npy keeps in its header.
INDEX_DTYPE = np.dtype(
    [((VERSION, "shard"), "<u4"), ("offset", "<u8"), ("size", "<u4"), ("label", "<i4"), ("crc32", "<u4")]
)
IndexRows = npt.NDArray[np.void]


def save_index(path: Path, rows: IndexRows) -> str:
    """Write `rows`, (N,) of INDEX_DTYPE, to `path` as .npy, whole or not at all; returns the file's sha256."""
    buffer = io.BytesIO()
    np.save(buffer, rows.astype(INDEX_DTYPE, copy=False), allow_pickle=False)
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def load_index(path: Path) -> IndexRows:
    """Memory-map the (N,) rows of INDEX_DTYPE at `path`; opening costs milliseconds whatever N.

    Raises FormatError where the file is missing, damaged, or of another version. What the numbers say is checked where
    they are used: alexnet_shards.shardset compares them with the manifest.
    """
    where = Where(path=path, what="index", remedy="make it again with alexnet-prep index")
    try:
        return map_npy(where, INDEX_DTYPE)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no index beside the shards; make it with alexnet-prep index") from error


def check_index(path: Path, sha256: str, manifest_file: Path) -> None:
    """Raise FormatError unless the file at `path` is the one that its manifest names; an older manifest names none.

    Hashing 1.28 M rows takes some 40 ms.
    """
    if not sha256:
        return
    try:
        found = file_sha256(path)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if found != sha256:
        raise FormatError(
            f"{path}: its sha256 is {found[:12]}…, {manifest_file.name} has {sha256[:12]}…: it was changed, or is another "
            "set's; make it again from the shards with alexnet-prep index"
        )
