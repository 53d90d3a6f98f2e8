"""What a source file is, told by its content and never by its name, and how its decoder may fail."""

import io
import re
import struct
import zlib

# TIFF's and WebP's plugins are named, as Pillow would look for them among all it has.
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin, features  # noqa: F401

from alexnet_pixels.png import picture_chunks

GZIP_MAGIC = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 512 << 20
# Pillow keeps a pointer a line and rounds each line up, so that a picture one pixel wide costs many times its pixels.
MAX_SIDE_PX = 1_000_000
# Each scan of a progressive JPEG passes over the whole picture, however few bytes it has; encoders write about ten.
MAX_JPEG_SCANS = 500
START_OF_SCAN = b"\xff\xda"
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
PNG_BIT_DEPTH_AT = 24
END_OF_IMAGE = b"\xff\xd9"
HEAD_BYTES = 512

# What is read here, by its beginning.
FORMATS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "GIF": rb"GIF8",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\x00|MM\x00[*+]|II\x00\*|MM\*\x00",
    "WebP": rb"RIFF....WEBP",
}
# What else has been found under an image's name, so that the reason can say what it is. None of a file's own bytes
# stand in a reason: a link in a source folder may lead to any file of its owner's.
OTHER_FORMATS = {
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
    "a film": rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ",
    "JPEG 2000": rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\x00\x00\x00\x0cJXL ",
    "JPEG XR": rb"II\xbc",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "Photoshop": rb"8BPS",
    "SVG": rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg",
    "an HTML page": rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!doctype html|<html|<head|<body)",
    "XML": rb"(\xef\xbb\xbf)?\s*<\?xml",
    "a portable any-map": rb"P[1-7][\s#]",
    "an icon": rb"\x00\x00[\x01\x02]\x00",
    "QOI": rb"qoif",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?(RADIANCE|RGBE)",
    "FITS": rb"SIMPLE  =",
    "DirectDraw surface": rb"DDS ",
    "a ZIP archive": rb"PK\x03\x04",
    "a RAR archive": rb"Rar!",
    "a 7z archive": rb"7z\xbc\xaf",
    "bzip2": rb"BZh",
    "xz": rb"\xfd7zXZ",
    "Zstandard": rb"\x28\xb5\x2f\xfd",
    "a tar archive": rb".{257}ustar",
    "zeros": rb"\x00+\Z",
    "text": rb"[\t\r\n\x20-\x7e]+\Z",
}

OTHER_PICTURES = ("AVIF", "HEIC", "JPEG 2000", "JPEG XL", "JPEG XR", "Photoshop")

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
    """Open `source` without decoding it; the bytes are what the image was opened from: `source`, what gzip had packed in
    it, or a PNG without its texts and colour profiles.

    Raises BadImage for what is no image, of a format that is not read here, or over the bounds (`max_pixels`,
    MAX_SIDE_PX, MAX_JPEG_SCANS), and DECODER_ERRORS for damaged headers.
    """
    if not source:
        raise BadImage("the file is empty")
    content = _unpack(source) if source.startswith(GZIP_MAGIC) else source
    name = _readable_format(content)
    if name == "PNG":
        content = picture_chunks(content)
    try:
        image = Image.open(io.BytesIO(content), formats=(name,))
    except UnidentifiedImageError as error:
        raise BadImage(f"a damaged {name} header, or a kind of {name} that Pillow does not read") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"over the bound of {max_pixels:,} pixels: a decompression bomb?") from error
    width_px, height_px = image.size
    if width_px * height_px > max_pixels:
        raise BadImage(f"{width_px}x{height_px} pixels, over the bound of {max_pixels:,}: a decompression bomb?")
    if max(image.size) > MAX_SIDE_PX:
        raise BadImage(f"{width_px}x{height_px} pixels, a side over {MAX_SIDE_PX:,}: a decompression bomb?")
    if "progressive" in image.info and content.count(START_OF_SCAN) > MAX_JPEG_SCANS:
        raise BadImage(f"a progressive JPEG of over {MAX_JPEG_SCANS} scans: a decompression bomb?")
    return image, content


def begins_as_picture(head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes or more) is a picture, read here or not, or gzip."""
    patterns = (*FORMATS.values(), *(OTHER_FORMATS[name] for name in OTHER_PICTURES))
    if head.startswith(b"BM"):  # two letters alone may begin any text; a bitmap's header has four zeros further on
        return head[6:10] == bytes(4)
    return head.startswith(GZIP_MAGIC) or any(re.match(beginning, head, re.DOTALL) for beginning in patterns)


def image_kinds(image: Image.Image, content: bytes, packed: bool) -> tuple[str, ...]:
    """What is unusual about an image and its file's `content`, sorted; () for the RGB JPEG that is expected.

    Formats other than JPEG go by their names in lower case; beside them `gzip`, `gray`, `cmyk`, `ycck`, `palette`, `alpha`,
    `16bit`, `float`, `exif_orientation` (not applied), `trailing_bytes` and `one_pixel` (a side of one).
    """
    jpeg = image.format in ("JPEG", "MPO")
    found = {
        "gzip": packed,
        (image.format or "").lower(): not jpeg,
        "gray": image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"),
        "cmyk": image.mode == "CMYK" and image.info.get("adobe_transform") != 2,
        "ycck": image.mode == "CMYK" and image.info.get("adobe_transform") == 2,
        "palette": image.mode in ("P", "PA"),
        "alpha": image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info,
        "16bit": _has_sixteen_bits(image, content),
        "float": image.mode == "F",
        "exif_orientation": jpeg and _orientation(image) not in (None, 1),
        "trailing_bytes": jpeg and _has_trailing_bytes(content),
        "one_pixel": 1 in image.size,
    }
    return tuple(sorted(kind for kind, is_so in found.items() if is_so))


def _readable_format(content: bytes) -> str:
    """The name of the file's format, a key of FORMATS; raises BadImage where it is another or cannot be read here."""
    head = content[:HEAD_BYTES]
    for name, beginning in FORMATS.items():
        if re.match(beginning, head, re.DOTALL):
            if name == "WebP" and not features.check("webp"):
                raise BadImage("WebP; this Pillow was built without it")
            return name
    found = (name for name, beginning in OTHER_FORMATS.items() if re.match(beginning, head, re.DOTALL | re.IGNORECASE))
    raise BadImage(f"no image: {next(found, 'of no known format')}; read are {', '.join(FORMATS)}")


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


def _has_sixteen_bits(image: Image.Image, content: bytes) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16 in image.tag_v2.get(TIFF_BITS_PER_SAMPLE, ())
    return image.format == "PNG" and content[PNG_BIT_DEPTH_AT : PNG_BIT_DEPTH_AT + 1] == b"\x10"


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
