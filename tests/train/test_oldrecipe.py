"""Training and evaluation see inputs of one scale, in every recipe and phase; older recipes mean what they meant."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from alexnet_network import DeviceStats, phase_at, train_input
from alexnet_network.input import view_inputs
from alexnet_shards.stats import Stats
from alexnet_train.recipe import Recipe, load_recipe, recipe_from_dict, recipe_names

PHASES = [(name, phase.after_epochs) for name in recipe_names() for phase in load_recipe(name).optim.phases]


@pytest.fixture(scope="module")
def images_nhwc() -> torch.Tensor:
    """12 images, each a level and a texture of its own, with a deviation of about 70 grey levels as photos have."""
    rng = np.random.default_rng(0)
    levels = rng.normal(120, 50, (12, 1, 1, 3)) + rng.normal(0, 50, (12, 256, 256, 3))
    return torch.from_numpy(levels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def stats(images_nhwc: torch.Tensor) -> DeviceStats:
    pixels = images_nhwc.numpy().astype(np.float64)
    covariance = np.cov(pixels.reshape(-1, 3).T)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return DeviceStats.from_stats(
        Stats(
            mean_image_hwc=pixels.mean(0).astype(np.float32),
            rgb_mean=pixels.mean((0, 1, 2)),
            covariance=covariance,
            eigenvalues=eigenvalues[::-1].copy(),
            eigenvectors=eigenvectors[:, ::-1].copy(),
            images=len(pixels),
            fingerprint="f" * 64,
        )
    )


def training_input(recipe: Recipe, epoch: int, images_nhwc: torch.Tensor, stats: DeviceStats) -> torch.Tensor:
    config = recipe.input.in_phase(colour_noise=phase_at(recipe.optim.phases, epoch).colour_noise)
    count = len(images_nhwc)
    noise_z = torch.from_numpy(np.random.default_rng(1).standard_normal((count, 3), np.float32))
    crops = images_nhwc[:, 16:240, 16:240]
    return train_input(crops, torch.zeros(count, dtype=torch.bool), noise_z, stats, config)


@pytest.mark.parametrize(("name", "epoch"), PHASES)
def test_training_and_evaluation_see_one_scale(
    name: str, epoch: int, images_nhwc: torch.Tensor, stats: DeviceStats
) -> None:
    """Up to the colour noise, which adds about a hundredth to the variance, and its division by 1.1, nothing differs."""
    recipe = load_recipe(name)
    noisy = recipe.input.noise != "off" and phase_at(recipe.optim.phases, epoch).colour_noise
    trained = training_input(recipe, epoch, images_nhwc, stats)
    (seen,) = view_inputs(images_nhwc, 1, stats, recipe.input)
    if not noisy:
        assert torch.equal(trained, seen)
        return
    expected_std = seen.std().item() * 1.01**0.5 / recipe.input.noise_divide_by
    assert trained.std().item() == pytest.approx(expected_std, rel=0.01)
    assert abs(trained.mean().item() - seen.mean().item()) < 0.05 * expected_std
    assert 1 <= recipe.input.noise_divide_by <= 1.1


def test_torchvision_trains_on_what_it_is_evaluated_on(images_nhwc: torch.Tensor, stats: DeviceStats) -> None:
    for epoch in (0, 30, 60):
        assert 0.9 < training_input(load_recipe("torchvision"), epoch, images_nhwc, stats).std().item() < 1.5


def old_table(name: str, divide_by: float, view_divide_by: float, **changed: object) -> dict[str, object]:
    """The recipe as a checkpoint held it when there was no noise_divide_by."""
    table = asdict(load_recipe(name))
    del table["input"]["noise_divide_by"]
    table["input"] |= {"divide_by": divide_by, "view_divide_by": view_divide_by, **changed}
    return table


@pytest.mark.parametrize(
    ("name", "divide_by", "view_divide_by", "changed"),
    [
        ("released", 1.1, 1.0, {}),
        ("paper", 1.0, 1.0, {}),
        ("caffe", 1.0, 1.0, {}),
        ("no-colour", 1.0, 1.0, {}),
        ("torchvision", 57.4, 57.4, {}),
        ("released", 1.1, 1.0, {"noise": "off"}),
    ],
)
def test_a_recipe_of_an_older_checkpoint_means_what_it_meant(
    name: str,
    divide_by: float,
    view_divide_by: float,
    changed: dict[str, object],
    images_nhwc: torch.Tensor,
    stats: DeviceStats,
) -> None:
    """There, `divide_by` held while a phase had colour noise, whatever `noise` said; without it nothing was divided."""
    recipe = recipe_from_dict(old_table(name, divide_by, view_divide_by, **changed), "here")
    assert recipe.input.divisor(training=False) == view_divide_by
    for phase in recipe.optim.phases:
        config = recipe.input.in_phase(colour_noise=phase.colour_noise)
        assert config.divisor(training=True) == (divide_by if phase.colour_noise else 1.0)
        noisy = training_input(recipe, phase.after_epochs, images_nhwc, stats)
        (plain,) = view_inputs(images_nhwc, 1, stats, recipe.input)
        silent = changed.get("noise", load_recipe(name).input.noise) == "off" or not phase.colour_noise
        assert torch.allclose(noisy * config.divisor(training=True), plain * view_divide_by, atol=1e-4) == silent


@pytest.mark.parametrize("name", ["released", "paper", "caffe", "no-colour", "demo"])
def test_runs_of_older_checkpoints_go_on(name: str) -> None:
    """What a run's recipe was then and is now are equal, so that resume takes it as the same run."""
    new = load_recipe(name)
    assert recipe_from_dict(old_table(name, new.input.noise_divide_by, 1.0), "here") == new


def test_a_checkpoint_of_before_paddings_were_keys_has_the_network_that_it_had() -> None:
    new = load_recipe("released")
    table = asdict(new)
    for key in ("conv2_padding_px", "conv5_padding_px", "pool_ceil"):
        del table["model"][key]
    assert recipe_from_dict(table, "here") == new


def test_a_checkpoint_of_before_the_defects_were_keys_goes_on() -> None:
    new = load_recipe("released")
    table = asdict(new)
    del table["optim"]["decay_biases"], table["input"]["flip_once"]
    assert recipe_from_dict(table, "here") == new


def test_recipes_without_the_variants_of_the_update_have_the_papers() -> None:
    table = asdict(load_recipe("released"))
    for key in ("nesterov", "rule", "clip_norm", "decay_biases", "cosine_epochs"):
        del table["optim"][key]
    del table["model"]["init"]
    assert recipe_from_dict(table, "here") == load_recipe("released")
