"""One sample of a shard: its bytes checked, its image decoded."""

import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import simplejpeg

from alexnet_shards.geometry import IMAGE_PX


class SampleError(Exception):
    """A sample that cannot be used; the text is the reason."""


def decode_sample(shard: BinaryIO, row: np.void) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB of the sample that an index row names in its open shard.

    Raises SampleError where it cannot be read, its checksum is wrong, or it is no 256x256 JPEG.
    """
    return decode_jpeg(read_sample(shard, row))


def read_sample(shard: BinaryIO, row: np.void) -> bytes:
    """The JPEG bytes of the sample that an index row names; raises SampleError where they are not what was written."""
    try:
        shard.seek(int(row["offset"]))
        jpeg = shard.read(int(row["size"]))
    except OSError as error:
        raise SampleError(f"cannot be read ({error.strerror})") from error
    if zlib.crc32(jpeg) != row["crc32"]:
        raise SampleError("its checksum is wrong: the bytes are not those that were written")
    return jpeg


def decode_jpeg(jpeg: bytes) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB; raises SampleError where the bytes are no 256x256 JPEG."""
    try:
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg, "RGB")
    except ValueError as error:
        raise SampleError(f"cannot be decoded ({error})") from error
    if image.shape != (IMAGE_PX, IMAGE_PX, 3):
        raise SampleError(f"is {image.shape[1]}x{image.shape[0]}, expected {IMAGE_PX}x{IMAGE_PX}")
    return image
