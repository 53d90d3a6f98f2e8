"""Both norms against the slow formula and, for the channel norm, against nn.LocalResponseNorm."""

import pytest
import torch
from torch import Tensor, nn

from alexnet_network.lrn import LocalResponseNorm, SameMapNorm, inverse_power


def formula(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """The paper's section 3.3 channel by channel, alpha over size, inside each group."""
    channels = x.shape[1]
    per_group = channels // groups
    out = []
    for c in range(channels):
        low = c // per_group * per_group
        window = range(max(low, c - size // 2), min(low + per_group, c + size // 2 + 1))
        total = sum((x[:, j] ** 2 for j in window), torch.zeros_like(x[:, 0]))
        out.append(x[:, c] / (k + alpha / size * total) ** beta)
    return torch.stack(out, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("channels", "size", "alpha", "beta", "k", "groups"),
    [(16, 5, 1e-4, 0.75, 2.0, 1), (96, 5, 1e-4, 0.75, 2.0, 2), (6, 5, 0.5, 0.75, 1.0, 2), (7, 3, 0.1, 0.6, 2.0, 1)],
)
def test_channel_norm_equals_the_formula_with_gradients(
    layout: torch.memory_format, channels: int, size: int, alpha: float, beta: float, k: float, groups: int
) -> None:
    torch.manual_seed(0)
    x = (30 * torch.randn(3, channels, 5, 7)).to(memory_format=layout).requires_grad_()
    y = LocalResponseNorm(size, alpha, beta, k, groups=groups)(x)
    grad_y = torch.randn_like(y)
    (grad_x,) = torch.autograd.grad(y, x, grad_y)
    exact = x.detach().double().requires_grad_()
    want = formula(exact, size, alpha, beta, k, groups)
    (want_grad,) = torch.autograd.grad(want, exact, grad_y.double())
    torch.testing.assert_close(y, want.float(), rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(grad_x, want_grad.float(), rtol=1e-5, atol=2e-6)


def test_one_group_equals_torch() -> None:
    torch.manual_seed(1)
    x = (100 * torch.randn(2, 48, 9, 9)).requires_grad_()
    ours, torchs = LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x)
    torch.testing.assert_close(ours, torchs, rtol=3e-6, atol=1e-5)
    grad_y = torch.randn_like(x)
    ours_grad, torchs_grad = (torch.autograd.grad(y, x, grad_y)[0] for y in (ours, torchs))
    torch.testing.assert_close(ours_grad, torchs_grad, rtol=2e-5, atol=1e-6)


def test_channel_norm_of_a_view_and_of_an_expanded_gradient() -> None:
    torch.manual_seed(2)
    whole = torch.randn(4, 20, 6, 6)
    x = whole[:, ::2, 1:5].requires_grad_()
    norm = LocalResponseNorm(5, 0.3, 0.75, 2.0, groups=2)
    torch.testing.assert_close(norm(x), formula(x.detach(), 5, 0.3, 0.75, 2.0, 2))
    (grad_x,) = torch.autograd.grad(norm(x).sum(), x)
    (want,) = torch.autograd.grad(formula(x, 5, 0.3, 0.75, 2.0, 2).sum(), x)
    torch.testing.assert_close(grad_x, want, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_normalised_in_float32() -> None:
    torch.manual_seed(3)
    x = 20 * torch.randn(2, 8, 4, 4)
    norm = LocalResponseNorm(5, 0.1, 0.75, 2.0)
    y = norm(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, norm(x.bfloat16().float()).bfloat16())


def test_even_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNorm(4, 1e-4, 0.75, 2.0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_same_map_norm_equals_the_formula_with_gradients(layout: torch.memory_format) -> None:
    torch.manual_seed(4)
    x = (20 * torch.randn(2, 3, 7, 6)).to(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    rows = []
    for i in range(7):
        row = []
        for j in range(6):
            part = exact[:, :, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
            row.append(exact[:, :, i, j] / (1 + 0.1 / 25 * (part**2).sum((2, 3))) ** 0.75)
        rows.append(torch.stack(row, -1))
    want = torch.stack(rows, -2)
    y = SameMapNorm(5, 0.1, 0.75, 1.0)(x)
    torch.testing.assert_close(y, want.float(), rtol=2e-6, atol=1e-6)
    grad_y = torch.randn_like(y)
    (grad_x,), (want_grad,) = torch.autograd.grad(y, x, grad_y), torch.autograd.grad(want, exact, grad_y.double())
    torch.testing.assert_close(grad_x, want_grad.float(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("beta", [0.75, 0.5, 1.3])
def test_inverse_power(beta: float) -> None:
    d = torch.linspace(0.5, 50, 1000, dtype=torch.float64)
    torch.testing.assert_close(inverse_power(d, beta), d**-beta, rtol=1e-12, atol=0.0)
