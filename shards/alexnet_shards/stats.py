"""The statistics of a training split: mean image, RGB mean and the eigenvectors of the RGB covariance."""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file
from alexnet_shards.geometry import IMAGE_PX

VERSION = 1

SHAPES = {
    "mean_image_hwc": (IMAGE_PX, IMAGE_PX, 3),
    "rgb_mean": (3,),
    "covariance": (3, 3),
    "eigenvalues": (3,),
    "eigenvectors": (3, 3),
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
    """Read the statistics at `path`; raises FormatError where they are missing, damaged or of another version."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no statistics; make them with alexnet-prep compute-stats") from error
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise FormatError(
            f"{path}: unreadable statistics ({error}); make them again with alexnet-prep compute-stats"
        ) from error
    version = arrays.pop("version", np.asarray(0))
    if version.shape != () or int(version) != VERSION or arrays.keys() != {field.name for field in fields(Stats)}:
        raise FormatError(
            f"{path}: not statistics of version {VERSION}; make them again with alexnet-prep compute-stats"
        )
    for name, shape in SHAPES.items():
        if arrays[name].shape != shape:
            raise FormatError(
                f"{path}: {name} has shape {arrays[name].shape}, expected {shape}; make the statistics again"
            )
    return Stats(
        **{name: arrays[name] for name in SHAPES},
        images=int(arrays["images"]),
        fingerprint=str(arrays["fingerprint"]),
    )
