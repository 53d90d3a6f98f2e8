"""One image: the bytes of a source file to the JPEG of its centre 256x256 RGB pixels."""

import io
import time
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from alexnet_pixels.jpeg import decode_jpeg
from alexnet_pixels.recipe import KERNELS, PixelRecipe
from alexnet_pixels.rgb import decode_other, to_rgb
from alexnet_pixels.sniff import DECODER_ERRORS, GZIP_MAGIC, BadImage, image_kinds, open_image
from alexnet_shards.geometry import IMAGE_PX, centre_box

JPEG_FORMATS = ("JPEG", "MPO")  # MPO is a JPEG with other pictures behind it


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A finished sample: JPEG bytes, what was unusual about the source, its size and bytes, and wall seconds a stage."""

    jpeg: bytes
    kinds: tuple[str, ...]
    width_px: int
    height_px: int
    source_bytes: int
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
            kinds = image_kinds(image, content, packed=source.startswith(GZIP_MAGIC))
            if image.format in JPEG_FORMATS:
                pixels, scale, found = decode_jpeg(image, content, recipe.keep_truncated)
                kinds = tuple(sorted({*kinds, *found}))
            else:
                pixels, scale = decode_other(image), 1
                width_px, height_px = pixels.size  # a TIFF is turned as it says
            rgb = to_rgb(pixels)
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
        source_bytes=len(source),
        decode_s=decoded - started,
        resize_s=resized - decoded,
        encode_s=encoded - resized,
    )


def shard_pixels(source: bytes, recipe: PixelRecipe) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB of `source`: what the stream yields of the shard that `convert` would fill, bit by bit.

    The JPEG that a shard holds is made and decoded again, as all that a network was trained on went through it: at
    quality 95 it moves a pixel by one or two grey levels. Raises BadImage as `convert` does.
    """
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(convert(source, recipe).jpeg, "RGB")
    return pixels


def _resize_centre(rgb: Image.Image, size_px: tuple[int, int], scale: int, recipe: PixelRecipe) -> Image.Image:
    down, up = KERNELS[recipe.filter]
    kernel = down if min(size_px) > IMAGE_PX else up
    left, top, right, bottom = (edge / scale for edge in centre_box(*size_px))
    box = (left, top, min(right, rgb.width), min(bottom, rgb.height))
    return rgb.resize((IMAGE_PX, IMAGE_PX), kernel, box=box).convert("RGB")


def _encode(centre: Image.Image, recipe: PixelRecipe) -> bytes:
    centre.info.clear()  # a comment of the source would be written again
    buffer = io.BytesIO()
    centre.save(buffer, "JPEG", quality=recipe.quality, subsampling=recipe.subsampling)
    return buffer.getvalue()


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"cannot be decoded ({lines[0][:120] if lines else type(error).__name__})"
