"""Every depth and colour space is what the shards hold, or a reason."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from alexnet_pixels.convert import convert
from alexnet_pixels.recipe import PixelRecipe
from alexnet_pixels.sniff import BadImage

RECIPE = PixelRecipe(quality=100, subsampling="4:4:4")
RAMP = np.linspace(0, 1, 300 * 300).reshape(300, 300)


def saved(array: Any, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, form, **options)
    return buffer.getvalue()


def error_to(source: bytes, expected: Any) -> float:
    """Largest difference of the sample's pixels from the 8-bit picture `expected`, after the same resize."""
    found = np.asarray(Image.open(io.BytesIO(convert(source, RECIPE).jpeg))).astype(int)
    wanted = np.asarray(Image.open(io.BytesIO(convert(saved(expected, "PNG"), RECIPE).jpeg))).astype(int)
    return float(np.abs(found - wanted).max())


def test_floats_of_one_are_white() -> None:
    source = saved(RAMP.astype(np.float32), "TIFF")
    assert convert(source, RECIPE).kinds == ("float", "gray", "tiff")
    assert error_to(source, np.rint(RAMP * 255).astype(np.uint8)) == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (RAMP * 255, r"float values of 0 to 255; expected 0 to 1"),
        (RAMP - 0.5, r"float values of -0.5 to 0.5; expected 0 to 1"),
        (RAMP * np.nan, "not finite"),
    ],
)
def test_other_floats_have_no_white(values: Any, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        convert(saved(values.astype(np.float32), "TIFF"), RECIPE)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits(form: str) -> None:
    deep = np.rint(RAMP * 65535).astype(np.uint16)
    source = saved(deep, form)
    assert convert(source, RECIPE).kinds == ("16bit", "gray", form.lower())
    assert error_to(source, (deep >> 8).astype(np.uint8)) == 0


def test_thirty_two_bits_are_refused() -> None:
    with pytest.raises(BadImage, match="grey values of 32 bits"):
        convert(saved((RAMP * 1000).astype(np.int32), "TIFF"), RECIPE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_colour_spaces_of_tiff(mode: str) -> None:
    image = Image.fromarray(np.stack([RAMP * 255, RAMP.T * 255, RAMP[::-1] * 255], 2).astype(np.uint8)).convert(mode)
    source = saved(image, "TIFF")
    kinds = convert(source, RECIPE).kinds
    assert "tiff" in kinds
    expected = {"LA": "alpha", "RGBA": "alpha", "CMYK": "cmyk", "P": "palette", "1": "gray", "L": "gray"}
    assert expected.get(mode, "tiff") in kinds
    assert error_to(source, image.convert("RGB")) == 0


def test_a_tiff_is_turned_as_it_says() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8))
    found = convert(saved(image, "TIFF", tiffinfo={274: 6}), RECIPE)
    assert (found.width_px, found.height_px) == (200, 300)


def test_a_compressed_tiff_is_read_or_the_library_is_named() -> None:
    image = Image.fromarray((RAMP * 255).astype(np.uint8))
    plain = saved(image, "TIFF")
    # Tag 259 in the directory, a short: 5 is LZW.
    place = plain.index(b"\x03\x01\x03\x00\x01\x00\x00\x00")
    source = plain[: place + 8] + b"\x05" + plain[place + 9 :]
    words = "cannot be decoded" if features.check("libtiff") else "a TIFF compressed by tiff_lzw; this Pillow was built"
    with pytest.raises(BadImage, match=words):
        convert(source, RECIPE)
