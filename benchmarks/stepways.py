"""Training steps of several networks in turns, and a matrix product as the arithmetic peak; prints seconds of each round."""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_network import AlexNet
from alexnet_network.model import layer_costs
from alexnet_network.optim import make_optimizer, rates_at, set_rates
from alexnet_network.precision import autocast
from alexnet_train.recipe import load_recipe
from benchmarks.step import CLASSES, stock_network

GEMM = 2048
CPU = torch.device("cpu")


def torchvision_network() -> nn.Sequential:
    """torchvision.models.alexnet, layer for layer."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten(),
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, CLASSES),
    )  # fmt: skip


def step_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], half: bool
) -> Callable[[], None]:
    """A function that does one training step, `half`: with products in bfloat16."""
    x, labels = batch

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(CPU, "bfloat16" if half else "float32"):
            logits = model(x)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        optimizer.step()

    return step


def ours(width: float, batch: tuple[Tensor, Tensor], half: bool) -> tuple[Callable[[], None], int]:
    """A step of the released network by our layers and update rule, and its multiply-adds an image."""
    recipe = load_recipe("released", [f"num_classes={CLASSES}", f"width={width}"])
    model = AlexNet(recipe.model)
    model_last = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe.optim)
    set_rates(optimizer, rates_at(recipe.optim, [name for name, _ in model.named_parameters()], 0))
    last = batch[0].to(memory_format=torch.channels_last), batch[1]
    return step_of(model_last, optimizer, last, half), sum(cost.multiply_adds for cost in layer_costs(model))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)


def product(dtype: torch.dtype) -> Callable[[], None]:
    """A square matrix product."""
    a, b = (torch.randn(GEMM, GEMM).to(dtype) for _ in range(2))

    def work() -> None:
        torch.mm(a, b)

    return work


def multiply_adds(model: nn.Sequential) -> int:
    """Of one image in the convolutions and linear layers."""
    counted: list[int] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        weight: Tensor = layer.get_parameter("weight")
        counted.append(weight.numel() * output[0].numel() // weight.shape[0])

    hooks = [one.register_forward_hook(count) for one in model if isinstance(one, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def measure(batch_size: int, rounds: int, seconds: float, width: float) -> dict[str, object]:
    """Seconds of every round by name, multiply-adds an image, and those of the products."""
    batch = 60 * torch.randn(batch_size, 3, 224, 224), torch.randint(0, CLASSES, (batch_size,))
    stock = stock_network(load_recipe("released", [f"num_classes={CLASSES}"]).model)
    plain = torchvision_network()
    works: dict[str, Callable[[], None]] = {}
    costs: dict[str, int] = {}
    for name, size, half in (("ours", 1.0, False), ("ours, bfloat16", 1.0, True), ("ours, width 0.25", 0.25, False),
                             ("ours, width 0.25, bfloat16", 0.25, True)):  # fmt: skip
        if size >= width:
            continue
        works[name], costs[name] = ours(size, batch, half)
    if width > 1:
        for name, model in (("the same of stock layers", stock), ("torchvision's AlexNet", plain)):
            works[name], costs[name] = step_of(model, sgd(model), batch, False), multiply_adds(model)
        works["torchvision's AlexNet, bfloat16"] = step_of(plain, sgd(plain), batch, True)
        costs["torchvision's AlexNet, bfloat16"] = costs["torchvision's AlexNet"]
    works |= {"product, float32": product(torch.float32), "product, bfloat16": product(torch.bfloat16)}
    found: dict[str, list[float]] = {name: [] for name in works}
    began = time.monotonic()
    for number in range(rounds + 1):
        if number > 1 and (time.monotonic() - began) * (number + 1) / number > seconds:
            break
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                found[name].append(time.perf_counter() - started)
    return {"seconds": found, "multiply_adds": costs, "product": GEMM**3, "threads": torch.get_num_threads()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--small", action="store_true", help="the networks of a quarter of the width alone")
    options = parser.parse_args()
    print(json.dumps(measure(options.batch_size, options.rounds, options.seconds, 0.5 if options.small else 2)))
