"""Scans of progressive JPEGs: files of libjpeg and of Pillow are whole, and each of them cut between two scans is not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_pixels.scans import lacks_scans

SCAN, END = b"\xff\xda", b"\xff\xd9"


def progressive(mode: str = "RGB", **options: object) -> bytes:
    coarse = np.random.default_rng(3).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize((310, 290), Image.Resampling.BICUBIC).convert(mode)
    image.save(buffer, "JPEG", progressive=True, **options)
    return buffer.getvalue()


WHOLE = {
    "colour": progressive(),
    "grey": progressive("L"),
    "cmyk": progressive("CMYK"),
    "restart markers": progressive(restart_marker_blocks=20),
    "a thumbnail that is progressive too": progressive(exif=b"Exif\0\0" + progressive("L")[:60_000]),
    "a comment with the mark of a scan": progressive(comment=b"x" + SCAN + END),
}


@pytest.mark.parametrize("form", WHOLE)
def test_whole_or_cut(form: str) -> None:
    content = WHOLE[form]
    assert not lacks_scans(content)
    assert not lacks_scans(content + b"\0" * 100)
    last = content.rindex(SCAN)
    assert lacks_scans(content[:last] + END)
    assert lacks_scans(content[:last])


def test_what_is_not_progressive_or_no_jpeg_is_left_to_the_decoder() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "JPEG")
    for content in (
        buffer.getvalue(),
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc2",
        b"\xff\xd8\xff\xc2\0\x03\x08" + END,
        b"text" * 9,
    ):
        assert not lacks_scans(content)
    whole = WHOLE["colour"]
    for end in range(2, len(whole), 37):  # any cut and any changed byte is judged, right or wrong, without an error
        lacks_scans(whole[:end])
        lacks_scans(whole[:end] + bytes([whole[end] ^ 0xFF]) + whole[end + 1 :])


def test_the_progressive_photos_of_a_real_set_are_whole(data_dir: Path) -> None:
    import tarfile

    seen = 0
    with tarfile.open(data_dir / "ilsvrc2010/ILSVRC2010_images_val.tar") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            content = file.read() if file is not None else b""
            if content:
                seen += 1
                assert not lacks_scans(content), member.name
    assert seen == 80
