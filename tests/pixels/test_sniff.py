"""Odd files are known by their content; mutated ones give a sample or a reason, never anything else."""

import base64
import gzip
import io
import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from alexnet_pixels.convert import convert
from alexnet_pixels.recipe import PixelRecipe
from alexnet_pixels.sniff import MAX_UNPACKED_BYTES, BadImage, open_image
from alexnet_prep.imagenet import read_official_split
from alexnet_prep.reader import SourceReader
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
    with pytest.raises(BadImage, match="no image: PDF; read are JPEG"):
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
        saved(image, "TIFF"),
        saved(image.convert("F").point(lambda grey: grey / 255), "TIFF"),
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


@pytest.mark.parametrize(
    ("beginning", "name"),
    [
        (b"RIFF\x00\x01\x00\x00WEBPVP8 ", "WebP"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6", "PostScript"),
        (b"%PDF-1.4", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"<!DOCTYPE html>\n<p>404</p>", "an HTML page"),
        (b"\xef\xbb\xbf <HTML>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "SVG"),
        (b"<?xml version='1.0'?><annotation>", "XML"),
        (b"P6 3 3 255\n", "a portable any-map"),
        (b"PK\x03\x04", "a ZIP archive"),
        (bytes(300), "zeros"),
        (b"root:x:0:0:root:/root:/bin/bash\n", "text"),
        (b"\x01\x02\x03\x04", "of no known format"),
    ],
)
def test_what_cannot_be_read_is_named_and_not_quoted(beginning: bytes, name: str) -> None:
    with pytest.raises(BadImage, match=name) as found:
        convert(beginning, RECIPE)
    assert b"root" not in str(found.value).encode()
    assert not re.search(r"[0-9a-f]{2} [0-9a-f]{2}", str(found.value))


def test_webp_is_read_or_the_library_is_named() -> None:
    lossless = base64.b64decode("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")  # 1x1, by Google's documentation
    if features.check("webp"):
        assert kinds_of(lossless) == ("one_pixel", "webp")
    else:
        with pytest.raises(BadImage, match="WebP; this Pillow was built without it"):
            convert(lossless, RECIPE)


def png_of_size(width_px: int, height_px: int) -> bytes:
    """A PNG that is all black, one bit a pixel; as small as it can be."""
    rows = zlib.compressobj(9)
    line = bytes(1 + (width_px + 7) // 8)
    packed = b"".join(rows.compress(line * min(100_000, height_px)) for _ in range(max(1, height_px // 100_000)))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 1, 0, 0, 0, 0)),
        (b"IDAT", packed + rows.flush()),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


MEASURE = """
import resource, sys
from pathlib import Path
from alexnet_pixels import BadImage, PixelRecipe, convert
convert(Path(sys.argv[1]).read_bytes(), PixelRecipe())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[2:]:
    try:
        convert(Path(name).read_bytes(), PixelRecipe())
    except BadImage as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr)
"""


def test_bombs_are_refused_by_their_headers_before_memory_is_asked_for(photo_bytes: Any, tmp_path: Path) -> None:
    bombs = {
        "line.png": png_of_size(1, 170_000_000 // 100_000 * 100_000),
        "short.png": png_of_size(1, 90_000_000),
        "wide.png": png_of_size(90_000_000, 1),
        "square.png": png_of_size(40_000, 40_000),
        "head.bmp": struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 99, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "head.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;",
    }
    jpeg = bytearray(photo_bytes(1))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"  # 65500 x 65500
    bombs["head.jpg"] = bytes(jpeg)
    (tmp_path / "plain.jpg").write_bytes(photo_bytes(1))
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in ("plain.jpg", *bombs)]
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.count("a decompression bomb?") == len(bombs), done.stdout
    assert int(done.stderr) < 200_000  # KiB


def test_other_plugins_are_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # An EPS starts Ghostscript, others parse more than is needed; only the format that the content begins as is opened.
    asked: list[Any] = []
    opened = Image.open

    def open_noting(file: Any, formats: Any) -> Image.Image:
        asked.append(formats)
        return opened(file, formats=formats)

    monkeypatch.setattr(Image, "open", open_noting)
    for content in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x00\x00\x01\x00",
        b"P6 3 3 255\n" + bytes(27),
    ):
        with pytest.raises(BadImage):
            convert(content, RECIPE)
    assert asked == []
    for content in SEEDS:
        convert(content, RECIPE)
    assert set(asked) == {("JPEG",), ("PNG",), ("GIF",), ("BMP",), ("TIFF",)}
