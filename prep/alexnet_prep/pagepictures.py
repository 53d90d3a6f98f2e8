"""The pictures of the report's page: samples of shards, the mean image, colour noise, crops, pixels as points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_pages import Picture
from alexnet_pages.pictures import array_picture
from alexnet_prep.samples import BadSampleError, decode_sample
from alexnet_shards import ShardSet, Stats
from alexnet_shards.geometry import CROP_POSITIONS, CROP_PX, IMAGE_PX

Image = npt.NDArray[np.uint8]
NOISE_SCALE = 0.1  # paper section 4.1
DEVIATIONS = (-3, -2, -1, 0, 1, 2, 3)
RED, GREEN, BLUE = (230, 60, 60), (60, 190, 90), (80, 140, 250)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A decoded sample: (256, 256, 3) uint8 RGB and the words of its class."""

    image_hwc: Image
    words: str


def spread_samples(shards: ShardSet, count: int) -> list[Sample]:
    """`count` samples at even distances in the index, fewer where there are fewer or some are bad."""
    rows = np.unique(np.linspace(0, shards.num_samples - 1, min(count, shards.num_samples)).round().astype(np.int64))
    samples = []
    for row in shards.rows[rows]:
        try:
            with Path(shards.paths[int(row["shard"])]).open("rb") as shard:
                image_hwc = decode_sample(shard, row)
        except (OSError, BadSampleError):
            continue  # verification names it; a report shows what there is
        label = int(row["label"])
        fact = shards.classes[label] if 0 <= label < len(shards.classes) else None
        samples.append(Sample(image_hwc=image_hwc, words=(fact.words or fact.wnid) if fact else "no label"))
    return samples


def sample_pictures(samples: Sequence[Sample], side_px: int) -> tuple[Picture, ...]:
    """The samples as thumbnails with the first word of their class."""
    return tuple(
        array_picture(sample.image_hwc, f"sample of {sample.words}", sample.words.partition(",")[0], side_px)
        for sample in samples
    )


def mean_picture(stats: Stats) -> Picture:
    """The mean image of the training set."""
    image_hwc = stats.mean_image_hwc.round().clip(0, 255).astype(np.uint8)
    return array_picture(image_hwc, f"mean of {stats.images:,} images", "the mean image, 256x256")


def noisy_pictures(image_hwc: Image, stats: Stats, axis: int, side_px: int) -> tuple[Picture, ...]:
    """A photo under colour noise of so many deviations along one axis of the RGB cloud (paper section 4.1).

    What is added to every pixel is the axis times its deviation, a tenth of it and the number of deviations.
    """
    step = stats.eigenvectors[:, axis] * np.sqrt(max(float(stats.eigenvalues[axis]), 0.0)) * NOISE_SCALE
    pictures = []
    for deviations in DEVIATIONS:
        noisy_hwc = (image_hwc + deviations * step).round().clip(0, 255).astype(np.uint8)
        words = f"{deviations:+d}" if deviations else "as it is"
        pictures.append(array_picture(noisy_hwc, f"axis {axis + 1}, {words} deviations", words, side_px))
    return tuple(pictures)


def crop_pictures(image_hwc: Image) -> tuple[Picture, ...]:
    """A photo with the frames of its corner crops and the square of all top left corners, then those crops."""
    last_px = CROP_POSITIONS - 1
    places = (
        ("top left", 0, 0),
        ("top right", 0, last_px),
        ("bottom left", last_px, 0),
        ("bottom right", last_px, last_px),
        ("centre", last_px // 2, last_px // 2),
    )
    framed_hwc = image_hwc.copy()
    framed_hwc[:CROP_POSITIONS, :CROP_POSITIONS] = (framed_hwc[:CROP_POSITIONS, :CROP_POSITIONS] // 2) + 100
    for (_, top_px, left_px), colour in zip(places, (RED, GREEN, BLUE, RED, GREEN), strict=True):
        _frame(framed_hwc, top_px, left_px, colour)
    words = f"{CROP_POSITIONS}x{CROP_POSITIONS} places of the top left corner (bright) and five frames"
    crops = [
        array_picture(image_hwc[top_px : top_px + CROP_PX, left_px : left_px + CROP_PX], f"crop {name}", name)
        for name, top_px, left_px in places
    ]
    return (array_picture(framed_hwc, words, words), *crops)


def cloud_points(samples: Sequence[Sample], count: int, channels: tuple[int, int]) -> list[tuple[float, float, str]]:
    """About `count` pixels of the samples as (one channel, another, their own colour as #rrggbb)."""
    if not samples:
        return []
    each = max(1, count // len(samples))
    picks = np.linspace(0, IMAGE_PX * IMAGE_PX - 1, each).astype(np.int64)
    # A stride that shares no factor with the width walks over all columns.
    pixels = np.concatenate([sample.image_hwc.reshape(-1, 3)[(picks * 7919) % IMAGE_PX**2] for sample in samples])
    first, second = channels
    return [(float(pixel[first]), float(pixel[second]), "#" + bytes(pixel.tolist()).hex()) for pixel in pixels]


def _frame(image_hwc: Image, top_px: int, left_px: int, colour: tuple[int, int, int]) -> None:
    """Draw the border of a crop, two pixels wide, into the image."""
    bottom_px, right_px = top_px + CROP_PX, left_px + CROP_PX
    for rows, columns in (
        (slice(top_px, top_px + 2), slice(left_px, right_px)),
        (slice(bottom_px - 2, bottom_px), slice(left_px, right_px)),
        (slice(top_px, bottom_px), slice(left_px, left_px + 2)),
        (slice(top_px, bottom_px), slice(right_px - 2, right_px)),
    ):
        image_hwc[rows, columns] = colour
