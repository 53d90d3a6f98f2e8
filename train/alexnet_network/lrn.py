"""Local response normalisation (paper section 3.3): the values of nn.LocalResponseNorm, at a fraction of its CPU time.

    y[c] = x[c] / d[c] ** beta,   d[c] = k + alpha / size * sum(x[j] ** 2 for j in c - size // 2 ... c + size // 2)

The window stays inside a tower: channels of different groups never normalise each other. The paper's formula does not
divide alpha by size; its released configuration and torch do.

On the CPU the C kernels do the work in one pass over memory; everywhere else, and under torch.compile, which fuses them
itself, plain torch operations with the same results.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet_network.kernels import Kernels, fits, load_kernels


class LocalResponseNorm(nn.Module):
    """nn.LocalResponseNorm(size, alpha, beta, k) inside each of `groups` equal groups of channels; size is odd."""

    def __init__(self, size: int, alpha: float, beta: float, k: float, *, groups: int = 1) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"window of {size} channels; expected an odd number")
        self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float -> the same shape and type; the arithmetic is float32 whatever the type."""
        numbers = _Numbers(self.size, self.alpha / self.size, self.beta, self.k, self.groups)
        values = x.float()
        kernels = load_kernels() if fits(values, self.size, self.beta, x.shape[1] // self.groups) else None
        if kernels is not None:
            y = _CompiledChannelNorm.apply(values, numbers, kernels)  # type: ignore[no-untyped-call]
            return cast("Tensor", y).to(x.dtype)
        return _channel_norm(values, numbers).to(x.dtype)

    def extra_repr(self) -> str:
        """The numbers that print(model) shows."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, groups={self.groups}"


class SameMapNorm(nn.Module):
    """The same norm over a size x size neighbourhood of the pixel's own map (released configuration; not in the paper).

    y = x / d ** beta, d = k + alpha / size**2 * sum of squares over the neighbourhood, zero outside the map.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float -> the same shape and type; the arithmetic is float32 whatever the type."""
        values = x.float()
        kernels = load_kernels() if fits(values, self.size, self.beta, 1) else None
        if kernels is not None:
            numbers = _Numbers(self.size, self.alpha / self.size**2, self.beta, self.k, 1)
            y = _CompiledSameMapNorm.apply(values, numbers, kernels)  # type: ignore[no-untyped-call]
            return cast("Tensor", y).to(x.dtype)
        mean = nn.functional.avg_pool2d(values.square(), self.size, stride=1, padding=self.size // 2)
        return (values * inverse_power(mean.mul(self.alpha).add(self.k), self.beta)).to(x.dtype)

    def extra_repr(self) -> str:
        """The numbers that print(model) shows."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def inverse_power(d: Tensor, beta: float) -> Tensor:
    """d ** -beta for positive d; two square roots where beta is 0.75, which is many times faster than pow."""
    if beta != 0.75:
        return d.pow(-beta)
    root = d.rsqrt()
    return root * root.sqrt()


class _Numbers(NamedTuple):
    """The norm's numbers; alpha is already divided by size."""

    size: int
    alpha: float
    beta: float
    k: float
    groups: int


def _channel_norm(x: Tensor, numbers: _Numbers) -> Tensor:
    """The channel norm of (N, C, H, W) in operations that every device, torch.compile and ONNX know."""
    half, channels = numbers.size // 2, x.shape[1] // numbers.groups
    values = x.unflatten(1, (numbers.groups, channels))  # type: ignore[no-untyped-call]
    squares = nn.functional.pad(values.square(), (0, 0, 0, 0, half, half))
    total = squares[:, :, :channels]
    for shift in range(1, numbers.size):
        total = total + squares[:, :, shift : shift + channels]
    normed: Tensor = (values * inverse_power(total * numbers.alpha + numbers.k, numbers.beta)).flatten(1, 2)
    return normed


class _CompiledChannelNorm(torch.autograd.Function):
    """The channel norm by the C kernels; only x is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numbers: _Numbers, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x)
        ctx.how = numbers, kernels
        return kernels.channel_norm_forward(x, numbers.groups, numbers.alpha, numbers.k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), (numbers, kernels) = ctx.saved_tensors, ctx.how
        grad_y = grads[0].contiguous(memory_format=torch.channels_last)
        return kernels.channel_norm_backward(x, grad_y, numbers.groups, numbers.alpha, numbers.k), None, None


class _CompiledSameMapNorm(torch.autograd.Function):
    """The same-map norm by the C kernels; only x is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numbers: _Numbers, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x)
        ctx.how = numbers, kernels
        return kernels.same_map_forward(x, numbers.alpha, numbers.k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), (numbers, kernels) = ctx.saved_tensors, ctx.how
        grad_y = grads[0].contiguous(memory_format=torch.channels_last)
        return kernels.same_map_backward(x, grad_y, numbers.alpha, numbers.k), None, None
