"""The paper's formulas in slow float64 NumPy, written from its text alone, against the fast ones at their tolerances."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from alexnet_network import LAYERS, AlexNet, make_optimizer, set_rates
from alexnet_network.lrn import LocalResponseNorm
from alexnet_train.recipe import load_recipe

Array = npt.NDArray[np.float64]


def convolved(x_chw: Array, weight: Array, bias: Array, stride: int, padding: tuple[int, int], towers: int) -> Array:
    """Section 3.2: each tower's filters see that tower's maps alone."""
    x_chw = np.pad(x_chw, ((0, 0), padding, padding))
    outputs, inputs, side = weight.shape[0], weight.shape[1], weight.shape[2]
    size = (x_chw.shape[1] - side) // stride + 1
    y = np.empty((outputs, size, size))
    for tower in range(towers):
        own = slice(tower * outputs // towers, (tower + 1) * outputs // towers)
        seen = x_chw[tower * inputs : (tower + 1) * inputs]
        for row in range(size):
            for column in range(size):
                top, left = row * stride, column * stride
                patch = seen[:, top : top + side, left : left + side]
                y[own, row, column] = np.tensordot(weight[own], patch, 3) + bias[own]
    return y


def pooled(x_chw: Array) -> Array:
    """Section 3.4: s = 2, z = 3."""
    size = (x_chw.shape[1] - 3) // 2 + 1
    windows = [x_chw[:, i : i + 2 * size - 1 : 2, j : j + 2 * size - 1 : 2] for i in range(3) for j in range(3)]
    largest: Array = np.max(windows, axis=0)
    return largest


def normed(x_chw: Array, towers: int) -> Array:
    """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75, over adjacent maps of the same tower."""
    y, maps = np.empty_like(x_chw), x_chw.shape[0] // towers
    for tower in range(towers):
        for i in range(maps):
            near = range(max(0, i - 2), min(maps - 1, i + 2) + 1)
            total = sum(x_chw[tower * maps + j] ** 2 for j in near)
            y[tower * maps + i] = x_chw[tower * maps + i] / (2 + 1e-4 * total) ** 0.75
    return y


def parameters(model: AlexNet) -> Iterator[tuple[Array, Array]]:
    for name in LAYERS:
        weight, bias = (model.get_parameter(f"{name}.{kind}").detach().double().numpy() for kind in ("weight", "bias"))
        yield weight, bias


def logits(model: AlexNet, x_chw: Array) -> Array:
    """Section 3.5 with recipe `paper`'s order, in test: dropout's outputs are halved (4.2)."""
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5), (w6, b6), (w7, b7), (w8, b8) = parameters(model)
    x = pooled(normed(np.maximum(convolved(x_chw, w1, b1, 4, (0, 3), 1), 0), 2))
    x = pooled(normed(np.maximum(convolved(x, w2, b2, 1, (2, 2), 2), 0), 2))
    x = np.maximum(convolved(x, w3, b3, 1, (1, 1), 1), 0)
    x = np.maximum(convolved(x, w4, b4, 1, (1, 1), 2), 0)
    x = pooled(np.maximum(convolved(x, w5, b5, 1, (1, 1), 2), 0)).reshape(-1)
    x = 0.5 * np.maximum(w6 @ x + b6, 0)
    x = 0.5 * np.maximum(w7 @ x + b7, 0)
    return w8 @ x + b8


def test_forward() -> None:
    stds = (0.03, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2)  # every layer passes signal at this width
    config = replace(load_recipe("paper").model, num_classes=10, width=1 / 16, init_std=stds)
    model = AlexNet(config, torch.Generator().manual_seed(0)).eval()
    x_chw = np.random.default_rng(0).normal(0, 60, (3, 224, 224)).astype(np.float32)
    expected = logits(model, x_chw.astype(np.float64))
    found = model(torch.from_numpy(x_chw)[None])[0].detach().double().numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_local_response_normalisation() -> None:
    x_chw = np.random.default_rng(1).normal(0, 100, (16, 5, 5)).astype(np.float32)
    found = LocalResponseNorm(5, 5e-4, 0.75, 2.0, groups=2)(torch.from_numpy(x_chw)[None])[0]
    np.testing.assert_allclose(found.numpy(), normed(x_chw.astype(np.float64), 2), rtol=2e-6, atol=1e-6)


def test_update_rule() -> None:
    """Section 5: v <- 0.9 v - 0.0005 e w - e <gradient>; w <- w + v, with rates that drop in between."""
    layer = torch.nn.Linear(5, 3, bias=False)
    w, v = layer.weight.detach().double().numpy().copy(), np.zeros((3, 5))
    optimizer = make_optimizer(layer, load_recipe("paper").optim)
    rng = np.random.default_rng(2)
    for step in range(60):
        rate = 0.01 / 10 ** (step // 20)
        gradient = rng.normal(size=(3, 5)).astype(np.float32)
        v = 0.9 * v - 0.0005 * rate * w - rate * gradient
        w = w + v
        layer.weight.grad = torch.from_numpy(gradient)
        set_rates(optimizer, {"weight": rate})
        optimizer.step()
    np.testing.assert_allclose(layer.weight.detach().numpy(), w, rtol=4e-6, atol=4e-7)
