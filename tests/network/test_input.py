"""The input step against a slow reference in NumPy, one pixel formula at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alexnet_network.input import DeviceStats, InputConfig, train_input, view_inputs
from alexnet_shards.errors import AlexnetError
from alexnet_shards.stats import Stats


class Crops(NamedTuple):
    """What the input step takes of a batch."""

    images_nhwc: torch.Tensor
    flip: torch.Tensor
    noise_z: torch.Tensor

    def to(self, device: str) -> "Crops":
        return Crops(*(tensor.to(device) for tensor in self))


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.fixture
def stats() -> Stats:
    rng = np.random.default_rng(0)
    covariance = np.array([[4900.0, 4500, 4200], [4500, 5000, 4700], [4200, 4700, 5400]])
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return Stats(
        mean_image_hwc=rng.uniform(80, 140, (256, 256, 3)).astype(np.float32),
        rgb_mean=np.array([124.1, 117.2, 104.3]),
        covariance=covariance,
        eigenvalues=eigenvalues[::-1].copy(),
        eigenvectors=eigenvectors[:, ::-1].copy(),
        images=10,
        fingerprint="f" * 64,
    )


@pytest.fixture
def batch() -> Crops:
    rng = np.random.default_rng(1)
    return Crops(
        images_nhwc=torch.from_numpy(rng.integers(0, 256, (6, 224, 224, 3), np.uint8)),
        flip=torch.tensor([True, False, True, True, False, False]),
        noise_z=torch.from_numpy(rng.standard_normal((6, 3), np.float32)),
    )


def reference_input(batch: Crops, stats: Stats, config: InputConfig) -> npt.NDArray[np.float64]:
    """Paper section 4.1 and the released configuration, image by image in float64."""
    inputs = []
    for image_hwc, flip, z in zip(batch.images_nhwc.numpy(), batch.flip, batch.noise_z.numpy(), strict=True):
        x = image_hwc.astype(np.float64)
        if flip:
            x = x[:, ::-1]
        x = x - reference_mean(stats, config)
        if config.noise != "off":
            for i in range(3):
                size = stats.eigenvalues[i] if config.noise == "paper" else stats.eigenvalues[i] ** 0.5
                x = x + config.noise_scale * float(z[i]) * size * stats.eigenvectors[:, i]
        divisor = config.divide_by * (config.noise_divide_by if config.noise != "off" else 1)
        inputs.append((x / divisor).transpose(2, 0, 1))
    return np.stack(inputs)


def reference_mean(stats: Stats, config: InputConfig) -> npt.NDArray[np.floating] | float:
    choices = {"image": stats.mean_image_hwc[16:240, 16:240], "channel": stats.rgb_mean, "none": 0.0}
    return choices[config.mean]  # type: ignore[return-value]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "config",
    [
        InputConfig(),
        InputConfig(noise="paper", noise_scale=0.01),
        InputConfig(noise="off"),
        InputConfig(noise="off", divide_by=58.0),
        InputConfig(mean="channel", noise_scale=0.3, divide_by=57.0),
        InputConfig(mean="none"),
    ],
)
def test_train_input(batch: Crops, stats: Stats, config: InputConfig, device: str) -> None:
    before = batch.images_nhwc.clone()
    result = train_input(*batch.to(device), DeviceStats.from_stats(stats, device), config)
    assert (result.shape, result.dtype) == ((6, 3, 224, 224), torch.float32)
    np.testing.assert_allclose(result.cpu().numpy(), reference_input(batch, stats, config), rtol=1e-6, atol=3e-5)
    assert torch.equal(batch.images_nhwc, before)


def test_noise_has_the_size_of_the_released_configuration(stats: Stats) -> None:
    """Released: each channel moves by 0.1 of its standard deviation."""
    rng = np.random.default_rng(2)
    count = 20_000
    batch = Crops(
        images_nhwc=torch.zeros((count, 1, 1, 3), dtype=torch.uint8),
        flip=torch.zeros(count, dtype=torch.bool),
        noise_z=torch.from_numpy(rng.standard_normal((count, 3), np.float32)),
    )
    noise = train_input(*batch, DeviceStats.from_stats(stats), InputConfig(mean="none", noise_divide_by=1.0)).reshape(
        count, 3
    )
    np.testing.assert_allclose(noise.std(0).numpy(), 0.1 * stats.rgb_std, rtol=0.03)
    np.testing.assert_allclose(np.cov(noise.numpy().T), 0.01 * stats.covariance, rtol=0.05)


def reference_views(image_hwc: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    for mirror in (False, True):
        for top, left in ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16)):
            crop = image_hwc[top : top + 224, left : left + 224]
            yield crop[:, ::-1] if mirror else crop


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "config", [InputConfig(), InputConfig(mean="channel", view_divide_by=58.0), InputConfig(mean="none")]
)
def test_ten_views(stats: Stats, config: InputConfig, device: str) -> None:
    images_nhwc = np.random.default_rng(3).integers(0, 256, (2, 256, 256, 3), np.uint8)
    device_stats = DeviceStats.from_stats(stats, device)
    views = list(view_inputs(torch.from_numpy(images_nhwc).to(device), 10, device_stats, config))
    assert len(views) == 10
    for i, image_hwc in enumerate(images_nhwc):
        for view, crop_hwc in zip(views, reference_views(image_hwc), strict=True):
            expected_hwc = (crop_hwc - np.float64(1) * reference_mean(stats, config)) / config.view_divide_by
            np.testing.assert_allclose(view[i].cpu().numpy(), expected_hwc.transpose(2, 0, 1), rtol=1e-6, atol=2e-5)


def test_one_view_is_the_centre(stats: Stats) -> None:
    images_nhwc = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (2, 256, 256, 3), np.uint8))
    (view,) = view_inputs(images_nhwc, 1, DeviceStats.from_stats(stats), InputConfig(mean="none"))
    assert torch.equal(view, images_nhwc[:, 16:240, 16:240].permute(0, 3, 1, 2).float())


def test_the_centre_of_training_is_the_centre_view(stats: Stats) -> None:
    """Without noise, flip and scale, training and testing see the same numbers."""
    images_nhwc = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (3, 256, 256, 3), np.uint8))
    config, device_stats = InputConfig(noise="off"), DeviceStats.from_stats(stats)
    batch = Crops(
        images_nhwc=images_nhwc[:, 16:240, 16:240],
        flip=torch.zeros(3, dtype=torch.bool),
        noise_z=torch.ones(3, 3),
    )
    (view,) = view_inputs(images_nhwc, 1, device_stats, config)
    assert torch.equal(train_input(*batch, device_stats, config), view)


def test_axes(stats: Stats) -> None:
    device_stats = DeviceStats.from_stats(stats)
    np.testing.assert_allclose((device_stats.axes_released @ device_stats.axes_released.T), stats.covariance, rtol=1e-5)
    np.testing.assert_allclose(device_stats.axes_paper.norm(dim=0), stats.eigenvalues, rtol=1e-5)


def test_refused(stats: Stats) -> None:
    with pytest.raises(AlexnetError, match="expected one of image, channel, none"):
        InputConfig(mean="median")  # type: ignore[arg-type]
    with pytest.raises(AlexnetError, match="input.divide_by is 0; expected 1e-06 to 1e[+]06"):
        InputConfig(divide_by=0)
    with pytest.raises(AlexnetError, match="views 5"):
        list(
            view_inputs(
                torch.zeros((1, 256, 256, 3), dtype=torch.uint8), 5, DeviceStats.from_stats(stats), InputConfig()
            )
        )
