"""The update rule in slow float64 NumPy, written from the paper's section 5 alone, against ours."""

import numpy as np
import torch

from alexnet_network import make_optimizer, set_rates
from alexnet_train.recipe import load_recipe


def test_update_rule() -> None:
    """v <- 0.9 v - 0.0005 e w - e <gradient>; w <- w + v, with rates that drop in between."""
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
    np.testing.assert_allclose(layer.weight.detach().numpy(), w, rtol=0, atol=4e-7 * np.abs(w).max())
