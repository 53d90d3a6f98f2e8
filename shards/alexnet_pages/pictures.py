"""Pictures in a page: their bytes as data addresses, small."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet_pages.blocks import Picture

QUALITY = 80


def jpeg_picture(content: bytes, alt: str, caption: str = "") -> Picture:
    """A JPEG file as it is."""
    return Picture(uri=_uri("jpeg", content), alt=alt, caption=caption)


def array_picture(image_hwc: npt.NDArray[np.uint8], alt: str, caption: str = "", side_px: int = 0) -> Picture:
    """(H, W, 3) uint8 RGB as a JPEG, its longer side made `side_px` where that is less (0: as it is)."""
    image = Image.fromarray(np.ascontiguousarray(image_hwc), "RGB")
    if side_px and max(image.size) > side_px:
        image.thumbnail((side_px, side_px))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return jpeg_picture(file.getvalue(), alt, caption)


def pixel_picture(image_hwc: npt.NDArray[np.uint8], alt: str, caption: str = "") -> Picture:
    """(H, W, 3) uint8 RGB as a PNG, for pictures whose single pixels count."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_hwc), "RGB").save(file, "PNG")
    return Picture(uri=_uri("png", file.getvalue()), alt=alt, caption=caption)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
