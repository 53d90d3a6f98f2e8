"""The compiled way from shards to crops: reads, checks and decodes many samples in one call outside the interpreter.

Never required: without a compiler or libjpeg-turbo's headers the loader does the same work sample by sample, with the
same pixels. The call only takes perfect samples; what is wrong with another one is said by the loader.
"""

import ctypes
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_shards.index import IndexRows
from alexnet_shards.native import load_library

SOURCE = Path(__file__).with_name("crops.c")
LIBRARIES = ("jpeg", "z")
_PLACE, _INT = ctypes.c_void_p, ctypes.c_int
SIGNATURES = (("load_crops", None, (_INT, *(_PLACE,) * 6, _INT, _PLACE, _PLACE, ctypes.c_uint64, _PLACE, _PLACE)),)
SCRATCH_BYTES = 1 << 20  # a larger JPEG of 256x256 pixels is left to the loader


@dataclass(frozen=True, kw_only=True, eq=False)
class CropsReport:
    """What a call did: (n,) bool of the samples that it left, and the seconds of reading and decoding."""

    left: npt.NDArray[np.bool_]
    read_seconds: float
    decode_seconds: float


class Crops:
    """The compiled library; safe for threads."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._call = library.load_crops
        self._local = threading.local()

    def load(
        self,
        rows: IndexRows,
        descriptors: list[int],
        crops_px: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None,
        images_nhwc: npt.NDArray[np.uint8],
    ) -> CropsReport:
        """Load the samples of `rows` (n,) from their open shards (-1: not open) to `images_nhwc`, contiguous uint8.

        `crops_px` are (n,) tops and lefts of the 224 crops, None for whole images (n, 256, 256, 3).
        """
        count, seconds, left = len(rows), np.zeros(2), np.ones(len(rows), np.uint8)
        columns = [
            np.array(descriptors, np.int32),
            *(np.ascontiguousarray(rows[name]) for name in ("offset", "size", "crc32")),
            *(np.ascontiguousarray(offsets) for offsets in crops_px or (left, left)),
        ]
        scratch = self._scratch()
        self._call(
            ctypes.c_int(count),
            *(_at(column) for column in columns),
            ctypes.c_int(images_nhwc.shape[1]),
            _at(images_nhwc),
            _at(scratch),
            ctypes.c_uint64(len(scratch)),
            _at(left),
            _at(seconds),
        )
        return CropsReport(left=left.view(np.bool_), read_seconds=float(seconds[0]), decode_seconds=float(seconds[1]))

    def _scratch(self) -> npt.NDArray[np.uint8]:
        """This thread's buffer for one JPEG."""
        scratch: npt.NDArray[np.uint8] | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = np.empty(SCRATCH_BYTES, np.uint8)
        return scratch


def load_crops() -> Crops | None:
    """The library, compiled at the first call on this machine; None where it cannot be had (alexnet_shards.native)."""
    library = load_library(SOURCE, SIGNATURES, LIBRARIES)
    return None if library is None else Crops(library)


def _at(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
