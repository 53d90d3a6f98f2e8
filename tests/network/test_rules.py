"""The rules against themselves written out in float64 numpy, one number at a time; LARS and what nothing may move."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alexnet_network import rules
from alexnet_network.optim import MomentumSGD, OptimConfig, make_optimizer, rates_at, set_rates
from alexnet_network.rules import Moving, lars, undone_where
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe

Array = npt.NDArray[np.float64]
MOMENTUM, RATE, DECAY, TRUST = 0.9, 2.0, 0.0005, 0.001


def norm(values: Array) -> float:
    return float(np.sqrt(sum(float(value) ** 2 for value in values.flat)))


def lars_by_hand(w: Array, v: Array, g: Array) -> tuple[Array, Array]:
    """Algorithm 1 of arXiv:1708.03888, with the sign of v turned."""
    local = TRUST * norm(w) / (norm(g) + DECAY * norm(w)) if norm(w) and norm(g) else 1.0
    v = MOMENTUM * v - RATE * local * (g + DECAY * w)
    return w + v, v


def moving(arrays: list[list[Array]]) -> Moving:
    weights, velocities, gradients = ([torch.tensor(array, dtype=torch.float32) for array in kind] for kind in arrays)
    return Moving(
        weights=weights, velocities=velocities, gradients=gradients, momentum=MOMENTUM, rate=RATE, decay=DECAY
    )


def test_lars_is_the_papers_algorithm() -> None:
    rng = np.random.default_rng(0)
    shapes = [(4, 3, 2, 2), (5, 7), (1, 1)]
    weights = [rng.normal(0, scale, shape) for scale, shape in zip((0.01, 3.0, 1e-4), shapes, strict=True)]
    velocities: list[Array] = [np.zeros(shape) for shape in shapes]
    ours = moving([weights, velocities, velocities])
    for step in range(30):
        gradients = [rng.normal(0, 10.0 ** (step % 5 - 2), shape) for shape in shapes]
        if step == 7:
            gradients[1] = np.zeros((5, 7))
        for mine, gradient in zip(ours.gradients, gradients, strict=True):
            mine.copy_(torch.from_numpy(gradient))
        lars(ours, TRUST)
        by_hand = [lars_by_hand(*three) for three in zip(weights, velocities, gradients, strict=True)]
        weights, velocities = [w for w, _ in by_hand], [v for _, v in by_hand]
    for mine, expected in zip(ours.weights + ours.velocities, weights + velocities, strict=True):
        np.testing.assert_allclose(mine.numpy(), expected, rtol=2e-5, atol=1e-8)


def test_the_size_of_a_lars_step_is_that_of_the_weights_whatever_the_gradient() -> None:
    """Without momentum and decay a step is rate * trust * |w|: a gradient a thousand times as large moves as far."""
    for scale in (1e-3, 1.0, 1e3):
        one = moving([[np.full((2, 2), 3.0)], [np.zeros((2, 2))], [np.full((2, 2), scale)]])
        lars(replace(one, decay=0.0), TRUST)
        assert float(torch.linalg.vector_norm(3.0 - one.weights[0])) == pytest.approx(RATE * TRUST * 6.0, rel=1e-4)


def lars_config() -> OptimConfig:
    return replace(load_recipe("released").optim, rule="lars")


def net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))


def moved(config: OptimConfig, scale: float = 1.0) -> tuple[torch.nn.Sequential, MomentumSGD]:
    """A network and its optimizer after three steps."""
    model = net()
    optimizer = make_optimizer(model, config)
    set_rates(optimizer, rates_at(config, [name for name, _ in model.named_parameters()], 0))
    for step in range(3):
        optimizer.zero_grad()
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        (scale * model(x).square().mean()).backward()
        optimizer.step()
    return model, optimizer


def test_lars_leaves_biases_to_the_papers_rule() -> None:
    """Which of a loss times 1000 moves a thousand times as far in the first step; weights move as far as before."""

    def first_step(scale: float) -> dict[str, float]:
        model, before = net(), net()
        optimizer = make_optimizer(model, replace(lars_config(), weight_decay=0.0))
        set_rates(optimizer, dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias"), 0.1))
        (scale * model(torch.ones(1, 4)).square().mean()).backward()
        optimizer.step()
        pairs = zip(model.named_parameters(), before.parameters(), strict=True)
        return {name: torch.linalg.vector_norm(one - other).item() for (name, one), other in pairs}

    small, large = first_step(1.0), first_step(1000.0)
    for name in small:
        factor = 1000 if name.endswith("bias") else 1
        assert large[name] == pytest.approx(factor * small[name], rel=1e-3), name


def test_lars_with_nesterov_is_refused() -> None:
    with pytest.raises(AlexnetError, match=r"optim.nesterov with optim.rule 'lars'; expected it to be false"):
        replace(lars_config(), nesterov=True)


@pytest.mark.parametrize("changes", [{}, {"nesterov": True}, {"rule": "torch"}, {"rule": "lars"}])
def test_many_parameters_at_once_are_the_same_as_each_alone(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: torch's calls for lists are the calls for each tensor; and near what the C kernel does."""
    config = replace(load_recipe("released").optim, **changes)
    with_kernels, _ = moved(config)
    monkeypatch.setattr(rules, "load_kernels", lambda: None)
    together, optimizer = moved(config)
    monkeypatch.setattr(
        MomentumSGD,
        "_alike",
        lambda self, whole=MomentumSGD._alike: [
            replace(part, weights=[w], velocities=[v], gradients=[g])
            for part in whole(self)
            for w, v, g in zip(part.weights, part.velocities, part.gradients, strict=True)
        ],
    )
    alone, _ = moved(config)
    assert len(optimizer._alike()) == 4
    for one, other, kernel in zip(together.parameters(), alone.parameters(), with_kernels.parameters(), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, kernel, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("changes", [{}, {"nesterov": True}, {"rule": "torch"}, {"rule": "lars"}])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_step_with_a_bad_gradient_moves_nothing(changes: dict[str, Any], bad: float) -> None:
    """torch.amp.GradScaler tells the optimizer of it by a tensor that nobody looks at."""
    config = replace(load_recipe("released").optim, **changes)
    (model, optimizer), (reference, expected) = moved(config), moved(config)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    for good in (False, True):
        scale = float(scaler.scale(torch.ones(())))
        for one, factor in ((model, scale), (reference, 1.0)):
            for parameter in one.parameters():
                parameter.grad = torch.full_like(parameter, 3.0 * factor)
        if not good:
            next(model.parameters()).grad[0] = bad  # type: ignore[index]
        scaler.step(optimizer)
        scaler.update()
        if good:
            expected.step()
        for mine, other in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=0)
        for mine, other in zip(model.parameters(), reference.parameters(), strict=True):
            assert torch.equal(optimizer.state[mine]["velocity"], expected.state[other]["velocity"])
    assert scaler.get_scale() == 1024.0  # halved once, doubled once


def test_undone_where() -> None:
    for found, expected in ((None, 5.0), (torch.tensor(0.0), 5.0), (torch.tensor(2.0), 1.0)):
        tensor = torch.ones(2)
        with undone_where(found, [tensor]):
            tensor.fill_(5.0)
        assert tensor.tolist() == [expected] * 2
