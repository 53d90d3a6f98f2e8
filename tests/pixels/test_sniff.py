"""Odd files are known by their content; mutated ones give a sample or a reason, never anything else."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet_pixels.convert import PixelRecipe, convert
from alexnet_pixels.sniff import MAX_UNPACKED_BYTES, BadImage, open_image
from alexnet_prep.archive import SourceReader
from alexnet_prep.imagenet import read_official_split
from alexnet_shards.editions import EDITIONS

RECIPE = PixelRecipe()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def kinds_of(source: bytes) -> tuple[str, ...]:
    """What convert finds unusual."""
    return convert(source, RECIPE).kinds


def test_kinds_by_content(photo_bytes: Any) -> None:
    jpeg = photo_bytes(1)
    image = Image.open(io.BytesIO(jpeg))
    assert kinds_of(jpeg) == ()
    assert kinds_of(gzip.compress(jpeg)) == ("gzip",)
    assert kinds_of(jpeg + b"\0" * 9) == ("trailing_bytes",)
    assert kinds_of(saved(image.convert("L"), "JPEG")) == ("gray",)
    assert kinds_of(saved(image, "PNG")) == ("png",)
    assert kinds_of(saved(image.convert("RGBA"), "PNG")) == ("alpha", "png")
    assert kinds_of(saved(image.quantize(16), "PNG")) == ("palette", "png")
    assert kinds_of(saved(image, "BMP")) == ("bmp",)
    assert kinds_of(saved(image.convert("P"), "GIF")) == ("gif", "palette")
    assert kinds_of(gzip.compress(saved(image, "PNG"))) == ("gzip", "png")
    assert kinds_of(gzip.compress(jpeg + b"\0" * 9)) == ("gzip", "trailing_bytes")
    deep = saved(Image.fromarray(np.zeros((9, 9), np.uint16)), "PNG")
    assert kinds_of(deep) == ("16bit", "gray", "png")
    assert kinds_of(gzip.compress(deep)) == ("16bit", "gray", "gzip", "png")


def test_a_damaged_header_is_told_from_what_is_no_image(photo_bytes: Any) -> None:
    image = Image.open(io.BytesIO(photo_bytes(1)))
    for form in ("JPEG", "PNG", "GIF"):
        with pytest.raises(BadImage, match=f"a damaged {form} header"):
            convert(saved(image, form)[:5].ljust(60, b"\0"), RECIPE)
    with pytest.raises(BadImage, match="no image: begins with 25 50 44 46"):
        convert(b"%PDF-1.4", RECIPE)


def test_kinds_of_the_planted_files(data_dir: Path) -> None:
    planted = json.loads((data_dir / "ilsvrc2010.facts.json").read_text())["planted"]
    expected = {
        "gzip": "gzip",
        "png": "png",
        "trailing_bytes": "trailing_bytes",
        "exif_orientation": "exif_orientation",
    }
    expected |= {"gray": "gray", "cmyk": "cmyk", "tiny1px": "one_pixel"}
    source = read_official_split(EDITIONS["2010"], data_dir / "ilsvrc2010", "train", "devkit", lambda _: None)
    reader = SourceReader(source.containers)
    seen = set()
    for row in range(len(source)):
        kind = planted.get(bytes(source.names[row]).decode())
        place = source.locations[row]
        content = reader.read(int(place["container"]), source.names[row], int(place["offset"]), int(place["size"]))
        if kind in expected:
            assert expected[kind] in kinds_of(content)
            seen.add(kind)
        elif kind in ("truncated", "garbage"):
            with pytest.raises(BadImage):
                convert(content, RECIPE)
            seen.add(kind)
    reader.close()
    assert seen == {*expected, "truncated", "garbage"}


def test_gzip_is_bounded_and_checked(photo_bytes: Any) -> None:
    packed = gzip.compress(photo_bytes(1))
    for damaged in (packed[:-20], packed[:40], packed[:12] + b"\xff" * 8 + packed[20:]):
        with pytest.raises(BadImage, match="gzip"):
            convert(damaged, RECIPE)
    bomb = gzip.compress(bytes(1 << 20), 9) * 0 + gzip.compress(bytes(MAX_UNPACKED_BYTES + 1), 1)
    with pytest.raises(BadImage, match="bomb"):
        open_image(bomb, RECIPE.max_pixels)


def test_bad_exif_takes_nothing_from_the_pixels(photo_bytes: Any) -> None:
    plain = convert(photo_bytes(2), RECIPE)
    broken = convert(photo_bytes(2, exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage"), RECIPE)
    assert broken.jpeg == plain.jpeg


def seeds() -> list[bytes]:
    """Small files of every kind that mutations start from."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).resize((60, 48))
    exif = Image.Exif()
    exif[0x0112] = 3
    jpegs = [
        saved(image, "JPEG", exif=exif),
        saved(image, "JPEG", progressive=True),
        saved(image.convert("CMYK"), "JPEG"),
    ]
    others = [
        saved(image, "PNG"),
        saved(image.quantize(7), "PNG"),
        saved(image.convert("P"), "GIF"),
        saved(image, "BMP"),
    ]
    return [
        *jpegs,
        saved(image.convert("L"), "JPEG"),
        *others,
        gzip.compress(saved(image, "JPEG")),
    ]


SEEDS = seeds()


@settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_mutated_file_is_a_sample_or_a_reason(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 8))):
        # headers decide most, so they are hit most
        place = min(data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    if data.draw(st.booleans()):
        content += data.draw(st.binary(max_size=20))
    try:
        converted = convert(bytes(content), RECIPE)
    except BadImage as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        with Image.open(io.BytesIO(converted.jpeg)) as image:
            assert (image.size, image.mode) == ((256, 256), "RGB")
