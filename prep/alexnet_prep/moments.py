"""Exact sums over 256x256 images and what follows from them: mean image, RGB covariance and its eigenvectors."""

import ctypes
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_prep.errors import SourceError
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.native import load_library
from alexnet_shards.stats import Stats

PIXELS = IMAGE_PX * IMAGE_PX
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
# uint16 sums of that many bytes cannot overflow: 257 * 255 = 65,535.
IMAGES_A_FLUSH = 257
SIGNATURES = (("add_image", None, (ctypes.c_void_p,) * 3),)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over `images` images, all integers, so that merging in any order gives the same.

    `sum_hwc` is (256, 256, 3) int64; `products` are the six sums of products of channels, in the order of PAIRS.
    """

    images: int
    sum_hwc: npt.NDArray[np.int64]
    products: tuple[int, ...]

    def merge(self, other: "Moments") -> "Moments":
        """The sums over both sets of images."""
        products = tuple(ours + theirs for ours, theirs in zip(self.products, other.products, strict=True))
        return Moments(images=self.images + other.images, sum_hwc=self.sum_hwc + other.sum_hwc, products=products)

    def to_stats(self, fingerprint: str) -> Stats:
        """The statistics of the images; every figure is rounded once, from the exact one.

        Raises SourceError without images.
        """
        if self.images == 0:
            raise SourceError("no image in these shards; expected at least one for statistics")
        count = self.images * PIXELS
        totals = [int(total) for total in self.sum_hwc.sum(axis=(0, 1))]
        covariance = np.empty((3, 3))
        for (i, j), product in zip(PAIRS, self.products, strict=True):
            exact = Fraction(product, count) - Fraction(totals[i], count) * Fraction(totals[j], count)
            covariance[i, j] = covariance[j, i] = float(exact)
        eigenvalues, eigenvectors = descending_eigenvectors(covariance)
        return Stats(
            mean_image_hwc=(self.sum_hwc / self.images).astype(np.float32),
            rgb_mean=np.array([float(Fraction(total, count)) for total in totals]),
            covariance=covariance,
            eigenvalues=eigenvalues,
            eigenvectors=eigenvectors,
            images=self.images,
            fingerprint=fingerprint,
        )


def add_image(
    image_hwc: npt.NDArray[np.uint8], sum_hwc: npt.NDArray[np.uint16], products: npt.NDArray[np.uint64]
) -> None:
    """Add one image to the sums in place; the numpy form of moments.c.

    A float32 dot product of a row's 256 products of bytes is exact in any order of summation: 256 * 255 * 255 < 2**24.
    """
    np.add(sum_hwc, image_hwc, out=sum_hwc)
    planes = image_hwc.transpose(2, 0, 1).astype(np.float32, order="C")
    for number, (i, j) in enumerate(PAIRS):
        products[number] += np.uint64(np.vecdot(planes[i], planes[j]).sum(dtype=np.float64))


NO_MOMENTS = Moments(images=0, sum_hwc=np.zeros((IMAGE_PX, IMAGE_PX, 3), np.int64), products=(0,) * len(PAIRS))


class MomentSums:
    """Adds up images; `moments()` gives the exact sums so far, by the compiled loop or by numpy alike."""

    def __init__(self) -> None:
        self._moments = NO_MOMENTS
        self._pending = 0
        self._sum_hwc = np.zeros((IMAGE_PX, IMAGE_PX, 3), np.uint16)
        self._products = np.zeros(len(PAIRS), np.uint64)
        library = load_library(Path(__file__).with_name("moments.c"), SIGNATURES)
        self._add_image = None if library is None else library.add_image
        self._sums_at = tuple(array.ctypes.data_as(ctypes.c_void_p) for array in (self._sum_hwc, self._products))

    def add(self, image_hwc: npt.NDArray[np.uint8]) -> None:
        """Add a contiguous (256, 256, 3) uint8 RGB image."""
        if self._add_image is None:
            add_image(image_hwc, self._sum_hwc, self._products)
        else:
            self._add_image(image_hwc.ctypes.data_as(ctypes.c_void_p), *self._sums_at)
        self._pending += 1
        if self._pending == IMAGES_A_FLUSH:
            self._flush()

    def moments(self) -> Moments:
        """The sums over every image that was added."""
        self._flush()
        return self._moments

    def _flush(self) -> None:
        products = tuple(int(product) for product in self._products)
        pending = Moments(images=self._pending, sum_hwc=self._sum_hwc.astype(np.int64), products=products)
        self._moments = self._moments.merge(pending)
        self._sum_hwc[:], self._products[:], self._pending = 0, 0, 0


def descending_eigenvectors(covariance: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Eigenvalues (3,) descending and eigenvectors (3, 3) in columns; in each the largest component is positive."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(3)])
    return np.ascontiguousarray(np.maximum(values, 0.0)), np.ascontiguousarray(vectors * signs)
