"""One sample of a shard: its bytes checked, its image decoded."""

import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import simplejpeg

from alexnet_shards.geometry import IMAGE_PX

MAX_SAMPLE_BYTES = 64 << 20  # a 256x256 image of no compression at all has 192 KiB
LARGEST_OFFSET = 2**62


class BadSampleError(Exception):
    """A sample that cannot be used; the text is the reason."""


def decode_sample(shard: BinaryIO, row: np.void) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB of the sample that an index row names in its open shard.

    Raises BadSampleError where it cannot be read, its checksum is wrong, or it is no 256x256 JPEG.
    """
    return decode_jpeg(read_sample(shard, row))


def read_sample(shard: BinaryIO, row: np.void) -> bytes:
    """The JPEG bytes of the sample that an index row names; raises BadSampleError where they are not what was written."""
    if int(row["size"]) > MAX_SAMPLE_BYTES or int(row["offset"]) > LARGEST_OFFSET:
        raise BadSampleError(f"has {row['size']} bytes at byte {row['offset']}; expected below {MAX_SAMPLE_BYTES:,}")
    try:
        shard.seek(int(row["offset"]))
        jpeg = shard.read(int(row["size"]))
    except OSError as error:
        raise BadSampleError(f"cannot be read ({error.strerror})") from error
    if zlib.crc32(jpeg) != row["crc32"]:
        raise BadSampleError("its checksum is wrong: the bytes are not those that were written")
    return jpeg


def decode_jpeg(jpeg: bytes) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB; raises BadSampleError where the bytes are no 256x256 JPEG, before memory is taken for one."""
    try:
        height_px, width_px = simplejpeg.decode_jpeg_header(jpeg)[:2]
        if (height_px, width_px) != (IMAGE_PX, IMAGE_PX):
            raise BadSampleError(f"is {width_px}x{height_px}, expected {IMAGE_PX}x{IMAGE_PX}")
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg, "RGB")
    except (ValueError, MemoryError) as error:
        raise BadSampleError(f"cannot be decoded ({' '.join(str(error).split())})") from error
    return image
