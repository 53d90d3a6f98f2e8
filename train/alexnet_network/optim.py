"""The paper's update rule (section 5) and its schedule of rates: a pure function of the epochs done."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_network.bounds import Bounds, check_choices, check_numbers
from alexnet_network.rules import Moving, lars, paper, paper_nesterov, torchs, torchs_nesterov, undone_where
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
    "polynomial_epochs": Bounds(low=0, high=1e6),
    "polynomial_power": Bounds(low=0, high=100, above=True),
    "trust_coefficient": Bounds(low=0, high=1000, above=True),
}
CHOICES = {"rule": ("paper", "torch", "lars")}


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
    the warm-up to `cosine_epochs` (0: never) the rates fall step by step to nothing, along half a cosine; or from the
    beginning to `polynomial_epochs` (0: never) by (1 - share of them that is done) ** `polynomial_power`. Gradients whose
    norm over all layers that move is above `clip_norm` (0: none is) are scaled down to it. `rule`, `nesterov` and
    `trust_coefficient` (of LARS alone) are MomentumSGD's; `decay_biases` lets weight decay act on biases too.
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
    polynomial_epochs: float
    polynomial_power: float
    trust_coefficient: float
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        check_numbers("optim", self, OPTIM_BOUNDS)
        check_choices("optim", self, CHOICES)
        starts = [phase.after_epochs for phase in self.phases]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise AlexnetError(f"optim.phases begin after epochs {starts}; expected ascending numbers, the first 0")
        if self.cosine_epochs and self.polynomial_epochs:
            raise AlexnetError("optim.cosine_epochs and optim.polynomial_epochs; expected one of them to be 0")
        if self.rule == "lars" and self.nesterov:
            raise AlexnetError(
                "optim.nesterov with optim.rule 'lars'; expected it to be false: nobody has published that"
            )
        for name in ("cosine_epochs", "polynomial_epochs"):
            if getattr(self, name):
                self._check_fall(name)

    @property
    def falls(self) -> tuple[str, float]:
        """The key of the epochs in which the rates fall to nothing, step by step, and how many; ("", 0): they do not."""
        names = [name for name in ("cosine_epochs", "polynomial_epochs") if getattr(self, name)]
        return (names[0], getattr(self, names[0])) if names else ("", 0.0)

    @property
    def changes_every_step(self) -> bool:
        """Whether rates change within an epoch."""
        return bool(self.warmup_epochs or self.falls[1])

    def _check_fall(self, name: str) -> None:
        length = f"optim.{name} is {getattr(self, name):g}"
        if getattr(self, name) <= self.warmup_epochs:
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
    gradient once more. `rule` "lars" is the paper's for biases and rules.lars for weights. At rate 0 nothing happens,
    velocities included (released code), so that a frozen layer does not coast on. Every parameter group has "rate" and
    "weight_decay".
    """

    _step_supports_amp_scaling = True  # torch.amp.GradScaler then leaves it to `step` to move nothing

    def __init__(self, groups: list[dict[str, Any]], config: OptimConfig) -> None:
        super().__init__(groups, {"momentum": config.momentum, "rate": 0.0, "weight_decay": 0.0})
        # Not in the groups: a checkpoint's would take their place.
        self._rule, self._nesterov, self._trust = config.rule, config.nesterov, config.trust_coefficient

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not used and must be None.

        Where a GradScaler calls it, gradients are divided by its scale, and where one of them is no number nothing moves:
        the device decides, the host does not wait.
        """
        if closure is not None:
            raise ValueError("closure; expected None: the rule needs one gradient a step")
        scale: Tensor | None = getattr(self, "grad_scale", None)
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        parts = self._alike()
        with undone_where(found_inf, [t for part in parts for t in (*part.weights, *part.velocities)]):
            for part in parts:
                if scale is not None:
                    torch._foreach_div_(part.gradients, scale)
                self._move(part)

    def _alike(self) -> list[Moving]:
        """What moves, parameters of equal numbers together: for LARS weights and biases apart."""
        parts: dict[tuple[float, ...], Moving] = {}
        for group in self.param_groups:
            for parameter in _moving(group):
                state = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                numbers = {"momentum": group["momentum"], "rate": group["rate"], "decay": group["weight_decay"]}
                key = (*numbers.values(), _is_weight(parameter) if self._rule == "lars" else 0)
                part = parts.setdefault(key, Moving(weights=[], velocities=[], gradients=[], **numbers))
                part.weights.append(parameter)
                part.velocities.append(state["velocity"])
                part.gradients.append(_gradient(parameter))
        return list(parts.values())

    def _move(self, part: Moving) -> None:
        if self._rule == "lars" and _is_weight(part.weights[0]):
            lars(part, self._trust)
        elif self._rule == "torch":
            (torchs_nesterov if self._nesterov else torchs)(part)
        else:
            (paper_nesterov if self._nesterov else paper)(part)

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


def _is_weight(parameter: Tensor) -> bool:
    """Whether it is a layer's weights and not its biases."""
    return parameter.dim() > 1


def make_optimizer(model: nn.Module, config: OptimConfig) -> MomentumSGD:
    """One group a parameter, named after it: weights decay, biases do not (released configuration) unless they are to."""
    groups = []
    for name, parameter in model.named_parameters():
        decays = name.endswith("weight") or config.decay_biases
        groups.append({"params": [parameter], "name": name, "weight_decay": config.weight_decay if decays else 0.0})
    return MomentumSGD(groups, config)


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

    `progress_epochs` also counts the part of the epoch that is under way, for the warm-up and a fall; `val_errors`
    are of the finished epochs, for the plateau.
    """
    phase = phase_at(config.phases, epochs_done)
    base = config.learning_rate * config.plateau_factor ** drops_of_plateau(config, val_errors)
    warmth = min(1.0, progress_epochs / config.warmup_epochs) if config.warmup_epochs else 1.0
    if config.cosine_epochs:
        base *= _cosine((progress_epochs - config.warmup_epochs) / (config.cosine_epochs - config.warmup_epochs))
    if config.polynomial_epochs:
        base *= max(0.0, 1 - progress_epochs / config.polynomial_epochs) ** config.polynomial_power
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
