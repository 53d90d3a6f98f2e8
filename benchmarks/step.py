"""A training step of the released network on the CPU, beside the same network of stock torch parts.

    python benchmarks/step.py --json

The stock network has nn.LocalResponseNorm for each tower, an avg_pool2d for the same-map norm, torch.optim.SGD and the
default memory order. Steps of both are interleaved; the fastest of each counts, as other work on the machine only adds.
"""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_network import AlexNet, ModelConfig
from alexnet_network.kernels import load_kernels
from alexnet_network.optim import make_optimizer, rates_at, set_rates
from alexnet_train.recipe import load_recipe

CLASSES = 1000


class StockTowers(nn.Module):
    """nn.LocalResponseNorm on each half of the channels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(config.lrn_size, config.lrn_alpha, config.lrn_beta, config.lrn_k)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(half) for half in x.chunk(2, 1)], 1)


class StockSameMap(nn.Module):
    """The same-map norm of standard operations."""

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = functional.avg_pool2d(x * x, 5, stride=1, padding=2)
        return x / (1 + 0.001 * mean) ** 0.75


class Half(nn.Module):
    """nn.Dropout with the original's scale."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x


def stock_network(config: ModelConfig) -> nn.Sequential:
    """The released network (recipes/released.toml) of standard layers."""
    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), StockTowers(config), nn.MaxPool2d(3, 2), nn.ReLU(),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), StockTowers(config), StockSameMap(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), nn.ReLU(),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(0.5), Half(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5), Half(),
        nn.Linear(4096, CLASSES),
    )  # fmt: skip


def make_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor) -> Callable[[], None]:
    """A function that does one training step."""

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(functional.cross_entropy(model(x), labels))
        optimizer.step()

    return step


def make_norms(model: AlexNet, batch_size: int) -> Callable[[], None]:
    """A function that does what the step does in its norms, forward and backward, on tensors of the same shapes."""
    inputs: list[tuple[nn.Module, Tensor]] = []
    for stage, channels, side_px in ((model.after_conv1, 96, 55), (model.after_conv2, 256, 27)):
        for norm in stage:
            if not isinstance(norm, nn.ReLU | nn.MaxPool2d):
                x = 10 * torch.randn(batch_size, channels, side_px, side_px)
                inputs.append((norm, x.to(memory_format=torch.channels_last).requires_grad_()))

    def norms() -> None:
        for norm, x in inputs:
            y = norm(x)
            torch.autograd.grad(y, x, torch.ones_like(y))

    return norms


def fastest(works: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Seconds of the fastest of `repeats` interleaved calls of each, after one to warm up."""
    seconds = dict.fromkeys(works, float("inf"))
    for repeat in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if repeat:
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Not needed: the step's time does not depend on pixels.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--repeats", default=6, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(data: Path | None, batch_size: int, repeats: int, as_json: bool) -> None:
    """Time a training step of the released network against the same network of stock parts."""
    del data
    recipe = load_recipe("released", [f"num_classes={CLASSES}"])
    x = 60 * torch.randn(batch_size, 3, 224, 224)
    labels = torch.randint(0, CLASSES, (batch_size,))
    ours = AlexNet(recipe.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(ours, recipe.optim)
    set_rates(optimizer, rates_at(recipe.optim, [name for name, _ in ours.named_parameters()], 0))
    stock = stock_network(recipe.model)
    for mine, theirs in zip(stock.parameters(), ours.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    sgd = torch.optim.SGD(stock.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    works = {
        "ours": make_step(ours, optimizer, x.to(memory_format=torch.channels_last), labels),
        "stock": make_step(stock, sgd, x, labels),
        "norms": make_norms(ours, batch_size),
    }
    seconds = fastest(works, repeats)
    result = {
        "ratios": {"over_stock": seconds["stock"] / seconds["ours"], "lrn_share": seconds["norms"] / seconds["ours"]},
        "rows": [
            {"name": name, "seconds": value, "images_per_second": batch_size / value} for name, value in seconds.items()
        ],
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "kernels": "C" if load_kernels() else "torch",
            "threads": torch.get_num_threads(),
        },
    }
    print(json.dumps(result, indent=None if as_json else 1))


if __name__ == "__main__":
    main()
