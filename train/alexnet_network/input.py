"""From uint8 images to the network's input, in one step on the device: crop, flip, mean, colour noise, scale."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from alexnet_network.bounds import Bounds, check_choices, check_numbers
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import CENTRE_OFFSET_PX, CROP_PX, IMAGE_PX
from alexnet_shards.stats import Stats

CHOICES = {
    "crop": ("random", "centre"),
    "mean": ("image", "channel", "none"),
    "noise": ("released", "paper", "off"),
}
DIVISOR = Bounds(low=1e-6, high=1e6)
BOUNDS = {
    "noise_scale": Bounds(low=0, high=1000),
    "noise_divide_by": DIVISOR,
    "divide_by": DIVISOR,
    "view_divide_by": DIVISOR,
    "view_crop_px": Bounds(low=1, high=IMAGE_PX),
}


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How pixels become the network's input.

    `crop` and `flip` are of training (paper section 4.1: random crops and their mirror images); `flip_once` draws the flip
    of an image once for all epochs, a defect of replications that can be measured so. `mean` is what is
    subtracted: the mean image's central 224x224 whatever the crop, one number a channel, or nothing. `noise` adds sum_i
    p_i z_i noise_scale a_i per image in training: "released" has a_i = sqrt(eigenvalue_i), as cuda-convnet did; "paper"
    has a_i = eigenvalue_i, the letter of section 4.1. `divide_by` is the training input's own scale, `view_divide_by` the
    test input's; `noise_divide_by` scales training inputs further while they have colour noise (released: 1.1).
    `view_crop_px` is the side of the test views; the network's one-sided padding also takes 227, Caffe's.
    """

    crop: Literal["random", "centre"] = "random"
    flip: bool = True
    flip_once: bool = False
    mean: Literal["image", "channel", "none"] = "image"
    noise: Literal["released", "paper", "off"] = "released"
    noise_scale: float = 0.1
    noise_divide_by: float = 1.1
    divide_by: float = 1.0
    view_divide_by: float = 1.0
    view_crop_px: int = CROP_PX

    def __post_init__(self) -> None:
        check_choices("input", self, CHOICES)
        check_numbers("input", self, BOUNDS)
        if self.mean == "image" and self.view_crop_px != CROP_PX:
            raise AlexnetError(
                f"input.view_crop_px is {self.view_crop_px}; expected {CROP_PX} with mean = 'image', whose centre it is"
            )

    def in_phase(self, *, colour_noise: bool) -> "InputConfig":
        """The input of a phase of training, with or without its colour noise."""
        return self if colour_noise else replace(self, noise="off")

    def divisor(self, *, training: bool) -> float:
        """What the input is divided by, everywhere: in training, in tests and in every export (as a test's).

        The released code divides where it adds the noise, so a phase without noise keeps the input's own scale alone.
        """
        if not training:
            return self.view_divide_by
        return self.divide_by * (self.noise_divide_by if self.noise != "off" else 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceStats:
    """The statistics as float32 tensors of one device.

    `mean_nchw` (1, 3, 224, 224), the centre of the mean image, 0..255; `channel_mean_nchw` (1, 3, 1, 1);
    `axes_released` (3, 3), column i is eigenvector i times sqrt(eigenvalue i); `axes_paper`, times eigenvalue i.
    """

    mean_nchw: Tensor
    channel_mean_nchw: Tensor
    axes_released: Tensor
    axes_paper: Tensor

    @classmethod
    def from_stats(cls, stats: Stats, device: torch.device | str = "cpu") -> Self:
        """The statistics that training and testing need, on `device`."""
        crop = slice(CENTRE_OFFSET_PX, CENTRE_OFFSET_PX + CROP_PX)
        # Rounding may leave the smallest eigenvalue of a flat set just below zero.
        eigenvalues = np.maximum(stats.eigenvalues, 0.0)
        arrays = {
            "mean_nchw": stats.mean_image_hwc[crop, crop].transpose(2, 0, 1)[None],
            "channel_mean_nchw": stats.rgb_mean.reshape(1, 3, 1, 1),
            "axes_released": stats.eigenvectors * np.sqrt(eigenvalues),
            "axes_paper": stats.eigenvectors * eigenvalues,
        }
        return cls(**{name: torch.tensor(array, dtype=torch.float32, device=device) for name, array in arrays.items()})


def train_input(images_nhwc: Tensor, flip: Tensor, noise_z: Tensor, stats: DeviceStats, config: InputConfig) -> Tensor:
    """(B, 224, 224, 3) uint8 crops -> (B, 3, 224, 224) float32 in channels_last order, on the device of `stats`.

    `flip` (B,) bool mirrors left-right, `noise_z` (B, 3) float32 are the colour noise's standard normals.

    Flip, minus mean, plus colour noise, scaled (InputConfig.divisor); the mean is not flipped (released configuration).
    Every operation is elementwise, so CPU and CUDA round alike.
    """
    mirrored_nhwc = images_nhwc.flip(2)
    flipped_nhwc = torch.where(flip[:, None, None, None], mirrored_nhwc, images_nhwc)
    pixels_nchw = _minus_mean(flipped_nhwc.permute(0, 3, 1, 2).float(), stats, config)
    if config.noise != "off":
        pixels_nchw += _colour_noise(noise_z, stats, config)[:, :, None, None]
    return _divided(pixels_nchw, config.divisor(training=True))


def view_inputs(images_nhwc: Tensor, views: int, stats: DeviceStats, config: InputConfig) -> Iterator[Tensor]:
    """The test views of whole images (B, 256, 256, 3) uint8: `views` tensors (B, 3, 224, 224) float32 (view_crop_px).

    1 view is the centre crop; 10 are the four corners and the centre, then the mirror image of each (paper section
    4.1). No noise. Raises AlexnetError for another number of views.
    """
    if views not in (1, 10):
        raise AlexnetError(f"views {views}: expected 1 (the centre) or 10 (corners, centre and their mirror images)")
    size_px = config.view_crop_px
    offsets = crop_offsets(size_px) if views == 10 else crop_offsets(size_px)[-1:]
    for mirror in (False, True)[: 1 if views == 1 else 2]:
        for top_px, left_px in offsets:
            crop_nhwc = images_nhwc[:, top_px : top_px + size_px, left_px : left_px + size_px]
            crop_nhwc = crop_nhwc.flip(2) if mirror else crop_nhwc
            pixels_nchw = _minus_mean(crop_nhwc.permute(0, 3, 1, 2).float(), stats, config)
            yield _divided(pixels_nchw, config.divisor(training=False))


def crop_offsets(size_px: int) -> tuple[tuple[int, int], ...]:
    """(top, left) of the five crops of ten views: four corners, then the centre (paper section 4.1)."""
    last_px = IMAGE_PX - size_px
    return (0, 0), (0, last_px), (last_px, 0), (last_px, last_px), (last_px // 2, last_px // 2)


def _minus_mean(pixels_nchw: Tensor, stats: DeviceStats, config: InputConfig) -> Tensor:
    if config.mean == "none":
        return pixels_nchw
    return pixels_nchw.sub_(stats.mean_nchw if config.mean == "image" else stats.channel_mean_nchw)


def _divided(pixels_nchw: Tensor, divisor: float) -> Tensor:
    # Multiplied by the reciprocal: division by a number is that on CUDA but not on the CPU.
    return pixels_nchw.mul_(1 / divisor) if divisor != 1 else pixels_nchw


def _colour_noise(noise_z: Tensor, stats: DeviceStats, config: InputConfig) -> Tensor:
    """(B, 3) float32 noise of each image's channels, in grey levels."""
    axes = stats.axes_released if config.noise == "released" else stats.axes_paper
    # Spelt out instead of a matrix product, which TF32 may round and libraries sum in any order.
    weights = noise_z * config.noise_scale
    return weights[:, 0:1] * axes[:, 0] + weights[:, 1:2] * axes[:, 1] + weights[:, 2:3] * axes[:, 2]
