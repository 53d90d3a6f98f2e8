"""Pixels of every depth and colour space to 8-bit RGB, or the reason why they have no such meaning."""

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from alexnet_pixels.sniff import BadImage

UNCOMPRESSED = "raw"


def decode_other(image: Image.Image) -> Image.Image:
    """The decoded pixels of an opened image that is no JPEG, the first of several.

    Raises BadImage where this Pillow lacks the decoder, and Pillow's errors for damaged data.
    """
    compression = image.info.get("compression", UNCOMPRESSED)
    if image.format == "TIFF" and compression != UNCOMPRESSED and not features.check("libtiff"):
        raise BadImage(f"a TIFF compressed by {compression}; this Pillow was built without libtiff")
    image.load()
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB or RGBX of a decoded image; alpha is dropped.

    Of 16-bit grey the high byte is taken, as Pillow takes it of 16-bit RGB (its own conversion of grey clips at 255).
    Floats of 0..1 are 0..255. Raises BadImage for other floats and for 32-bit numbers, whose white nobody knows.
    """
    if image.mode in ("RGB", "RGBX"):
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "I":
        raise BadImage("grey values of 32 bits, of which none is known to be white; save it with 8 or 16 bits")
    elif image.mode == "F":
        image = Image.fromarray(_bytes_of_floats(np.asarray(image)))
    return image.convert("RGB")


def _bytes_of_floats(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(H, W) float32 of 0..1 -> (H, W) uint8 of 0..255."""
    if not np.isfinite(grey).all():
        raise BadImage("float values that are not finite; expected 0 to 1")
    if grey.min() < 0 or grey.max() > 1:
        raise BadImage(f"float values of {grey.min():.6g} to {grey.max():.6g}; expected 0 to 1")
    return np.rint(grey * 255).astype(np.uint8)
