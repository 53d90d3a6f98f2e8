"""The paper's update rule (section 5) and its schedule of rates: a pure function of the epochs done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_network.bounds import Bounds, check_numbers
from alexnet_network.kernels import load_kernels, same_layout
from alexnet_shards.errors import AlexnetError

PHASE_BOUNDS = {
    "after_epochs": Bounds(low=0, high=1_000_000),
    "weights": Bounds(low=0, high=1000),
    "biases": Bounds(low=0, high=1000),
    "layers": Bounds(low=0, high=1000),
}
OPTIM_BOUNDS = {
    "learning_rate": Bounds(low=0, high=1e30),  # rates are float32
    "momentum": Bounds(low=0, high=1, below=True),
    "weight_decay": Bounds(low=0, high=1),
    "warmup_epochs": Bounds(low=0, high=1e6),
    "plateau_epochs": Bounds(low=0, high=1_000_000),
    "plateau_factor": Bounds(low=0, high=1, above=True),
    "plateau_drops": Bounds(low=0, high=1000),
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The rates from `after_epochs` finished epochs on, as factors of the recipe's learning_rate.

    `layers` multiplies the rate of what it names further: a layer ("conv1") or one parameter of it ("conv1.bias"). A rate
    of 0 freezes: nothing moves, not even by its momentum. `colour_noise` says whether training inputs get the noise.
    """

    after_epochs: int
    weights: float
    biases: float
    layers: dict[str, float]
    colour_noise: bool

    def __post_init__(self) -> None:
        check_numbers("optim.phases", self, PHASE_BOUNDS)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Momentum SGD's numbers; the recipes in recipes/*.toml hold and cite them. `phases` ascend from 0 epochs.

    `decay_biases` lets the weight decay act on biases too, as torch.optim does unless told otherwise.

    Over `warmup_epochs` the rates grow linearly from nothing. After `plateau_epochs` (0: never) epochs without a new
    lowest validation error all rates are multiplied by `plateau_factor`, at most `plateau_drops` times.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    decay_biases: bool
    warmup_epochs: float
    plateau_epochs: int
    plateau_factor: float
    plateau_drops: int
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        check_numbers("optim", self, OPTIM_BOUNDS)
        starts = [phase.after_epochs for phase in self.phases]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise AlexnetError(f"optim.phases begin after epochs {starts}; expected ascending numbers, the first 0")


class MomentumSGD(torch.optim.Optimizer):
    """v <- momentum * v - weight_decay * rate * w - rate * gradient;  w <- w + v   (paper section 5).

    The rate is inside the velocity, so a drop of the rate acts on new gradients only; in torch.optim.SGD it also
    scales what the velocity already holds. At rate 0 nothing happens, velocities included (released code), so that a
    frozen layer does not coast on. Every parameter group has "rate" and "weight_decay".
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float) -> None:
        super().__init__(groups, {"momentum": momentum, "rate": 0.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not used and must be None."""
        if closure is not None:
            raise ValueError("closure; expected None: the rule needs one gradient a step")
        for group in self.param_groups:
            rate, momentum = group["rate"], group["momentum"]
            if rate == 0:
                continue
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                _update((parameter, state["velocity"], parameter.grad), momentum, rate, group["weight_decay"] * rate)


def _update(tensors: tuple[Tensor, Tensor, Tensor], momentum: float, rate: float, decay: float) -> None:
    """The rule on (weights, velocity, gradient) in place: one pass over memory by the C kernel where it applies."""
    kernels = load_kernels() if same_layout(tensors) else None
    if kernels is not None:
        kernels.momentum_step(tensors, momentum, rate, decay)
        return
    weights, velocity, gradient = tensors
    velocity.mul_(momentum).add_(weights, alpha=-decay).add_(gradient, alpha=-rate)
    weights.add_(velocity)


def make_optimizer(model: nn.Module, config: OptimConfig) -> MomentumSGD:
    """One group a parameter, named after it: weights decay, biases do not (released configuration) unless they are to."""
    groups = [
        {
            "params": [parameter],
            "name": name,
            "weight_decay": config.weight_decay if config.decay_biases or name.endswith("weight") else 0.0,
        }
        for name, parameter in model.named_parameters()
    ]
    return MomentumSGD(groups, config.momentum)


def phase_at(phases: tuple[Phase, ...], epochs_done: int) -> Phase:
    """The last phase that has begun when `epochs_done` epochs are finished."""
    return [phase for phase in phases if phase.after_epochs <= epochs_done][-1]


def drops_of_plateau(config: OptimConfig, val_errors: Sequence[float]) -> int:
    """How often the rates have dropped after epochs with these validation errors, oldest first (paper section 5).

    After a drop it takes another `plateau_epochs` epochs without a new lowest error for the next.
    """
    if not config.plateau_epochs:
        return 0
    drops, lowest, since = 0, float("inf"), 0
    for error in val_errors:
        since = 0 if error < lowest else since + 1
        lowest = min(lowest, error)
        if since == config.plateau_epochs:
            drops, since = drops + 1, 0
    return min(drops, config.plateau_drops)


def rates_at(
    config: OptimConfig,
    names: Sequence[str],
    epochs_done: int,
    *,
    progress_epochs: float = float("inf"),
    val_errors: Sequence[float] = (),
) -> dict[str, float]:
    """The learning rate of each parameter name, as "conv1.weight", when `epochs_done` epochs are finished.

    `progress_epochs` also counts the part of the epoch that is under way, for the warm-up; `val_errors` are of the
    finished epochs, for the plateau.
    """
    phase = phase_at(config.phases, epochs_done)
    base = config.learning_rate * config.plateau_factor ** drops_of_plateau(config, val_errors)
    warmth = min(1.0, progress_epochs / config.warmup_epochs) if config.warmup_epochs else 1.0
    rates = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        factor = phase.weights if kind == "weight" else phase.biases
        rates[name] = warmth * base * factor * phase.layers.get(layer, 1.0) * phase.layers.get(name, 1.0)
    return rates


def set_rates(optimizer: MomentumSGD, rates: Mapping[str, float]) -> None:
    """Give each of the optimizer's groups its rate by name."""
    for group in optimizer.param_groups:
        group["rate"] = rates[group["name"]]
