"""What a source file is, told by its content and never by its name, and how its decoder may fail."""

import io
import struct
import zlib

from PIL import Image, UnidentifiedImageError

# What files with an image's name have been found to be, of what every build of Pillow reads.
FORMATS = ("JPEG", "PNG", "GIF", "BMP")
GZIP_MAGIC = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 512 << 20
EXIF_ORIENTATION = 0x0112
PNG_BIT_DEPTH_AT = 24
SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
END_OF_IMAGE = b"\xff\xd9"

# Everything Pillow's parsers raise for damaged bytes, found by mutating real files; UnidentifiedImageError is an OSError.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class BadImage(Exception):
    """A source file without a usable image; the text is the reason, the same for the same bytes."""


def open_image(source: bytes, max_pixels: int) -> tuple[Image.Image, bytes]:
    """Open `source` without decoding it; the bytes are the image file's: `source`, or what gzip had packed in it.

    Raises BadImage for what is no image or has over `max_pixels` pixels, and DECODER_ERRORS for damaged headers.
    """
    if not source:
        raise BadImage("the file is empty")
    content = _unpack(source) if source.startswith(GZIP_MAGIC) else source
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        name = next((name for start, name in SIGNATURES.items() if content.startswith(start)), None)
        reason = f"a damaged {name} header" if name else f"no image: begins with {content[:8].hex(' ')}"
        raise BadImage(reason) from error
    width_px, height_px = image.size
    if width_px * height_px > max_pixels:
        raise BadImage(f"{width_px}x{height_px} pixels, over the bound of {max_pixels:,}: a decompression bomb?")
    return image, content


def image_kinds(image: Image.Image, content: bytes, packed: bool) -> tuple[str, ...]:
    """What is unusual about an image and its file's `content`, sorted; () for the RGB JPEG that is expected.

    Formats other than JPEG go by their names in lower case; beside them `gzip`, `gray`, `cmyk`, `ycck`, `palette`, `alpha`,
    `16bit`, `exif_orientation` (not applied), `trailing_bytes` and `one_pixel` (a side of one).
    """
    jpeg = image.format in ("JPEG", "MPO")
    found = {
        "gzip": packed,
        (image.format or "").lower(): not jpeg,
        "gray": image.mode in ("1", "L", "LA") or image.mode.startswith("I"),
        "cmyk": image.mode == "CMYK" and image.info.get("adobe_transform") != 2,
        "ycck": image.mode == "CMYK" and image.info.get("adobe_transform") == 2,
        "palette": image.mode in ("P", "PA"),
        "alpha": image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info,
        "16bit": image.format == "PNG" and content[PNG_BIT_DEPTH_AT : PNG_BIT_DEPTH_AT + 1] == b"\x10",
        "exif_orientation": jpeg and _orientation(image) not in (None, 1),
        "trailing_bytes": jpeg and _has_trailing_bytes(content),
        "one_pixel": 1 in image.size,
    }
    return tuple(sorted(kind for kind, is_so in found.items() if is_so))


def _unpack(source: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = unpacker.decompress(source, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise BadImage(f"damaged gzip ({error})") from error
    if unpacker.unconsumed_tail:
        raise BadImage(f"gzip of over {MAX_UNPACKED_BYTES >> 20} MiB: a decompression bomb?")
    if not unpacker.eof:
        raise BadImage("truncated gzip")
    return content


def _orientation(image: Image.Image) -> int | None:
    if "exif" not in image.info:
        return None
    try:
        value = image.getexif().get(EXIF_ORIENTATION)
    except DECODER_ERRORS:  # bad EXIF takes nothing from the pixels
        return None
    return value if isinstance(value, int) else None


def _has_trailing_bytes(content: bytes) -> bool:
    end = content.rfind(END_OF_IMAGE)
    return end >= 0 and end + len(END_OF_IMAGE) != len(content)
