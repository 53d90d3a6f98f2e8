"""Odd image files: each really is what it is called, as Pillow and its own bytes say."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from alexnet_drawn.draw import Photo, draw_photo
from alexnet_drawn.odd import ENCODERS, UNDECODABLE, encode_photo

GENERATOR_KEY = 5


@pytest.fixture(scope="module")
def photo() -> Photo:
    return draw_photo(5, np.random.default_rng(3), 200, 150)


def encode(kind: str, photo: Photo) -> bytes:
    return encode_photo(kind, photo, np.random.default_rng(GENERATOR_KEY))


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("kind", "file_format", "mode"),
    [
        ("photo", "JPEG", "RGB"),
        ("gray", "JPEG", "L"),
        ("cmyk", "JPEG", "CMYK"),
        ("ycck", "JPEG", "CMYK"),
        ("exif_orientation", "JPEG", "RGB"),
        ("trailing_bytes", "JPEG", "RGB"),
        ("one_pixel_wide", "JPEG", "RGB"),
        ("unavailable", "JPEG", "RGB"),
        ("png_rgb", "PNG", "RGB"),
        ("png_rgba", "PNG", "RGBA"),
        ("png_palette", "PNG", "P"),
    ],
)
def test_format_and_mode(kind: str, file_format: str, mode: str, photo: Photo) -> None:
    image = opened(encode(kind, photo))
    assert (image.format, image.mode) == (file_format, mode)


@pytest.mark.parametrize("kind", ["photo", "cmyk", "ycck", "png_rgb", "png_rgba", "png_palette", "exif_orientation"])
def test_pixels_are_those_of_the_photo(kind: str, photo: Photo) -> None:
    rgb = np.asarray(opened(encode(kind, photo)).convert("RGB")).astype(int)
    assert rgb.shape == photo.shape
    assert np.abs(rgb - photo).mean() < 14


def test_cmyk_and_ycck_differ_in_their_adobe_marker(photo: Photo) -> None:
    transforms = {kind: opened(encode(kind, photo)).info["adobe_transform"] for kind in ("cmyk", "ycck")}
    assert transforms == {"cmyk": 0, "ycck": 2}


def test_gzip_holds_a_jpeg(photo: Photo) -> None:
    content = encode("gzip", photo)
    with pytest.raises(UnidentifiedImageError):
        opened(content)
    assert opened(gzip.decompress(content)).format == "JPEG"


def test_exif_orientation_asks_for_a_rotation(photo: Photo) -> None:
    assert opened(encode("exif_orientation", photo)).getexif()[0x0112] == 6


def test_trailing_bytes_follow_the_end_marker(photo: Photo) -> None:
    content = encode("trailing_bytes", photo)
    assert content[-204:-202] == b"\xff\xd9"
    assert opened(content).size == (200, 150)


def test_one_pixel_wide(photo: Photo) -> None:
    assert opened(encode("one_pixel_wide", photo)).size == (1, 150)


@pytest.mark.parametrize("kind", UNDECODABLE)
def test_undecodable_files_do_not_load(kind: str, photo: Photo) -> None:
    with pytest.raises(OSError):  # UnidentifiedImageError is one
        opened(encode(kind, photo))


def test_truncated_begins_as_a_jpeg(photo: Photo) -> None:
    assert Image.open(io.BytesIO(encode("truncated", photo))).size == (200, 150)


@pytest.mark.parametrize("kind", ENCODERS)
def test_same_generator_same_bytes(kind: str, photo: Photo) -> None:
    assert encode(kind, photo) == encode(kind, photo)


def test_photos_have_all_three_samplings_and_many_qualities(photo: Photo) -> None:
    contents = [encode_photo("photo", photo[:64, :64], np.random.default_rng(k)) for k in range(60)]
    images = [opened(content) for content in contents]
    samplings = {image.layer[0][1:3] for image in images}  # type: ignore[attr-defined]
    assert samplings == {(1, 1), (2, 1), (2, 2)}
    assert len({tuple(image.quantization[0]) for image in images}) > 15  # type: ignore[attr-defined]
