"""Training's input in slow float64 NumPy, written from the paper's sections 2 and 4.1 alone, against ours."""

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alexnet_network import DeviceStats
from alexnet_network.input import train_input
from alexnet_shards.stats import Stats
from alexnet_train.recipe import load_recipe

Array = npt.NDArray[np.float64]


def covariance_of(pixels: Array) -> Array:
    """(N, 3) -> (3, 3), pixel by pixel pair of channels."""
    centred = pixels - pixels.mean(0)
    return np.array([[np.mean(centred[:, i] * centred[:, j]) for j in range(3)] for i in range(3)])


def network_input(patch_hwc: Array, mirrored: bool, stats: Stats, alpha: Array, lengths: Array) -> Array:
    """(224, 224, 3) -> (3, 224, 224): 2, less the mean of each pixel; 4.1, reflected, plus sum p_i alpha_i lambda_i.

    `lengths` are the lambda_i.
    """
    x = np.empty((3, 224, 224))
    for column in range(224):
        seen = patch_hwc[:, 223 - column] if mirrored else patch_hwc[:, column]
        x[:, :, column] = (seen - stats.mean_image_hwc[16:240, 16 + column].astype(np.float64)).T
    p = stats.eigenvectors
    for channel in range(3):
        x[channel] += sum(p[channel, i] * alpha[i] * lengths[i] for i in range(3))
    return x


@pytest.mark.parametrize("noise", ["released", "paper"])
def test_input(noise: Literal["released", "paper"]) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(0, 1, (5000, 3)) @ rng.normal(0, 40, (3, 3)) + 120
    covariance = covariance_of(pixels)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    stats = Stats(
        mean_image_hwc=rng.uniform(90, 140, (256, 256, 3)).astype(np.float32),
        rgb_mean=pixels.mean(0),
        covariance=covariance,
        eigenvalues=eigenvalues[::-1].copy(),
        eigenvectors=eigenvectors[:, ::-1].copy(),
        images=1,
        fingerprint="0" * 64,
    )
    # The letter has the eigenvalues; what can be meant has the deviations along the axes.
    lengths = stats.eigenvalues if noise == "paper" else np.sqrt(stats.eigenvalues)
    images_nhwc = rng.integers(0, 256, (4, 224, 224, 3), np.uint8)
    flip, noise_z = np.array([False, True, True, False]), rng.normal(size=(4, 3)).astype(np.float32)
    expected = [
        network_input(image.astype(np.float64), bool(mirrored), stats, 0.1 * z.astype(np.float64), lengths)
        for image, mirrored, z in zip(images_nhwc, flip, noise_z, strict=True)
    ]
    found = train_input(
        torch.from_numpy(images_nhwc),
        torch.from_numpy(flip),
        torch.from_numpy(noise_z),
        DeviceStats.from_stats(stats),
        replace(load_recipe("paper").input, noise=noise),
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
