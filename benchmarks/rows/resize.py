"""Resizes in float64 by a written-out formula, that prepared pictures are compared with."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE_PX = 256
Pixels = npt.NDArray[np.float64]


def triangle(x: Pixels) -> Pixels:
    return np.maximum(0.0, 1.0 - np.abs(x))


def cubic(x: Pixels) -> Pixels:
    """Keys's cubic, a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def lanczos(x: Pixels) -> Pixels:
    """With three lobes."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


KERNELS: dict[str, tuple[Callable[[Pixels], Pixels], float]] = {
    "bilinear": (triangle, 1.0),
    "bicubic": (cubic, 2.0),
    "lanczos": (lanczos, 3.0),
}


def weights(size_px: int, begin_px: float, length_px: float, filter_name: str) -> Pixels:
    """(256, size_px): the share of each source pixel in each of 256 that [begin, begin + length) is resized to.

    "area" is the share of each pixel that lies in an output pixel, and a cubic where it enlarges.
    """
    scale = length_px / SIDE_PX
    pixels = np.arange(size_px)[None, :]
    if filter_name == "area" and scale > 1:
        low = begin_px + scale * np.arange(SIDE_PX)[:, None]
        shares = np.clip(np.minimum(low + scale, pixels + 1) - np.maximum(low, pixels), 0, None)
    else:
        kernel, _ = KERNELS["bicubic" if filter_name == "area" else filter_name]
        centres = begin_px + scale * (np.arange(SIDE_PX)[:, None] + 0.5)
        shares = kernel((pixels + 0.5 - centres) / max(1.0, scale))
    return np.asarray(shares / shares.sum(1, keepdims=True))


def references(image_hwc: npt.NDArray[np.uint8], filter_name: str) -> list[Pixels]:
    """The centre square made 256 pixels wide, by its exact box, and by a resize to whole pixels that is cropped then."""
    height_px, width_px = image_hwc.shape[:2]
    short_px = min(height_px, width_px)
    found = []
    for whole_pixels in (False, True):
        both = []
        for size_px in (height_px, width_px):
            begin_px, length_px = (size_px - short_px) / 2, float(short_px)
            if whole_pixels:
                scaled_px = max(SIDE_PX, round(size_px * SIDE_PX / short_px))
                begin_px = (scaled_px - SIDE_PX) // 2 * size_px / scaled_px
                length_px = SIDE_PX * size_px / scaled_px
            both.append(weights(size_px, begin_px, length_px, filter_name))
        down, across = both
        image = np.einsum("yh,hwc->ywc", down, image_hwc.astype(np.float64), optimize=True)
        found.append(np.clip(np.einsum("xw,ywc->yxc", across, image, optimize=True), 0, 255))
    return found


def psnr_db(source: bytes, made: bytes, filter_name: str) -> float:
    """Peak signal to noise of a JPEG `made` of `source` by a filter; against the nearer of the two references."""
    pixels = np.asarray(Image.open(io.BytesIO(made)).convert("RGB"), np.float64)
    image_hwc = np.asarray(Image.open(io.BytesIO(source)).convert("RGB"))
    errors = [float(np.mean((pixels - wanted) ** 2)) for wanted in references(image_hwc, filter_name)]
    return float(10 * np.log10(255**2 / max(min(errors), 1e-9)))
