"""The C kernels against plain torch operations, and what happens where they cannot be built."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alexnet_network import lrn, optim, rules
from alexnet_network.kernels import fits, load_kernels, same_layout
from alexnet_network.lrn import LocalResponseNorm, SameMapNorm
from alexnet_train.recipe import load_recipe

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C compiler, or ALEXNET_KERNELS=off")


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def both_ways(norm: torch.nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """(output, gradient of the input) by the kernels and by torch."""
    results = []
    for kernels in (load_kernels(), None):
        monkeypatch.setattr(lrn, "load_kernels", lambda kernels=kernels: kernels)
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = norm(leaf)
        assert ("Compiled" in str(y.grad_fn)) == (kernels is not None)
        grad_y = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
        (grad_x,) = torch.autograd.grad(y, leaf, grad_y)
        results.append((y.detach(), grad_x))
    return results


@pytest.mark.parametrize(
    "norm",
    [
        LocalResponseNorm(5, 1e-4, 0.75, 2.0, groups=2),
        LocalResponseNorm(5, 0.5, 0.75, 1.0),
        SameMapNorm(5, 0.001, 0.75, 1.0),
        SameMapNorm(5, 0.5, 0.75, 1.0),
    ],
)
@pytest.mark.parametrize("shape", [(1, 96, 13, 11), (5, 8, 4, 3), (2, 2, 1, 1), (4, 26, 55, 55)])
def test_norms_equal_torch(
    norm: torch.nn.Module, shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (50 * torch.randn(shape, generator=generator)).to(memory_format=torch.channels_last)
    (y, grad), (want, want_grad) = both_ways(norm, x, monkeypatch)
    torch.testing.assert_close(y, want, rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(grad, want_grad, rtol=1e-5, atol=2e-6)


def test_parts_do_not_change_a_bit() -> None:
    x = torch.randn(7, 24, 9, 9, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append((LocalResponseNorm(5, 0.1, 0.75, 2.0)(x), SameMapNorm(5, 0.1, 0.75, 1.0)(x)))
    torch.set_num_threads(before)
    for channel, same_map in results[1:]:
        assert torch.equal(channel, results[0][0])
        assert torch.equal(same_map, results[0][1])


@pytest.mark.parametrize("shape", [(3,), (70_001,), (16, 3, 11, 11)])
def test_momentum_step_equals_torch(shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for _ in range(3)]
    if len(shape) == 4:
        start = [tensor.to(memory_format=torch.channels_last) for tensor in start]
    assert same_layout((start[0], start[1], start[2]))
    results = []
    for kernels in (load_kernels(), None):
        monkeypatch.setattr(rules, "load_kernels", lambda kernels=kernels: kernels)
        parameter = torch.nn.Parameter(start[0].clone())
        optimizer = optim.MomentumSGD(
            [{"params": [parameter], "rate": 0.1, "weight_decay": 0.01}], load_recipe("released").optim
        )
        optimizer.state[parameter]["velocity"] = start[1].clone()
        parameter.grad = start[2].clone()
        optimizer.step()
        results.append((parameter.detach(), optimizer.state[parameter]["velocity"]))
    for mine, torchs in zip(results[0], results[1], strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-6, atol=1e-6)
        assert not torch.equal(mine, start[0])


def test_only_tensors_that_the_kernels_know() -> None:
    x = torch.zeros(2, 8, 4, 4).to(memory_format=torch.channels_last)
    assert fits(x, 5, 0.75, 8)
    assert not fits(x.contiguous(), 5, 0.75, 8)
    assert not fits(x, 3, 0.75, 8)
    assert not fits(x, 5, 0.5, 8)
    assert not fits(x, 5, 0.75, 2000)
    assert not same_layout((x, x.contiguous(), x))
    assert not same_layout((x, x, x.double()))
    assert not same_layout((x[:, ::2], x[:, ::2], x[:, ::2]))


SCRIPT = """
import torch
from alexnet_network.kernels import load_kernels
from alexnet_network.lrn import LocalResponseNorm
x = torch.ones(1, 5, 2, 2).to(memory_format=torch.channels_last)
print(load_kernels() is None, LocalResponseNorm(5, 5.0, 0.75, 2.0)(x)[0, 2, 0, 0].item())
"""


def started(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | environment, capture_output=True, text=True, check=True
    )


def test_without_a_compiler_the_norms_still_work(tmp_path: Path) -> None:
    without, value = started(PATH=str(tmp_path)).stdout.split()
    assert without == "True"
    assert float(value) == pytest.approx((2 + 5.0) ** -0.75, rel=1e-6)


def test_a_broken_compiler_is_said_and_survived(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    done = started(PATH=str(tmp_path))
    assert done.stdout.startswith("True ")
    assert "cannot be built" in done.stderr


def test_switched_off() -> None:
    assert started(ALEXNET_KERNELS="off").stdout.startswith("True ")
