"""Each part on the GPU against the same part on the CPU. Tolerances are shares of the largest number of the CPU's result."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alexnet_network import (
    AlexNet,
    Classifier,
    DeviceStats,
    make_optimizer,
    rates_at,
    set_rates,
    set_switches,
    train_input,
)
from alexnet_network.input import InputConfig, view_inputs
from alexnet_network.lrn import LocalResponseNorm, SameMapNorm
from alexnet_shards.manifest import ClassFact
from alexnet_shards.stats import Stats
from alexnet_train.recipe import load_recipe

pytestmark = pytest.mark.cuda
Near = Callable[[Tensor, Tensor, float, str], None]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _plain_float32() -> Iterator[None]:
    set_switches(tf32=False, deterministic=False)
    yield
    set_switches(tf32=False, deterministic=False)


def pixels(count: int, side_px: int = 224) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, side_px, side_px, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("noise", ["released", "paper", "off"])
@pytest.mark.parametrize("mean", ["image", "channel", "none"])
def test_input_step_is_the_same_bit_for_bit(device: torch.device, stats: Stats, noise: Any, mean: Any) -> None:
    config = InputConfig(noise=noise, mean=mean)
    flip, noise_z = torch.tensor([True, False] * 4), torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    found = [
        train_input(
            pixels(8).to(where), flip.to(where), noise_z.to(where), DeviceStats.from_stats(stats, where), config
        )
        for where in (device, CPU)
    ]
    assert found[0].device.type == device.type
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found[0].cpu(), found[1])


def test_ten_views_are_the_same_bit_for_bit(device: torch.device, stats: Stats) -> None:
    views = [
        list(view_inputs(pixels(3, 256).to(where), 10, DeviceStats.from_stats(stats, where), InputConfig()))
        for where in (device, CPU)
    ]
    assert len(views[0]) == 10
    assert all(torch.equal(one.cpu(), other) for one, other in zip(*views, strict=True))


@pytest.mark.parametrize("norm", [LocalResponseNorm(5, 1e-4, 0.75, 2.0, groups=2), SameMapNorm(5, 1e-3, 0.75, 1.0)])
def test_norms_forward_and_back(device: torch.device, near: Near, norm: torch.nn.Module) -> None:
    """1e-5: the CPU's C kernels and the GPU's pow and rsqrt round in other places."""
    x = 60 * torch.randn(4, 96, 27, 27, generator=torch.Generator().manual_seed(0))
    results = []
    for where in (device, CPU):
        mine = x.to(where, memory_format=torch.channels_last).requires_grad_()
        y = norm(mine)
        (gradient,) = torch.autograd.grad(y, mine, torch.cos(mine.detach()))
        results.append((y, gradient))
    near(results[0][0], results[1][0], 1e-5, "values")
    near(results[0][1], results[1][1], 1e-5, "gradients")


@pytest.mark.parametrize("recipe", ["released", "paper", "torchvision"])
def test_network_forward_and_back(device: torch.device, near: Near, recipe: str) -> None:
    """2e-4 for logits, 2e-3 for gradients: cuDNN may take Winograd's algorithm, which sums differently."""
    config = load_recipe(recipe, ("width=0.25", "num_classes=50", "dropout=0.0")).model
    x = 60 * torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    results = []
    for where in (device, CPU):
        model = AlexNet(config, torch.Generator().manual_seed(1))
        model = model.to(device=where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        logits = model(x.to(where, memory_format=torch.channels_last))
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits, torch.arange(8, device=where)))
        results.append((logits, {name: parameter.grad for name, parameter in model.named_parameters()}))
    near(results[0][0], results[1][0], 2e-4, "logits")
    for name, gradient in results[1][1].items():
        near(results[0][1][name], gradient, 2e-3, name)


@pytest.mark.parametrize(
    "changes",
    [{}, {"nesterov": True}, {"rule": "torch"}, {"rule": "torch", "nesterov": True}, {"rule": "lars"}],
    ids=str,
)
def test_update_rules(device: torch.device, near: Near, changes: dict[str, Any]) -> None:
    """1e-5 after ten updates: torch's list kernels may fuse a product and a sum."""
    config = replace(load_recipe("released").optim, **changes)
    models = []
    for where in (device, CPU):
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.Flatten(), torch.nn.Linear(8, 4))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        model = model.to(where)
        optimizer = make_optimizer(model, config)
        set_rates(optimizer, rates_at(config, [name for name, _ in model.named_parameters()], 0))
        for _ in range(10):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(where)
            optimizer.clip(1.0)
            optimizer.step()
        models.append(model)
    for (name, mine), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        near(mine, other, 1e-5, name)


def test_ten_view_probabilities(device: torch.device, stats: Stats, near: Near) -> None:
    """1e-3 of the largest probability; on a GPU many views go through the network at once, on the CPU one."""
    recipe = load_recipe("released", ("width=0.25", "num_classes=7"))
    classes = tuple(ClassFact(wnid=str(number)) for number in range(7))
    found = []
    for where in (device, CPU):
        model = AlexNet(recipe.model, torch.Generator().manual_seed(0))
        with torch.no_grad():
            model.fc8.weight.mul_(20)  # as sure as a trained one
        model = model.to(device=where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        known = DeviceStats.from_stats(stats, where)
        classifier = Classifier(model=model, stats=known, input=recipe.input, classes=classes)
        found.append(classifier.probabilities(pixels(5, 256).to(where), views=10))
    assert float(found[1].max() - found[1].min()) > 0.05
    near(found[0], found[1], 1e-3, "probabilities")
