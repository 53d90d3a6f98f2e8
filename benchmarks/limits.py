"""Two ways that would spare decoding, measured before they are built: what they could save, and what they would cost.

    python benchmarks/limits.py --photos DIR --shards DIR

Prep: only the centre square of a photo is transformed (benchmarks/centre.c), the pixels compared with a whole decode's.
Stream: restart markers, one every row of blocks, so that a reader begins at the first row of its crop. Not the reader, but
its limit: the same crop with the rows above already gone. CPU seconds of one thread, interleaved, medians.
"""

import argparse
import ctypes
import importlib
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet_pixels.decoder import decoder_facts
from alexnet_pixels.recipe import PixelRecipe
from alexnet_shards.geometry import CROP_PX, IMAGE_PX, centre_box
from alexnet_shards.native import load_library
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream.crops import load_crops

PLACE = ctypes.c_void_p
SIGNATURES = (("decode_box", ctypes.c_int, (ctypes.c_char_p, ctypes.c_ulong, ctypes.c_int, PLACE, PLACE, PLACE)),)
BLOCK_ROW_PX, LAST_OFFSET_PX, RGBX_BYTES = 16, IMAGE_PX - CROP_PX, 4
STAGES = {"open_image": "open", "decode_jpeg": "decode", "_resize_centre": "resize", "_encode": "encode"}


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A JPEG, what its decode is divided by, and the rows and columns that its centre square is made of, then."""

    content: bytes
    scale: int
    box_tblr: npt.NDArray[np.int32]


def photo_of(content: bytes) -> Photo:
    """The resampling reads as far beside the square as its kernel reaches, and one pixel more for the rounding."""
    with Image.open(io.BytesIO(content)) as image:
        width_px, height_px = image.size
    scale = next(scale for scale in (8, 4, 2, 1) if min(width_px, height_px) // IMAGE_PX >= scale or scale == 1)
    left, top, right, bottom = (edge / scale for edge in centre_box(width_px, height_px))
    beside = int(np.ceil((right - left) / IMAGE_PX)) + 1
    rows, columns = -(-height_px // scale), -(-width_px // scale)
    box = (top - beside, min(rows, np.ceil(bottom) + beside), left - beside, min(columns, np.ceil(right) + beside))
    return Photo(content=content, scale=scale, box_tblr=np.array([max(0, int(edge)) for edge in box], np.int32))


class CentreDecoder:
    """benchmarks/centre.c."""

    def __init__(self) -> None:
        library = load_library(Path(__file__).with_name("centre.c"), SIGNATURES, ("jpeg",))
        if library is None:
            raise SystemExit("no C compiler or no libjpeg-turbo headers: there is nothing to measure")
        self._call = library.decode_box
        self._memory = np.empty(1 << 26, np.uint8)
        self._shape = np.zeros(4, np.int32)

    def decode(self, photo: Photo, *, whole: bool) -> npt.NDArray[np.uint8]:
        """The pixels of the box, (rows, columns, 3), a view that the next call overwrites."""
        box = None if whole else PLACE(photo.box_tblr.ctypes.data)
        places = (PLACE(self._memory.ctypes.data), PLACE(self._shape.ctypes.data))
        if self._call(photo.content, len(photo.content), photo.scale, box, *places):
            raise SystemExit("a photo does not decode")
        first_row, first_column, rows, columns = (int(number) for number in self._shape)
        pixels = self._memory[: rows * columns * RGBX_BYTES].reshape(rows, columns, RGBX_BYTES)
        top, bottom, left, right = (int(edge) for edge in photo.box_tblr)
        return pixels[top - first_row : bottom - first_row, left - first_column : right - first_column, :3]


def interleaved(contenders: Mapping[str, Callable[[], object]], repeats: int, images: int) -> dict[str, float]:
    """Median CPU microseconds an image of this thread, a contender."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            started = time.thread_time()
            work()
            found[name].append((time.thread_time() - started) / images * 1e6)
    return {name: round(statistics.median(values), 1) for name, values in found.items()}


def stages(contents: list[bytes]) -> dict[str, float]:
    """CPU microseconds an image of what `convert` does, by the functions it calls."""
    module, spent = importlib.import_module("alexnet_pixels.convert"), dict.fromkeys(STAGES.values(), 0.0)
    originals = {function: getattr(module, function) for function in STAGES}

    def timed(function: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.thread_time()
            result = originals[function](*arguments)
            spent[STAGES[function]] += time.thread_time() - started
            return result

        return call

    for function in STAGES:
        setattr(module, function, timed(function))
    started = time.thread_time()
    for content in contents:
        module.convert(content, PixelRecipe())
    spent["all"] = time.thread_time() - started
    for function, original in originals.items():
        setattr(module, function, original)
    return {name: round(seconds / len(contents) * 1e6, 1) for name, seconds in spent.items()}


def centre(contents: list[bytes], repeats: int) -> dict[str, Any]:
    """What transforming the centre square alone saves of a decode, and whether its pixels are those of a whole one."""
    decoder, photos = CentreDecoder(), [photo_of(content) for content in contents]
    unlike = sum(
        not np.array_equal(decoder.decode(photo, whole=True).copy(), decoder.decode(photo, whole=False))
        for photo in photos
    )
    contenders = {
        "whole": lambda: [decoder.decode(photo, whole=True) for photo in photos],
        "centre": lambda: [decoder.decode(photo, whole=False) for photo in photos],
    }
    found = interleaved(contenders, repeats, len(photos))
    return {"us_per_image": found, "ratio": round(found["centre"] / found["whole"], 3), "photos_unlike": unlike}


def restart(shards: ShardSet, repeats: int) -> dict[str, Any]:
    """What restart markers could save of a random crop, and what they add to a file."""
    library, rows, rng = load_crops(), shards.rows, np.random.default_rng(0)
    if library is None:
        raise SystemExit("no C compiler or no libjpeg-turbo headers: there is nothing to measure")
    opened = [os.open(path, os.O_RDONLY) for path in shards.paths]
    descriptors = [opened[int(row["shard"])] for row in rows]
    jpegs = [os.pread(opened[int(row["shard"])], int(row["size"]), int(row["offset"])) for row in rows]
    crops, whole = (np.zeros((len(rows), px, px, 3), np.uint8) for px in (CROP_PX, IMAGE_PX))
    tops, lefts = rng.integers(0, LAST_OFFSET_PX + 1, (2, len(rows))).astype(np.uint8)
    # One row more than the crop's first, of which its colours are interpolated, must be read.
    left_to_skip = (tops - np.maximum(tops.astype(int) - 1, 0) // BLOCK_ROW_PX * BLOCK_ROW_PX).astype(np.uint8)
    contenders = {
        "whole": lambda: library.load(rows, descriptors, None, whole),
        "crop": lambda: library.load(rows, descriptors, (tops, lefts), crops),
        "crop, rows above gone": lambda: library.load(rows, descriptors, (left_to_skip, lefts), crops),
    }
    found = interleaved(contenders, repeats, len(rows))
    for descriptor in opened:
        os.close(descriptor)
    plain, marked = (sum(size_with(jpeg, every) for jpeg in jpegs) for every in (0, 1))
    ratios = {name: round(found[name] / found["whole"], 3) for name in ("crop", "crop, rows above gone")}
    return {"us_per_image": found, "of_whole": ratios, "size_ratio": round(marked / plain, 5)}


def size_with(jpeg: bytes, restart_rows: int) -> int:
    """The bytes of a JPEG written again with a restart marker after so many rows of blocks."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.save(buffer, "JPEG", quality="keep", restart_marker_rows=restart_rows)
    return len(buffer.getvalue())


def measure(photos: Path, shards: Path, repeats: int) -> dict[str, Any]:
    """Both, on the JPEG files below `photos` and on training shards."""
    contents = [path.read_bytes() for path in sorted(photos.rglob("*")) if path.suffix.lower() in (".jpeg", ".jpg")]
    return {
        "photos": len(contents),
        "prep_stages_us_per_image": stages(contents),
        "centre_square": centre(contents, repeats),
        "restart_markers": restart(open_shards([f"{shards}/train-*.tar"]), repeats),
        "versions": decoder_facts(),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEG files as a camera made them")
    parser.add_argument("--shards", type=Path, required=True, help="folder with training shards")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    print(json.dumps(measure(asked.photos, asked.shards, asked.repeats), indent=1))
