"""What stands beside a PNG's picture takes nothing from it."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from alexnet_pixels.convert import convert
from alexnet_pixels.png import picture_chunks
from alexnet_pixels.recipe import PixelRecipe

RECIPE = PixelRecipe()


def chunk(kind: bytes, content: bytes, *, damaged: bool = False) -> bytes:
    """A PNG chunk."""
    crc = zlib.crc32(kind + content) ^ damaged
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "beside",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (9 << 20))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"tEXt", b"Title\0" + b"damaged", damaged=True),
        chunk(b"iCCP", b"profile\0\0no zlib"),
        chunk(b"gAMA", b"x"),
        chunk(b"prVt", bytes(2 << 20)),
    ],
)
def test_large_and_damaged_chunks_beside_the_picture(beside: bytes) -> None:
    plain = png(image())
    header_end = 8 + 25
    found = convert(plain[:header_end] + beside + plain[header_end:], RECIPE)
    assert found.kinds == ("png",)
    assert found.jpeg == convert(plain, RECIPE).jpeg


def test_transparent_colours_stay_and_are_counted() -> None:
    plain = png(image(), transparency=(1, 2, 3))
    assert b"tRNS" in picture_chunks(plain)
    assert convert(plain, RECIPE).kinds == ("alpha", "png")
    palette = png(image().quantize(8), transparency=3)
    assert convert(palette, RECIPE).kinds == ("alpha", "palette", "png")


def test_what_is_no_sequence_of_chunks_stays_as_it_is() -> None:
    plain = png(image())
    assert picture_chunks(plain) is plain
    for content in (plain[:8], plain[:50], plain[:-3], b"\x89PNG\r\n\x1a\n" + b"\xff" * 40):
        assert picture_chunks(content) == content
