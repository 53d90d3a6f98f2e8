"""The recipe against plain Pillow, the slow way: decode all, resize all, crop. PSNRs are stated per filter."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet_pixels.convert import convert
from alexnet_pixels.recipe import FILTERS, KERNELS, PixelRecipe
from alexnet_pixels.sniff import BadImage
from alexnet_prep.imagenet import read_official_split
from alexnet_prep.reader import SourceReader
from alexnet_shards.editions import EDITIONS

Pixels = npt.NDArray[np.float64]


def psnr_db(ours: Pixels, theirs: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images."""
    error = float(np.mean((ours - theirs) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def pixels_of(jpeg: bytes) -> Pixels:
    """(H, W, 3) of an image file."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(np.float64)


def slow_centre(source: bytes, filter_name: str) -> Image.Image:
    """The centre 256x256 by plain Pillow: convert, resize everything, crop."""
    image = Image.open(io.BytesIO(source)).convert("RGB")
    short = min(image.size)
    size = tuple(int(side * 256 / short + 0.5) for side in image.size)
    down, up = KERNELS[filter_name]
    resized = image.resize(size, down if short > 256 else up)  # type: ignore[arg-type]
    left, top = ((side - 256) // 2 for side in resized.size)
    return resized.crop((left, top, left + 256, top + 256))


def area_average(image_hwc: Pixels, height_px: int, width_px: int) -> Pixels:
    """Exact area averages, as OpenCV's INTER_AREA computes them."""

    def weights(before: int, after: int) -> Any:
        edges = np.arange(after + 1) * before / after
        overlap = np.minimum(edges[1:, None], np.arange(1, before + 1)) - np.maximum(
            edges[:-1, None], np.arange(before)
        )
        return np.maximum(overlap, 0) * after / before

    tall = np.tensordot(weights(image_hwc.shape[0], height_px), image_hwc, 1)
    averaged: Pixels = np.matmul(weights(image_hwc.shape[1], width_px), tall)
    return averaged


@pytest.fixture(scope="module")
def real_photos(data_dir: Path) -> list[bytes]:
    """Forty real photos, none of them damaged."""

    def read() -> Iterator[bytes]:
        source = read_official_split(EDITIONS["2010"], data_dir / "ilsvrc2010", "val", "devkit", lambda _: None)
        reader = SourceReader(source.containers)
        for row in range(0, 80, 2):
            place = source.locations[row]
            yield reader.read(int(place["container"]), source.names[row], int(place["offset"]), int(place["size"]))
        reader.close()

    return list(read())


@pytest.mark.parametrize("filter_name", FILTERS)
def test_real_photos_equal_the_slow_way(real_photos: list[bytes], filter_name: str) -> None:
    # Before encoding both have the same pixels, but where the source is scaled while it is decoded. So the slow way's
    # pixels are encoded alike, and what is left is at most rounding.
    recipe = PixelRecipe(filter=filter_name)
    for source in real_photos:
        buffer = io.BytesIO()
        slow = slow_centre(source, filter_name)
        slow.save(buffer, "JPEG", quality=95, subsampling="4:2:0")
        ours = pixels_of(convert(source, recipe).jpeg)
        scaled = min(Image.open(io.BytesIO(source)).size) >= 512
        assert psnr_db(ours, pixels_of(buffer.getvalue())) > (30 if scaled else 50)


def test_area_is_near_the_exact_area_average(real_photos: list[bytes]) -> None:
    found, box = [], []
    for source in real_photos:
        image = Image.open(io.BytesIO(source)).convert("RGB")
        short = min(image.size)
        if short < 280:
            continue
        width, height = (int(side * 256 / short + 0.5) for side in image.size)
        exact = area_average(np.asarray(image).astype(np.float64), height, width)
        found.append(psnr_db(np.asarray(image.resize((width, height), KERNELS["area"][0])).astype(np.float64), exact))
        box.append(psnr_db(np.asarray(image.resize((width, height), Image.Resampling.BOX)).astype(np.float64), exact))
    assert np.median(found) > 42
    assert np.median(found) > np.median(box) + 6  # why Pillow's BOX is not what `area` means


@pytest.mark.parametrize(
    "size", [(300, 400), (400, 300), (511, 256), (257, 900), (100, 80), (1, 77), (77, 1), (1200, 800)]
)
@pytest.mark.parametrize("filter_name", ["area", "lanczos"])
def test_every_shape_equals_the_slow_way(photo_bytes: Any, size: tuple[int, int], filter_name: str) -> None:
    source = photo_bytes(3, *size, quality=97, subsampling=0)
    converted = convert(source, PixelRecipe(filter=filter_name, quality=100, subsampling="4:4:4"))
    assert (converted.width_px, converted.height_px) == size
    slow = np.asarray(slow_centre(source, filter_name)).astype(np.float64)
    assert psnr_db(pixels_of(converted.jpeg), slow) > 40
    assert ("one_pixel" in converted.kinds) == (1 in size)


def test_a_256_image_keeps_its_pixels(photo_bytes: Any) -> None:
    source = photo_bytes(4, 256, 256)
    image = Image.open(io.BytesIO(source))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling="4:2:0")
    for filter_name in FILTERS:
        assert convert(source, PixelRecipe(filter=filter_name)).jpeg == buffer.getvalue()


def test_quality_and_subsampling_are_what_the_recipe_says(photo_bytes: Any) -> None:
    source = photo_bytes(5)
    for subsampling, expected in (("4:2:0", 2), ("4:2:2", 1), ("4:4:4", 0)):
        from PIL import JpegImagePlugin

        image = Image.open(io.BytesIO(convert(source, PixelRecipe(subsampling=subsampling)).jpeg))
        assert JpegImagePlugin.get_sampling(image) == expected
    lengths = [len(convert(source, PixelRecipe(quality=quality)).jpeg) for quality in (60, 80, 95)]
    assert lengths == sorted(lengths)


def test_the_same_bytes_every_time(photo_bytes: Any) -> None:
    source = photo_bytes(6, comment=b"a comment that must not travel")
    assert convert(source, PixelRecipe()).jpeg == convert(source, PixelRecipe()).jpeg
    assert b"must not travel" not in convert(source, PixelRecipe()).jpeg


def test_cmyk_has_its_colours(photo_bytes: Any) -> None:
    rgb = Image.open(io.BytesIO(photo_bytes(7)))
    buffer = io.BytesIO()
    rgb.convert("CMYK").save(buffer, "JPEG", quality=98)
    converted = convert(buffer.getvalue(), PixelRecipe())
    assert converted.kinds == ("cmyk",)
    assert psnr_db(pixels_of(converted.jpeg), np.asarray(slow_centre(photo_bytes(7), "area")).astype(np.float64)) > 30


def test_sixteen_bits_are_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256 * 256).reshape(256, 256).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    converted = convert(buffer.getvalue(), PixelRecipe(quality=100))
    assert converted.kinds == ("16bit", "gray", "png")
    assert np.abs(pixels_of(converted.jpeg)[..., 0] - (ramp >> 8)).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_takes_nothing_from_the_pixels(photo_bytes: Any, mode: str) -> None:
    opaque = Image.open(io.BytesIO(photo_bytes(10))).convert(mode)
    clear = opaque.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    files = []
    for image in (opaque, clear):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append(convert(buffer.getvalue(), PixelRecipe()))
    assert files[0].kinds == files[1].kinds == (("alpha", "png") if mode == "RGBA" else ("alpha", "gray", "png"))
    assert files[0].jpeg == files[1].jpeg


def test_exif_orientation_is_counted_and_not_applied(photo_bytes: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = convert(photo_bytes(8), PixelRecipe()), convert(photo_bytes(8, exif=exif), PixelRecipe())
    assert turned.kinds == ("exif_orientation",)
    assert turned.jpeg == plain.jpeg


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda source: b"", "the file is empty"),
        (lambda source: source[: len(source) // 2], "truncated"),
        (lambda source: b"\0" * 100, "no image: zeros; read are JPEG"),
        (lambda source: b"<html>image not available</html>", "no image: an HTML page"),
    ],
)
def test_bad_images_have_a_reason(photo_bytes: Any, damage: Any, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as first:
        convert(damage(photo_bytes(9)), PixelRecipe())
    with pytest.raises(BadImage) as second:
        convert(damage(photo_bytes(9)), PixelRecipe())
    assert str(first.value) == str(second.value)
    assert "\n" not in str(first.value)
    assert "0x" not in str(first.value)


def test_a_bomb_is_not_decoded(photo_bytes: Any) -> None:
    with pytest.raises(BadImage, match="300x280 pixels, over the bound of 83,999"):
        convert(photo_bytes(1), PixelRecipe(max_pixels=83_999))
    assert convert(photo_bytes(1), PixelRecipe(max_pixels=84_000)).kinds == ()


def test_the_recipe_declares_its_rules() -> None:
    facts = PixelRecipe(filter="area").as_dict()
    assert (facts["kernel_down"], facts["kernel_up"], facts["quality"], facts["subsampling"]) == (
        "hamming",
        "bicubic",
        95,
        "4:2:0",
    )
    assert facts["side_px"] == 256
