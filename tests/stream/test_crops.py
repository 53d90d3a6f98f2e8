"""The compiled way gives the pixels of a whole decode and a slice, for every kind of JPEG, and never takes a bad one."""

import io
import os
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from PIL import Image

from alexnet_shards.index import INDEX_DTYPE, IndexRows
from alexnet_stream.crops import SCRATCH_BYTES, Crops, load_crops

Image256 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def crops() -> Crops:
    library = load_crops()
    if library is None:
        pytest.skip("no C compiler, or no headers of libjpeg-turbo: the loader works without, see test_loader")
    return library


def jpeg_of(image_hwc: Image256, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image_hwc).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo(seed: int) -> Image256:
    """Smooth colours with noise: every frequency has something in it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse, np.int16) + rng.integers(-20, 21, (256, 256, 3))
    clipped: Image256 = np.clip(noisy, 0, 255).astype(np.uint8)
    return clipped


def shard_of(path: Path, jpegs: list[bytes]) -> IndexRows:
    """The JPEGs one after the other in a file, and their rows."""
    path.write_bytes(b"".join(jpegs))
    ends = np.cumsum([len(jpeg) for jpeg in jpegs])
    starts = [0, *ends[:-1].tolist()]
    rows = [(0, start, len(jpeg), 0, zlib.crc32(jpeg)) for start, jpeg in zip(starts, jpegs, strict=True)]
    return np.array(rows, INDEX_DTYPE)


def load(
    crops: Crops, path: Path, rows: IndexRows, places: list[tuple[int, int]] | None
) -> tuple[list[bool], npt.NDArray[np.uint8]]:
    """(what was left, images) of the rows; `places` None: whole images."""
    height_px = 256 if places is None else 224
    images_nhwc = np.full((len(rows), height_px, height_px, 3), 7, np.uint8)
    offsets = None
    if places is not None:
        offsets = np.array([top for top, _ in places], np.uint8), np.array([left for _, left in places], np.uint8)
    descriptor = os.open(path, os.O_RDONLY)
    report = crops.load(rows, [descriptor] * len(rows), offsets, images_nhwc)
    os.close(descriptor)
    return report.left.tolist(), images_nhwc


KINDS: list[dict[str, Any]] = [
    {"quality": 95, "subsampling": "4:2:0"},
    {"quality": 90, "subsampling": "4:2:2"},
    {"quality": 85, "subsampling": "4:4:4"},
    {"quality": 30, "subsampling": "4:2:0", "optimize": True},
    {"quality": 75, "progressive": True},
    {"quality": 75, "restart_marker_rows": 1},
    {"quality": 100, "subsampling": "4:2:0"},
]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_pixels_are_those_of_a_whole_decode(crops: Crops, tmp_path: Path, kind: int) -> None:
    """At every row and every column offset, also where the crop begins inside a block."""
    jpegs = [jpeg_of(photo(seed), **KINDS[kind]) for seed in range(3)] * 11
    places = [(number, (number * 7) % 33) for number in range(33)]
    rows = shard_of(tmp_path / "s", jpegs)
    left, images_nhwc = load(crops, tmp_path / "s", rows, places)
    assert not any(left)
    for jpeg, (top, across), image_hwc in zip(jpegs, places, images_nhwc, strict=True):
        whole_hwc = simplejpeg.decode_jpeg(jpeg, "RGB")
        assert np.array_equal(image_hwc, whole_hwc[top : top + 224, across : across + 224])
    left, whole_nhwc = load(crops, tmp_path / "s", rows[:3], None)
    assert not any(left)
    assert all(np.array_equal(a, simplejpeg.decode_jpeg(b, "RGB")) for a, b in zip(whole_nhwc, jpegs, strict=False))


def test_grey_images(crops: Crops, tmp_path: Path) -> None:
    jpeg = jpeg_of(photo(1)[:, :, 0])
    left, images_nhwc = load(crops, tmp_path / "s", shard_of(tmp_path / "s", [jpeg]), [(5, 9)])
    assert left == [False]
    assert np.array_equal(images_nhwc[0], simplejpeg.decode_jpeg(jpeg, "RGB")[5:229, 9:233])


def test_what_is_not_perfect_is_left(crops: Crops, tmp_path: Path, draw_tools: SimpleNamespace) -> None:
    good = jpeg_of(photo(0), quality=90)
    cmyk = io.BytesIO()
    Image.fromarray(photo(1)).convert("CMYK").save(cmyk, "JPEG")
    jpegs = [
        good,
        b"",
        b"garbage" * 100,
        good[: len(good) // 2],
        cmyk.getvalue(),
        draw_tools.encode(draw_tools.draw_image(0, 256, 255)),
        draw_tools.encode(draw_tools.draw_image(0, 300, 300)),
        good + bytes(SCRATCH_BYTES),
        good,
    ]
    rows = shard_of(tmp_path / "s", jpegs)
    left, images_nhwc = load(crops, tmp_path / "s", rows, [(32, 32)] * len(jpegs))
    assert left == [False, *[True] * 7, False]
    assert np.array_equal(images_nhwc[0], images_nhwc[8])
    rows["crc32"][0] += 1
    rows["offset"][8] += 1
    assert load(crops, tmp_path / "s", rows[[0, 8]], [(0, 0)] * 2)[0] == [True, True]
    report = crops.load(rows[:1], [-1], None, np.zeros((1, 256, 256, 3), np.uint8))
    assert report.left.tolist() == [True]


def test_damaged_bytes_never_pass_for_another_image(crops: Crops, tmp_path: Path) -> None:
    """Bytes changed at random, checksums to match: what is taken has the pixels that simplejpeg gives it."""
    rng = np.random.default_rng(3)
    good = np.frombuffer(jpeg_of(photo(2), quality=80), np.uint8)
    jpegs = []
    for _ in range(400):
        bad = good.copy()
        bad[rng.integers(2, len(bad), rng.integers(1, 4))] = rng.integers(0, 256)
        jpegs.append(bad.tobytes()[: len(bad) - int(rng.integers(0, 2)) * int(rng.integers(0, 500))])
    left, images_nhwc = load(crops, tmp_path / "s", shard_of(tmp_path / "s", jpegs), None)
    taken = 0
    for jpeg, was_left, image_hwc in zip(jpegs, left, images_nhwc, strict=True):
        try:
            expected = simplejpeg.decode_jpeg(jpeg, "RGB")
        except ValueError:
            expected = None
        assert was_left == (expected is None or expected.shape != (256, 256, 3))
        if not was_left and expected is not None:
            taken += 1
            assert np.array_equal(image_hwc, expected)
    assert 20 < taken < 390
