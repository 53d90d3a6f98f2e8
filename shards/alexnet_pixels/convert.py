"""One image: the bytes of a source file to the JPEG of its centre 256x256 RGB pixels."""

import io
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from alexnet_pixels.sniff import DECODER_ERRORS, BadImage, image_kinds, open_image
from alexnet_shards.geometry import IMAGE_PX, centre_box

# Pillow's kernels by what the recipe calls them, for shrinking and for enlarging. The released make-data used OpenCV's
# INTER_AREA and INTER_CUBIC. Pillow's BOX takes or leaves whole pixels: against an exact area average it is at 36 dB
# (median over real photos), HAMMING is at 45 dB, the nearest of Pillow's kernels.
KERNELS = {
    "area": (Image.Resampling.HAMMING, Image.Resampling.BICUBIC),
    "lanczos": (Image.Resampling.LANCZOS, Image.Resampling.LANCZOS),
    "bicubic": (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC),
    "bilinear": (Image.Resampling.BILINEAR, Image.Resampling.BILINEAR),
}
FILTERS = tuple(KERNELS)
# 100 million pixels take 400 MB while they are decoded; the largest ImageNet photos have about 20 million.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class PixelRecipe:
    """How pixels are made: resampling filter (one of FILTERS), JPEG quality and chroma subsampling, and a size bound."""

    filter: str = "area"
    quality: int = 95
    subsampling: str = "4:2:0"
    max_pixels: int = MAX_PIXELS

    def as_dict(self) -> dict[str, Any]:
        """The recipe as the manifest declares it, with the rules that are not options."""
        down, up = KERNELS[self.filter]
        return {
            **asdict(self),
            "side_px": IMAGE_PX,
            "kernel_down": down.name.lower(),
            "kernel_up": up.name.lower(),
            "colour": "RGB before resizing; alpha dropped; EXIF orientation ignored",
            "rounding": "longer side = floor(longer * 256 / shorter + 1/2)",
            "crop": "offset = floor((longer - 256) / 2)",
            "scaled_decode": "1/2, 1/4 or 1/8 where the shorter side stays at least 256",
        }


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A finished sample: JPEG bytes, what was unusual about the source, its size, and wall seconds a stage."""

    jpeg: bytes
    kinds: tuple[str, ...]
    width_px: int
    height_px: int
    decode_s: float
    resize_s: float
    encode_s: float


def convert(source: bytes, recipe: PixelRecipe) -> Converted:
    """Decode `source`, convert to RGB, shorter side to 256, centre 256x256, and encode (paper section 2).

    The resampling goes straight from the source box that maps to the centre crop: the same pixels as resizing all and
    cropping, for less work. Raises BadImage with a one-line reason for anything that is not a whole image.
    """
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bad EXIF, large images and palettes are counted, not told
        try:
            image, content = open_image(source, recipe.max_pixels)
            width_px, height_px = image.size
            kinds = image_kinds(image, content, packed=content is not source)
            rgb, scale = _decode_rgb(image)
            decoded = time.perf_counter()
            centre = _resize_centre(rgb, (width_px, height_px), scale, recipe)
            resized = time.perf_counter()
            jpeg = _encode(centre, recipe)
        except DECODER_ERRORS as error:
            raise BadImage(_reason(error)) from error
    encoded = time.perf_counter()
    return Converted(
        jpeg=jpeg,
        kinds=kinds,
        width_px=width_px,
        height_px=height_px,
        decode_s=decoded - started,
        resize_s=resized - decoded,
        encode_s=encoded - resized,
    )


def _decode_rgb(image: Image.Image) -> tuple[Image.Image, int]:
    """Whole image in RGB, at 1/scale of its size where libjpeg can leave out what is not needed."""
    width_px, scale = image.width, 1
    drafted = image.draft(None, (IMAGE_PX, IMAGE_PX)) if image.format == "JPEG" else None
    if drafted is not None:
        scale = round(width_px / drafted[1][2])
    image.load()
    if image.mode.startswith("I"):  # I;16, or I in older releases; Pillow's own conversion clips 16-bit grey at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return (image if image.mode == "RGB" else image.convert("RGB")), scale


def _resize_centre(rgb: Image.Image, size_px: tuple[int, int], scale: int, recipe: PixelRecipe) -> Image.Image:
    down, up = KERNELS[recipe.filter]
    kernel = down if min(size_px) > IMAGE_PX else up
    left, top, right, bottom = (edge / scale for edge in centre_box(*size_px))
    box = (left, top, min(right, rgb.width), min(bottom, rgb.height))
    return rgb.resize((IMAGE_PX, IMAGE_PX), kernel, box=box)


def _encode(centre: Image.Image, recipe: PixelRecipe) -> bytes:
    centre.info.clear()  # a comment of the source would be written again
    buffer = io.BytesIO()
    centre.save(buffer, "JPEG", quality=recipe.quality, subsampling=recipe.subsampling)
    return buffer.getvalue()


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"cannot be decoded ({lines[0][:120] if lines else type(error).__name__})"
