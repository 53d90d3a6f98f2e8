"""The paper's update rule (section 5) and its schedule of rates: a pure function of the epochs done."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_network.bounds import Bounds, check_choices, check_numbers
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
    "clip_norm": Bounds(low=0, high=1e30),
    "cosine_epochs": Bounds(low=0, high=1e6),
}
CHOICES = {"rule": ("paper", "torch")}


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

    Over `warmup_epochs` the rates grow linearly from nothing. After `plateau_epochs` (0: never) epochs without a new
    lowest validation error all rates are multiplied by `plateau_factor`, at most `plateau_drops` times. From the end of
    the warm-up to `cosine_epochs` (0: never) the rates fall step by step to nothing, along half a cosine. Gradients whose
    norm over all layers that move is above `clip_norm` (0: none is) are scaled down to it. `rule` and `nesterov` are
    MomentumSGD's; `decay_biases` lets weight decay act on biases too.
    """

    learning_rate: float
    momentum: float
    nesterov: bool
    rule: str
    clip_norm: float
    weight_decay: float
    decay_biases: bool
    warmup_epochs: float
    plateau_epochs: int
    plateau_factor: float
    plateau_drops: int
    cosine_epochs: float
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        check_numbers("optim", self, OPTIM_BOUNDS)
        check_choices("optim", self, CHOICES)
        starts = [phase.after_epochs for phase in self.phases]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise AlexnetError(f"optim.phases begin after epochs {starts}; expected ascending numbers, the first 0")
        if self.cosine_epochs:
            self._check_cosine()

    def _check_cosine(self) -> None:
        length = f"optim.cosine_epochs is {self.cosine_epochs:g}"
        if self.cosine_epochs <= self.warmup_epochs:
            raise AlexnetError(f"{length}; expected more than optim.warmup_epochs, here {self.warmup_epochs:g}")
        if self.plateau_epochs:
            raise AlexnetError(f"{length} and optim.plateau_epochs {self.plateau_epochs}; expected one of them to be 0")
        if len({(phase.weights, phase.biases) for phase in self.phases}) > 1:
            raise AlexnetError(
                f"{length}, but optim.phases change the rates too; expected the same weights and biases in each, as in "
                "recipe cosine"
            )


class MomentumSGD(torch.optim.Optimizer):
    """v <- momentum * v - weight_decay * rate * w - rate * gradient;  w <- w + v   (paper section 5).

    The rate is inside the velocity, so a drop of the rate acts on new gradients only; in torch.optim.SGD, which `rule`
    "torch" is, it also scales what the velocity already holds: v <- momentum * v + weight_decay * w + gradient;
    w <- w - rate * v. `nesterov` moves the weights by the velocity that comes next: momentum times the new v, and the
    gradient once more. At rate 0 nothing happens, velocities included (released code), so that a frozen layer does not
    coast on. Every parameter group has "rate" and "weight_decay".
    """

    def __init__(
        self, groups: list[dict[str, Any]], momentum: float, rule: str = "paper", *, nesterov: bool = False
    ) -> None:
        super().__init__(groups, {"momentum": momentum, "rate": 0.0, "weight_decay": 0.0})
        # Not in the groups: a checkpoint's would take their place.
        self._rule, self._nesterov = rule, nesterov

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not used and must be None."""
        if closure is not None:
            raise ValueError("closure; expected None: the rule needs one gradient a step")
        for group in self.param_groups:
            rate, momentum = group["rate"], group["momentum"]
            for parameter in _moving(group):
                state = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                tensors = parameter, state["velocity"], _gradient(parameter)
                if self._rule == "paper" and not self._nesterov:
                    _update(tensors, momentum, rate, group["weight_decay"] * rate)
                elif self._rule == "paper":
                    _update_nesterov(tensors, momentum, (-rate, -group["weight_decay"] * rate), 1.0)
                elif self._nesterov:
                    _update_nesterov(tensors, momentum, (1.0, group["weight_decay"]), -rate)
                else:
                    _update_torch(tensors, momentum, rate, group["weight_decay"])

    def clip(self, norm: float) -> None:
        """Scale the gradients of all that moves down to the global norm `norm` where theirs is above it.

        No wait for the device; a gradient that is no number makes all of them that.
        """
        moving = [parameter for group in self.param_groups for parameter in _moving(group)]
        torch.nn.utils.clip_grad_norm_(moving, norm)


def _moving(group: Mapping[str, Any]) -> list[nn.Parameter]:
    """The parameters of a group that an update moves."""
    return [] if group["rate"] == 0 else [one for one in group["params"] if one.grad is not None]


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError("a parameter without a gradient does not move")
    return parameter.grad


def _update(tensors: tuple[Tensor, Tensor, Tensor], momentum: float, rate: float, decay: float) -> None:
    """The rule on (weights, velocity, gradient) in place: one pass over memory by the C kernel where it applies."""
    kernels = load_kernels() if same_layout(tensors) else None
    if kernels is not None:
        kernels.momentum_step(tensors, momentum, rate, decay)
        return
    weights, velocity, gradient = tensors
    velocity.mul_(momentum).add_(weights, alpha=-decay).add_(gradient, alpha=-rate)
    weights.add_(velocity)


def _update_torch(tensors: tuple[Tensor, Tensor, Tensor], momentum: float, rate: float, decay: float) -> None:
    """torch.optim.SGD's rule on (weights, velocity, gradient) in place."""
    weights, velocity, gradient = tensors
    velocity.mul_(momentum).add_(weights, alpha=decay).add_(gradient)
    weights.add_(velocity, alpha=-rate)


def _update_nesterov(
    tensors: tuple[Tensor, Tensor, Tensor], momentum: float, factors: tuple[float, float], by: float
) -> None:
    """Nesterov's momentum on (weights, velocity, gradient) in place.

    The velocity takes up the gradient and the weights by their `factors`, and the weights move by `by` times what comes.
    """
    weights, velocity, gradient = tensors
    push = gradient * factors[0] + weights * factors[1]
    velocity.mul_(momentum).add_(push)
    weights.add_(push.add_(velocity, alpha=momentum), alpha=by)


def make_optimizer(model: nn.Module, config: OptimConfig) -> MomentumSGD:
    """One group a parameter, named after it: weights decay, biases do not (released configuration) unless they are to."""
    groups = []
    for name, parameter in model.named_parameters():
        decays = name.endswith("weight") or config.decay_biases
        groups.append({"params": [parameter], "name": name, "weight_decay": config.weight_decay if decays else 0.0})
    return MomentumSGD(groups, config.momentum, config.rule, nesterov=config.nesterov)


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

    `progress_epochs` also counts the part of the epoch that is under way, for the warm-up and the cosine; `val_errors`
    are of the finished epochs, for the plateau.
    """
    phase = phase_at(config.phases, epochs_done)
    base = config.learning_rate * config.plateau_factor ** drops_of_plateau(config, val_errors)
    warmth = min(1.0, progress_epochs / config.warmup_epochs) if config.warmup_epochs else 1.0
    if config.cosine_epochs:
        base *= _cosine((progress_epochs - config.warmup_epochs) / (config.cosine_epochs - config.warmup_epochs))
    rates = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        factor = phase.weights if kind == "weight" else phase.biases
        rates[name] = warmth * base * factor * phase.layers.get(layer, 1.0) * phase.layers.get(name, 1.0)
    return rates


def _cosine(share: float) -> float:
    """From 1 where `share` of the way is 0 or less to 0 where it is 1 or more, along half a cosine."""
    return (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2


def set_rates(optimizer: MomentumSGD, rates: Mapping[str, float]) -> None:
    """Give each of the optimizer's groups its rate by name."""
    for group in optimizer.param_groups:
        group["rate"] = rates[group["name"]]
