"""How pixels are made, as the manifest and the checkpoints declare it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from PIL import Image

from alexnet_shards.errors import FormatError
from alexnet_shards.geometry import IMAGE_PX

# Pillow's kernels by what the recipe calls them, for shrinking and for enlarging. The released make-data used OpenCV's
# INTER_AREA and INTER_CUBIC. Pillow's BOX takes or leaves whole pixels: against an exact area average it is at 36 dB
# (median over real photos), HAMMING is at 45 dB, the nearest of Pillow's kernels.
KERNELS = {
    "area": (Image.Resampling.HAMMING, Image.Resampling.BICUBIC),
    "lanczos": (Image.Resampling.LANCZOS, Image.Resampling.LANCZOS),
    "bicubic": (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC),
    "bilinear": (Image.Resampling.BILINEAR, Image.Resampling.BILINEAR),
}
FILTERS = tuple(KERNELS)
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")
# 100 million pixels take 400 MB while they are decoded; the largest ImageNet photos have about 20 million.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class PixelRecipe:
    """How pixels are made: resampling filter (one of FILTERS), JPEG quality and chroma subsampling, a size bound, and
    whether a JPEG is kept of which a part is missing. Raises FormatError for values that are no recipe."""

    filter: str = "area"
    quality: int = 95
    subsampling: str = "4:2:0"
    max_pixels: int = MAX_PIXELS
    keep_truncated: bool = False

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, is_right in (
                ("filter", self.filter in FILTERS),
                ("quality", type(self.quality) is int and 1 <= self.quality <= 100),
                ("subsampling", self.subsampling in SUBSAMPLINGS),
                ("max_pixels", type(self.max_pixels) is int and 1 <= self.max_pixels <= MAX_PIXELS),
                ("keep_truncated", type(self.keep_truncated) is bool),
            )
            if not is_right
        ]
        if wrong:
            raise FormatError(
                f"pixel recipe: {wrong[0]} is {getattr(self, wrong[0])!r}; expected a filter of {', '.join(FILTERS)}, a "
                f"quality of 1 to 100, a subsampling of {', '.join(SUBSAMPLINGS)} and at most {MAX_PIXELS:,} pixels"
            )

    @classmethod
    def from_dict(cls, declared: Mapping[str, Any]) -> Self:
        """The recipe that a manifest or a checkpoint declares; what it is silent about is the default.

        Raises FormatError for values that are no recipe.
        """
        if not isinstance(declared, Mapping):
            raise FormatError(f"pixel recipe: {declared!r:.40}; expected a table as the manifest holds it")
        return cls(**{item.name: declared[item.name] for item in fields(cls) if item.name in declared})

    def as_dict(self) -> dict[str, Any]:
        """The recipe as the manifest declares it, with the rules that are not options."""
        down, up = KERNELS[self.filter]
        return {
            **asdict(self),
            "side_px": IMAGE_PX,
            "kernel_down": down.name.lower(),
            "kernel_up": up.name.lower(),
            "colour": "RGB before resizing; alpha dropped; EXIF orientation ignored, a TIFF's own applied",
            "rounding": "longer side = floor(longer * 256 / shorter + 1/2)",
            "crop": "offset = floor((longer - 256) / 2)",
            "scaled_decode": "1/2, 1/4 or 1/8 where the shorter side stays at least 256",
        }
