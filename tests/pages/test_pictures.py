"""Pictures as data addresses: the bytes decode to what went in."""

import base64
import io

import numpy as np
from PIL import Image

from alexnet_pages.pictures import array_picture, jpeg_picture, pixel_picture


def decoded(uri: str) -> Image.Image:
    head, _, text = uri.partition(",")
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_pictures_hold_their_pixels() -> None:
    image_hwc = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    assert np.array_equal(np.asarray(decoded(pixel_picture(image_hwc, "p").uri)), image_hwc)
    small = array_picture(image_hwc, "a", "b", 30)
    assert decoded(small.uri).size == (30, 20)
    assert (small.alt, small.caption) == ("a", "b")
    assert decoded(array_picture(image_hwc, "a", side_px=999).uri).size == (60, 40)
    assert base64.b64decode(jpeg_picture(b"\xff\xd8", "a").uri.partition(",")[2]) == b"\xff\xd8"
