"""Image files as the official archives hold them: common JPEGs, the odd files among them, and damaged ones."""

import gzip
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from alexnet_drawn.draw import Photo

Encoder = Callable[[Photo, np.random.Generator], bytes]

EXIF_ORIENTATION = 0x0112
ADOBE_YCCK = 2


def _jpeg(photo: Photo, rng: np.random.Generator) -> bytes:
    """Quality 60..98 with 4:4:4, 4:2:2 or 4:2:0 chroma (4:2:0 being the commonest)."""
    subsampling = int(rng.choice(3, p=(0.2, 0.2, 0.6)))
    return _save(Image.fromarray(photo), quality=int(rng.integers(60, 99)), subsampling=subsampling)


def _gray(photo: Photo, _rng: np.random.Generator) -> bytes:
    return _save(Image.fromarray(photo).convert("L"), quality=90)


def _gzip(photo: Photo, rng: np.random.Generator) -> bytes:
    return gzip.compress(_jpeg(photo, rng), mtime=0)


def _trailing_bytes(photo: Photo, rng: np.random.Generator) -> bytes:
    return _jpeg(photo, rng) + b"\r\n" + rng.bytes(200)


def _exif_orientation(photo: Photo, _rng: np.random.Generator) -> bytes:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # "rotate by 90 degrees to view"; the class is that of the pixels as they are stored
    return _save(Image.fromarray(photo), quality=90, exif=exif)


def _one_pixel_wide(photo: Photo, _rng: np.random.Generator) -> bytes:
    middle = photo.shape[1] // 2
    return _save(Image.fromarray(photo[:, middle : middle + 1]), quality=95)


def _cmyk(photo: Photo, _rng: np.random.Generator) -> bytes:
    """Four components with an Adobe marker, transform 0, inverted as Photoshop writes them."""
    return _save(Image.merge("CMYK", [Image.fromarray(plane) for plane in _separations(photo)]), quality=92)


def _ycck(photo: Photo, _rng: np.random.Generator) -> bytes:
    """Four components with an Adobe marker, transform 2: cyan, magenta and yellow stored as luma and chroma."""
    cyan, magenta, yellow, black = _separations(photo)
    luma_chroma = Image.fromarray(np.stack((cyan, magenta, yellow), axis=-1)).convert("YCbCr")
    # Pillow inverts all four components as it writes them; the three must be stored as they are, the black inverted.
    planes = [band.point(lambda value: 255 - value) for band in luma_chroma.split()]
    content = bytearray(_save(Image.merge("CMYK", [*planes, Image.fromarray(black)]), quality=92))
    marker = content.index(b"\xff\xee\x00\x0eAdobe")
    content[marker + 15] = ADOBE_YCCK
    return bytes(content)


def _separations(photo: Photo) -> list[Photo]:
    """Cyan, magenta, yellow and black (H, W) uint8, half of the grey part carried by the black."""
    rgb = photo.astype(np.int32)
    black = (255 - rgb.max(axis=-1)) // 2
    inks = 255 - (rgb * 255) // (255 - black)[..., None]
    planes = (*np.moveaxis(inks, -1, 0), black)
    return [np.ascontiguousarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in planes]


def _png_rgb(photo: Photo, _rng: np.random.Generator) -> bytes:
    return _save(Image.fromarray(photo), "PNG", compress_level=1)


def _png_rgba(photo: Photo, _rng: np.random.Generator) -> bytes:
    image = Image.fromarray(photo)
    image.putalpha(255)
    return _save(image, "PNG", compress_level=1)


def _png_palette(photo: Photo, _rng: np.random.Generator) -> bytes:
    return _save(Image.fromarray(photo).quantize(64), "PNG", compress_level=1)


def _truncated(photo: Photo, rng: np.random.Generator) -> bytes:
    """A JPEG of which the second half never arrived: no decoder may take it for an image."""
    content = _jpeg(photo, rng)
    return content[: len(content) // 2]


def _garbage(_photo: Photo, rng: np.random.Generator) -> bytes:
    return rng.bytes(3000)


def _unavailable(_photo: Photo, _rng: np.random.Generator) -> bytes:
    """The picture some sites send for one that they no longer have; the organisers' patches replace such."""
    image = Image.new("RGB", (240, 180), (232, 232, 232))
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((20, 50, 219, 129), outline=(150, 150, 150))
    canvas.text((52, 84), "image not available", fill=(110, 110, 110), font=ImageFont.load_default())
    return _save(image, quality=80)


def _save(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = "photo"
UNAVAILABLE = "unavailable"
UNDECODABLE = ("truncated", "garbage")
ENCODERS: dict[str, Encoder] = {
    PHOTO: _jpeg,
    "gzip": _gzip,
    "cmyk": _cmyk,
    "ycck": _ycck,
    "png_rgb": _png_rgb,
    "png_rgba": _png_rgba,
    "png_palette": _png_palette,
    "gray": _gray,
    "exif_orientation": _exif_orientation,
    "trailing_bytes": _trailing_bytes,
    "one_pixel_wide": _one_pixel_wide,
    "truncated": _truncated,
    "garbage": _garbage,
    UNAVAILABLE: _unavailable,
}


def encode_photo(kind: str, photo: Photo, rng: np.random.Generator) -> bytes:
    """A file of `kind` (a key of ENCODERS) that shows `photo`, (H, W, 3) uint8 RGB; choices are drawn from `rng`."""
    return ENCODERS[kind](photo, rng)
