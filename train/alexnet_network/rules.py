"""Update rules on many parameters at once, in place: the paper's (section 5), torch.optim.SGD's, Nesterov's and LARS.

Each takes parameters whose numbers are alike and, but for the C kernel, calls torch once for all of them: on a GPU the
calls cost more than the arithmetic of small layers. None waits for the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from alexnet_network.kernels import load_kernels, same_layout


@dataclass(frozen=True, kw_only=True)
class Moving:
    """Parameters that move alike: weights, their velocities and their gradients, in one order; lists of tensors.

    `momentum` is of the velocities, `rate` and `decay` are the learning rate and the weight decay of all of them.
    """

    weights: list[Tensor]
    velocities: list[Tensor]
    gradients: list[Tensor]
    momentum: float
    rate: float
    decay: float


def paper(moving: Moving) -> None:
    """v <- momentum v - decay rate w - rate g;  w <- w + v: one pass over memory by the C kernel where it applies."""
    kernels = load_kernels()
    rest = []
    for tensors in zip(moving.weights, moving.velocities, moving.gradients, strict=True):
        if kernels is not None and same_layout(tensors):
            kernels.momentum_step(tensors, moving.momentum, moving.rate, moving.decay * moving.rate)
        else:
            rest.append(tensors)
    if rest:
        weights, velocities, gradients = map(list, zip(*rest, strict=True))
        torch._foreach_mul_(velocities, moving.momentum)
        torch._foreach_add_(velocities, weights, alpha=-moving.decay * moving.rate)
        torch._foreach_add_(velocities, gradients, alpha=-moving.rate)
        torch._foreach_add_(weights, velocities)


def torchs(moving: Moving) -> None:
    """torch.optim.SGD's: v <- momentum v + decay w + g;  w <- w - rate v."""
    torch._foreach_mul_(moving.velocities, moving.momentum)
    torch._foreach_add_(moving.velocities, moving.weights, alpha=moving.decay)
    torch._foreach_add_(moving.velocities, moving.gradients)
    torch._foreach_add_(moving.weights, moving.velocities, alpha=-moving.rate)


def paper_nesterov(moving: Moving) -> None:
    """The paper's rule with Nesterov's momentum."""
    _nesterov(moving, (-moving.rate, -moving.decay * moving.rate), 1.0)


def torchs_nesterov(moving: Moving) -> None:
    """torch.optim.SGD's rule with Nesterov's momentum."""
    _nesterov(moving, (1.0, moving.decay), -moving.rate)


def _nesterov(moving: Moving, factors: tuple[float, float], by: float) -> None:
    """The velocity takes up gradient and weights by their `factors`, and the weights move by `by` times what comes."""
    pushes = torch._foreach_mul(moving.gradients, factors[0])
    torch._foreach_add_(pushes, torch._foreach_mul(moving.weights, factors[1]))
    torch._foreach_mul_(moving.velocities, moving.momentum)
    torch._foreach_add_(moving.velocities, pushes)
    torch._foreach_add_(pushes, moving.velocities, alpha=moving.momentum)
    torch._foreach_add_(moving.weights, pushes, alpha=by)


def lars(moving: Moving, trust: float) -> None:
    """Layer-wise rates (You, Gitman and Ginsburg 2017, arXiv:1708.03888, algorithm 1):

        v <- momentum v - rate trust |w| / (|g| + decay |w|) (g + decay w);  w <- w + v

    |.| is the norm of one parameter. Where |w| or |g| is 0, the factor is 1, as in its authors' TensorFlow code.
    """
    norms, gradient_norms = torch._foreach_norm(moving.weights), torch._foreach_norm(moving.gradients)
    pushes = torch._foreach_add(moving.gradients, moving.weights, alpha=moving.decay)
    for push, norm, gradient_norm in zip(pushes, norms, gradient_norms, strict=True):
        local = trust * norm / (gradient_norm + moving.decay * norm)
        push.mul_(moving.rate * torch.where((norm > 0) & (gradient_norm > 0), local, 1.0))
    torch._foreach_mul_(moving.velocities, moving.momentum)
    torch._foreach_sub_(moving.velocities, pushes)
    torch._foreach_add_(moving.weights, moving.velocities)


@contextmanager
def undone_where(found_inf: Tensor | None, tensors: list[Tensor]) -> Iterator[None]:
    """What the body does to `tensors` is undone where `found_inf` is not 0, without a look at it from the host."""
    if found_inf is None:
        yield
        return
    before = [tensor.clone() for tensor in tensors]
    yield
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(found_inf.to(tensor.device) > 0, old, tensor))
