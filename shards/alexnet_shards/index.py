"""The index of a split: one fixed-size row a sample, so that a sample is one pread and 1.28 M of them open at once."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file

VERSION = "alexnet-index-1"
NO_LABEL = -1

# `shard` counts the manifest's shards from 0; `offset` and `size` are the JPEG's bytes in its tar; `crc32` is of those
# bytes (zlib.crc32). The version travels as the title of the first field, which .npy keeps in its header.
INDEX_DTYPE = np.dtype(
    [((VERSION, "shard"), "<u4"), ("offset", "<u8"), ("size", "<u4"), ("label", "<i4"), ("crc32", "<u4")]
)
IndexRows = npt.NDArray[np.void]


def save_index(path: Path, rows: IndexRows) -> None:
    """Write `rows`, (N,) of INDEX_DTYPE, to `path` as .npy, whole or not at all."""
    with atomic_file(path) as file:
        np.save(file, rows.astype(INDEX_DTYPE, copy=False), allow_pickle=False)


def load_index(path: Path) -> IndexRows:
    """Memory-map the (N,) rows of INDEX_DTYPE at `path`; opening costs milliseconds whatever N.

    Raises FormatError where the file is missing, damaged, or of another version.
    """
    try:
        rows: IndexRows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no index beside the shards; make it with alexnet-prep index") from error
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path}: unreadable index ({error}); make it again with alexnet-prep index") from error
    if rows.dtype != INDEX_DTYPE or rows.ndim != 1:
        raise FormatError(f"{path}: not an index of version {VERSION}; make it again with alexnet-prep index")
    return rows
