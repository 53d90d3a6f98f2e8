"""Samples are checked before they are used."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_prep.samples import BadSampleError, decode_sample
from alexnet_shards.index import INDEX_DTYPE


def row_of(jpeg: bytes) -> Any:
    """The index row of a JPEG that begins at byte 5."""
    return np.array([(0, 5, len(jpeg), 0, zlib.crc32(jpeg))], INDEX_DTYPE)[0]


def test_a_sample_is_checked_then_decoded(photo_bytes: Any) -> None:
    jpeg = photo_bytes(1, 256, 256)
    image_hwc = decode_sample(io.BytesIO(b"12345" + jpeg), row_of(jpeg))
    np.testing.assert_array_equal(image_hwc, np.asarray(Image.open(io.BytesIO(jpeg))))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda jpeg: jpeg[:-9], "checksum"),
        (lambda jpeg: bytes([jpeg[0] ^ 1]) + jpeg[1:], "checksum"),
    ],
)
def test_damaged_bytes_are_refused(photo_bytes: Any, damage: Any, words: str) -> None:
    jpeg = photo_bytes(1, 256, 256)
    with pytest.raises(BadSampleError, match=words):
        decode_sample(io.BytesIO(b"12345" + damage(jpeg)), row_of(jpeg))


def test_other_images_are_refused(photo_bytes: Any) -> None:
    wide = photo_bytes(1, 300, 256)
    with pytest.raises(BadSampleError, match="is 300x256, expected 256x256"):
        decode_sample(io.BytesIO(b"12345" + wide), row_of(wide))
    garbage = b"no JPEG"
    with pytest.raises(BadSampleError, match="cannot be decoded"):
        decode_sample(io.BytesIO(b"12345" + garbage), row_of(garbage))
