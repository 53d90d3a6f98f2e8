"""The statistics of a training split: mean image, RGB mean and the eigenvectors of the RGB covariance."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.parsing import Where, load_npz

VERSION = 1

SHAPES = {
    "mean_image_hwc": (IMAGE_PX, IMAGE_PX, 3),
    "rgb_mean": (3,),
    "covariance": (3, 3),
    "eigenvalues": (3,),
    "eigenvectors": (3, 3),
}
# What raw 0..255 RGB can give; eigenvalues of rounded covariances may be a little below 0.
LARGEST_VARIANCE = 3 * 255.0**2
RANGES = {
    "mean_image_hwc": (0.0, 255.0),
    "rgb_mean": (0.0, 255.0),
    "covariance": (-LARGEST_VARIANCE, LARGEST_VARIANCE),
    "eigenvalues": (-1e-3, LARGEST_VARIANCE),
    "eigenvectors": (-1.001, 1.001),
}
ARRAYS = {name: (shape, "float32" if name == "mean_image_hwc" else "float64") for name, shape in SHAPES.items()}
MAX_TEXT_BYTES = 1024
LIMITS = {
    **{name: math.prod(shape) * 8 for name, shape in SHAPES.items()},
    **dict.fromkeys(("version", "images", "fingerprint"), MAX_TEXT_BYTES),
}


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Statistics over every pixel of the 256x256 training images, in raw 0..255 RGB (paper section 4.1).

    `mean_image_hwc` is float32; the rest float64. `covariance` is of the RGB pixels about `rgb_mean`; `eigenvalues`
    are descending and column i of `eigenvectors` belongs to eigenvalue i. `fingerprint` names the shards they are of.
    """

    mean_image_hwc: npt.NDArray[np.float32]
    rgb_mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    eigenvalues: npt.NDArray[np.float64]
    eigenvectors: npt.NDArray[np.float64]
    images: int
    fingerprint: str

    @property
    def rgb_std(self) -> npt.NDArray[np.float64]:
        """(3,) float64 standard deviation of each channel over all pixels, 0..255."""
        return np.sqrt(np.diag(self.covariance))


def save_stats(path: Path, stats: Stats) -> None:
    """Write `stats` to `path` as .npz (loads with allow_pickle=False), whole or not at all."""
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(stats, field.name)) for field in fields(stats)}
    with atomic_file(path) as file:
        np.savez(file, version=np.asarray(VERSION), **arrays)


def load_stats(path: Path) -> Stats:
    """Read the statistics at `path`.

    Raises FormatError where they are missing, damaged, of another version, or numbers that no images can have.
    """
    where = Where(path=path, what="statistics", remedy="make them again with alexnet-prep compute-stats")
    try:
        arrays = load_npz(where, LIMITS)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no statistics; make them with alexnet-prep compute-stats") from error
    version, images, fingerprint = (arrays.pop(name) for name in ("version", "images", "fingerprint"))
    if version.shape != () or version.dtype.kind != "i" or int(version) != VERSION:
        raise where.wrong(f"not of version {VERSION}")
    if images.shape != () or images.dtype.kind != "i" or int(images) < 1:
        raise where.wrong("its count of images")
    if fingerprint.shape != () or fingerprint.dtype.kind != "U":
        raise where.wrong("its fingerprint")
    for name, (shape, dtype) in ARRAYS.items():
        _check_array(name, arrays[name], shape, dtype, where)
    return Stats(**arrays, images=int(images), fingerprint=str(fingerprint))


def _check_array(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: str, where: Where) -> None:
    """Raise FormatError unless an array is of its shape and dtype, finite, and in the range of its kind."""
    if array.shape != shape or array.dtype != dtype:
        raise where.wrong(f"{name} is {array.dtype} of shape {array.shape}, expected {dtype} of {shape}")
    lowest, largest = RANGES[name]
    if not np.isfinite(array).all() or array.min() < lowest or array.max() > largest:
        raise where.wrong(f"{name} has values outside {lowest:g} to {largest:g}")
    if name == "covariance" and array.diagonal().min() < 0:
        raise where.wrong("a variance below 0")
