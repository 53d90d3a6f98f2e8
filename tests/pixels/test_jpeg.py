"""JPEGs whose data end early are told from whole ones that libjpeg warns of, in every coding."""

import io
import re
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from PIL import Image

from alexnet_pixels.convert import convert
from alexnet_pixels.recipe import PixelRecipe
from alexnet_pixels.sniff import MAX_JPEG_SCANS, BadImage

END = b"\xff\xd9"
WIDTH_PX, HEIGHT_PX = 600, 400
KEEP, STRICT = PixelRecipe(keep_truncated=True), PixelRecipe()
CODER = """
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>
/* WIDTH HEIGHT ARITHMETIC PROGRESSIVE RESTART: RGB from stdin to a JPEG on stdout. */
int main(int count, char **words) {
    int width = atoi(words[1]), height = atoi(words[2]);
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_stdio_dest(&info, stdout);
    info.image_width = width;
    info.image_height = height;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 95, TRUE);
    if (atoi(words[4])) jpeg_simple_progression(&info);
    info.arith_code = atoi(words[3]);
    info.restart_interval = atoi(words[5]);
    jpeg_start_compress(&info, TRUE);
    unsigned char *row = malloc(width * 3);
    while ((int)info.next_scanline < height) {
        if (fread(row, 1, width * 3, stdin) == 0) return 1;
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    return 0;
}
"""


@pytest.fixture(scope="module")
def photo() -> npt.NDArray[np.uint8]:
    """(400, 600, 3) uint8: smooth colours under noise, over 64 KiB in every coding."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    smooth = coarse.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)
    noise = Image.fromarray(rng.integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8))
    return np.asarray(Image.blend(smooth, noise, 0.2))


@pytest.fixture(scope="module")
def coded(photo: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """The photo as a JPEG coded by libjpeg itself, in ways that Pillow does not write."""
    folder = tmp_path_factory.mktemp("coder")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: no arithmetic-coded JPEG can be made here")
    (folder / "coder.c").write_text(CODER)
    subprocess.run(["cc", "-o", folder / "coder", folder / "coder.c", "-ljpeg"], check=True)

    def code(arithmetic: int = 0, progressive: int = 0, restart: int = 0) -> bytes:
        words = [str(number) for number in (WIDTH_PX, HEIGHT_PX, arithmetic, progressive, restart)]
        done = subprocess.run([folder / "coder", *words], input=photo.tobytes(), capture_output=True, check=True)
        return done.stdout

    return code


def saved(photo: npt.NDArray[np.uint8], mode: str) -> bytes:
    """The photo as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(photo).convert(mode).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels_of(jpeg: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)


FORMS: dict[str, Callable[[Any, Any], bytes]] = {
    "baseline": lambda photo, coded: saved(photo, "RGB"),
    "gray": lambda photo, coded: saved(photo, "L"),
    "cmyk": lambda photo, coded: saved(photo, "CMYK"),
    "restarts": lambda photo, coded: coded(restart=40),
    "progressive": lambda photo, coded: coded(progressive=1),
    "arithmetic": lambda photo, coded: coded(arithmetic=1),
    "arithmetic progressive": lambda photo, coded: coded(arithmetic=1, progressive=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_coding_is_whole_or_dropped_with_what_is_missing(form: str, photo: Any, coded: Any) -> None:
    content = FORMS[form](photo, coded)
    assert len(content) > 1 << 16  # Pillow feeds libjpeg 64 KiB at a time, and arithmetic decoding cannot wait for more
    whole = convert(content, STRICT)
    assert not {"warned", "truncated"} & set(whole.kinds)
    assert np.abs(pixels_of(whole.jpeg) - pixels_of(convert(saved(photo, "RGB"), STRICT).jpeg)).mean() < 30
    half = content[: len(content) // 2]
    for cut in (half + END, half):
        with pytest.raises(BadImage, match="truncated JPEG: .*(% of the picture is|details are) missing") as found:
            convert(cut, STRICT)
        kept = convert(cut, KEEP)
        assert "truncated" in kept.kinds
        assert "warned" not in kept.kinds
        if form in ("baseline", "gray", "cmyk", "restarts", "arithmetic"):
            share = int(str(found.value).split(": ")[1].split("%")[0])
            assert 40 <= share <= 60
            top = pixels_of(kept.jpeg)[:100] - pixels_of(whole.jpeg)[:100]
            assert np.abs(top).mean() < 1  # what came before the end is as it was


@pytest.mark.parametrize("form", FORMS)
def test_only_the_end_mark_is_missing(form: str, photo: Any, coded: Any) -> None:
    content = FORMS[form](photo, coded)
    found = convert(content[:-2], STRICT)
    assert "warned" in found.kinds
    assert found.jpeg == convert(content, STRICT).jpeg


@pytest.mark.parametrize("form", FORMS)
def test_extra_bytes_before_the_end_mark_are_harmless(form: str, photo: Any, coded: Any) -> None:
    content = FORMS[form](photo, coded)
    found = convert(content[:-2] + b"\0\0sixteen extra bytes" + END, STRICT)
    assert "warned" in found.kinds
    assert found.jpeg == convert(content, STRICT).jpeg


def test_bytes_lost_in_the_middle_are_noticed(photo: Any, coded: Any) -> None:
    for content in (saved(photo, "RGB"), coded(restart=40)):
        middle = len(content) // 2
        with pytest.raises(BadImage, match="truncated JPEG"):
            convert(content[:middle] + content[middle + 5000 :], STRICT)


def test_a_grey_picture_is_not_taken_for_a_missing_one() -> None:
    content = saved(np.full((300, 300, 3), 128, np.uint8), "RGB")
    assert convert(content, STRICT).kinds == ()
    assert convert(content[:-2], STRICT).kinds == ("warned",)
    assert convert(content[:-2] + b"sixteen and more" + END, STRICT).kinds == ("warned",)


def test_nothing_at_all_is_dropped_even_where_truncated_ones_are_kept(photo: Any) -> None:
    content = saved(photo, "RGB")
    header = content[: content.index(b"\xff\xda") + 14]
    with pytest.raises(BadImage, match="100% of the picture is missing"):
        convert(header + END, KEEP)


def test_a_missing_part_is_measured_in_little_memory() -> None:
    """An eighth of the largest picture takes no gigabyte: a worker has four, and would be lost instead of a picture."""
    noise_hwc = np.random.default_rng(0).integers(0, 256, (3072, 4096, 3), np.uint8)
    content = simplejpeg.encode_jpeg(noise_hwc, 50)
    tracemalloc.start()
    try:
        with pytest.raises(BadImage, match="98% of the picture is missing"):
            convert(content[: len(content) // 50], STRICT)
        assert tracemalloc.get_traced_memory()[1] < 6 * noise_hwc.nbytes
    finally:
        tracemalloc.stop()


def test_the_cases_of_half_files(data_dir: Path) -> None:
    found: dict[str, Any] = {}
    with tarfile.open(data_dir.parent / "cases" / "ingest" / "jpeg-half.tar") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                try:
                    found[Path(member.name).name] = convert(file.read(), STRICT).kinds
                except BadImage as error:
                    found[Path(member.name).name] = str(error)
    assert found["plain.jpg"] == ()
    assert found["bighalfeoi.jpg"] == "truncated JPEG: 66% of the picture is missing"
    assert found["halfeoi.jpg"] == "truncated JPEG: 48% of the picture is missing"
    assert "its data end early" in found["zeromid.jpg"]


@pytest.mark.parametrize("size_px", [(1600, 1100), (2048, 2048), (515, 1033), (511, 512), (2049, 4100)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_scaled_decoding_is_pillows(size_px: tuple[int, int], mode: str) -> None:
    coarse = np.random.default_rng(2).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size_px, Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    drafted = Image.open(io.BytesIO(buffer.getvalue()))
    drafted.draft(None, (256, 256))
    width_px, height_px = drafted.size
    ours = simplejpeg.decode_jpeg(
        buffer.getvalue(), "RGB", min_width=width_px if width_px < size_px[0] else 0, min_height=0
    )
    assert ours.shape[:2] == (height_px, width_px)
    assert np.array_equal(ours, np.asarray(drafted.convert("RGB")))


@pytest.mark.parametrize("arithmetic", [0, 1])
def test_cut_between_two_scans_it_lacks_no_byte_and_is_dropped(coded: Any, arithmetic: int) -> None:
    """Each of these was written as a whole picture, the first of them a blur."""
    content = coded(progressive=1, arithmetic=arithmetic)
    starts = [match.start() for match in re.finditer(b"\xff\xda", content)]
    assert len(starts) == 10
    whole = convert(content, STRICT)
    assert "truncated" not in whole.kinds
    for number, start in enumerate(starts[1:], 1):
        ends = start if not number else content.rfind(b"\xff\xc4", starts[number - 1], start)
        cut = content[: ends if ends > 0 else start] + END
        with pytest.raises(
            BadImage, match=rf"truncated JPEG: its data end in scan {number}, finer details are missing"
        ):
            convert(cut, STRICT)
        kept = convert(cut, KEEP)
        assert "truncated" in kept.kinds


def test_a_bomb_of_scans_is_refused(coded: Any) -> None:
    content = coded(progressive=1)
    last = content.rindex(b"\xff\xda")
    bomb = content[:last] + content[last:-2] * MAX_JPEG_SCANS + END
    with pytest.raises(BadImage, match=f"over {MAX_JPEG_SCANS} scans: a decompression bomb"):
        convert(bomb, STRICT)
