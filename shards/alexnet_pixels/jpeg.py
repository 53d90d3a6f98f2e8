"""JPEGs: decoded once, strictly; what libjpeg warns of is harmless, or says that a part of the picture is missing."""

import io
import re

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from alexnet_pixels.scans import lacks_scans
from alexnet_pixels.sniff import END_OF_IMAGE, START_OF_SCAN, BadImage
from alexnet_shards.geometry import IMAGE_PX

SCALES = (8, 4, 2, 1)
COLOURS = {"RGB": "RGBX", "L": "GRAY"}  # RGBX is how Pillow holds RGB, so that nothing is copied
# How libjpeg begins what it only warns of; Pillow decodes these files without a word.
WARNING = re.compile(r"Corrupt JPEG data|Premature end|Inconsistent progression|Invalid SOS|Warning|Unknown Adobe")
DATA_END_EARLY = re.compile("premature end", re.IGNORECASE)
ONLY_EXTRA_BYTES = re.compile("extraneous bytes before marker 0xd9")  # in front of the end mark: all was decoded
MARKER = 0xFF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ARITHMETIC_FRAMES = (0xC9, 0xCA)
UNWRITTEN_ZEROS = 256
NOISES = tuple(bytes([level]) * 4096 for level in (0x5A, 0xA5))
CELL_PX = 8
NOTHING_LEFT = 0.99
# What libjpeg makes of a block without data: no light and no colour, so mid-grey; 127 where CMYK is inverted.
EMPTY_LEVELS = (127, 128)


def decode_jpeg(image: Image.Image, content: bytes, keep_truncated: bool) -> tuple[Image.Image, int, tuple[str, ...]]:
    """(pixels, scale, kinds) of a JPEG that `image` has opened: RGB, RGBX, L or CMYK at 1/scale of its size.

    The scale is what leaves the shorter side at least IMAGE_PX. Kinds are `warned` for a whole picture that libjpeg
    warns of, and `truncated` for one that is kept though a part is missing. Raises BadImage where a part is missing and
    `keep_truncated` is False, or nothing is there, and Pillow's errors where it cannot be decoded.
    """
    scale = _scale(image) if image.format == "JPEG" else 1
    arithmetic = _frame_marker(content) in ARITHMETIC_FRAMES
    pixels, complaint = _decode_strictly(image, content, scale)
    is_cut = "progressive" in image.info and lacks_scans(content)
    if complaint is None and not arithmetic and not is_cut:
        return (pixels or _decode_leniently(content, scale)), scale, ()
    lenient = _decode_leniently(content + END_OF_IMAGE, scale)
    missing = _missing(image, content, complaint)
    if missing is None and arithmetic:
        missing = _unread_share(content)
    if missing is None and is_cut:
        missing = 0.0
    if missing is None:
        return lenient, scale, () if complaint is None else ("warned",)
    if missing > NOTHING_LEFT or not keep_truncated:
        raise BadImage(_reason(missing, content.count(START_OF_SCAN) if "progressive" in image.info else 0))
    return lenient, scale, ("truncated",)


def _scale(image: Image.Image) -> int:
    """1, 2, 4 or 8: what libjpeg can divide both sides by while they stay at least IMAGE_PX."""
    return next(scale for scale in SCALES if min(image.size) // IMAGE_PX >= scale or scale == 1)


def _decode_strictly(image: Image.Image, content: bytes, scale: int) -> tuple[Image.Image | None, str | None]:
    """(pixels, None), or (None, what libjpeg warned of), or (None, None) where this decoder cannot say.

    CMYK, which Pillow has to turn, is only looked at.
    """
    width_px, height_px = (-(-side_px // scale) for side_px in image.size)
    colours = COLOURS.get(image.mode, "CMYK")
    bounds = {"min_height": height_px, "min_width": width_px} if scale > 1 else {}
    try:
        pixels = simplejpeg.decode_jpeg(content, colours, **bounds)
    except ValueError as error:
        return None, str(error) if WARNING.match(str(error)) else None
    if pixels.shape[:2] != (height_px, width_px) or image.mode not in COLOURS:
        return None, None
    mode = "L" if colours == "GRAY" else colours
    return Image.frombuffer(mode, (width_px, height_px), pixels, "raw", mode, 0, 1), None


def _decode_leniently(content: bytes, scale: int) -> Image.Image:
    """The pixels as Pillow has them, which says nothing of warnings."""
    again = Image.open(io.BytesIO(content), formats=("JPEG",))
    again.decodermaxblock = len(content)  # all at once: libjpeg cannot wait for more where the coding is arithmetic
    if scale > 1:
        again.draft(None, (IMAGE_PX, IMAGE_PX))
    again.load()
    return again


def _missing(image: Image.Image, content: bytes, complaint: str | None) -> float | None:
    """The share of the picture that is not there by what libjpeg complains of, 0..1; None where all of it is."""
    if complaint is not None and DATA_END_EARLY.search(complaint):
        # Where only the end mark is missing, all the pixels are there.
        _, complaint = _decode_strictly(image, content + END_OF_IMAGE, 1)
    if complaint is None or ONLY_EXTRA_BYTES.search(complaint):
        return None
    share = _empty_share(np.asarray(_decode_leniently(content + END_OF_IMAGE, 1)))
    return share if share or DATA_END_EARLY.search(complaint) else None


def _unread_share(content: bytes) -> float | None:
    """The share of an arithmetic-coded picture that is not there; None where all of it is.

    Its decoder takes zeros for data that are missing, without a word, as an encoder may leave zeros out at the end. So
    what would be read behind some zeros more is part of the picture, and changes it, only where the data end early.
    """
    end = content.rfind(END_OF_IMAGE)
    whole = content[: end if end >= 0 else len(content)] + bytes(UNWRITTEN_ZEROS)
    first, second = (np.asarray(_decode_leniently(whole + noise + END_OF_IMAGE, 1)) for noise in NOISES)
    unequal: npt.NDArray[np.bool_] = np.not_equal(first, second)
    return float(unequal.reshape(*first.shape[:2], -1).any(2).mean()) or None


def _empty_share(pixels: npt.NDArray[np.uint8]) -> float:
    """The share of the cells of 8x8 pixels of (H, W) or (H, W, C) uint8 that are flat mid-grey."""
    low, high = EMPTY_LEVELS  # not np.isin, which takes eight bytes for every value it finds
    levels = ((pixels == low) | (pixels == high)).reshape(*pixels.shape[:2], -1)
    empty: npt.NDArray[np.bool_] = np.logical_and.reduce(levels, axis=2)
    rows, columns = (max(1, side // CELL_PX) for side in empty.shape)
    cells = empty[: rows * CELL_PX, : columns * CELL_PX]
    tall = np.logical_and.reduceat(cells, np.arange(rows) * CELL_PX, axis=0)
    return float(np.logical_and.reduceat(tall, np.arange(columns) * CELL_PX, axis=1).mean())


def _reason(missing: float, scans: int) -> str:
    if missing:
        share = f"{missing:.0%}" if missing >= 0.005 else "under 1%"
        return f"truncated JPEG: {share} of the picture is missing"
    if scans:
        return f"truncated JPEG: its data end in scan {scans}, finer details are missing"
    return "truncated JPEG, or one damaged in the middle: its data end early"


def _frame_marker(content: bytes) -> int:
    """The second byte of the marker that begins the frame, which says how it is coded; 0 where there is none."""
    place = 2
    while place + 4 <= len(content) and content[place] == MARKER:
        kind = content[place + 1]
        if kind in FRAMES:
            return kind
        place += 1 if kind == MARKER else 2 + int.from_bytes(content[place + 2 : place + 4])
    return 0
