"""AlexNet (paper section 3): five convolutions in two towers and three full layers, with every published variant."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_network.lrn import LocalResponseNorm, SameMapNorm
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import CROP_PX

FEATURE_MAP_PX = 6
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network's numbers; the recipes in recipes/*.toml hold and cite them.

    `after_convN` is the order of "relu", "lrn", "same_map_norm" and "pool" behind that convolution. `conv1_padding_px`
    is (top and left, bottom and right). `init_std` and `init_bias` are of LAYERS. `num_classes` 0: as the shards have.
    """

    num_classes: int
    width: float
    towers: int
    channels: tuple[int, ...]
    hidden: int
    conv1_padding_px: tuple[int, ...]
    after_conv1: tuple[str, ...]
    after_conv2: tuple[str, ...]
    after_conv5: tuple[str, ...]
    pool_px: int
    pool_stride_px: int
    lrn_size: int
    lrn_alpha: float
    lrn_alpha_over_size: bool
    lrn_per_tower: bool
    lrn_beta: float
    lrn_k: float
    same_map_size_px: int
    same_map_alpha: float
    same_map_beta: float
    same_map_k: float
    init_std: tuple[float, ...]
    init_bias: tuple[float, ...]
    dropout: float
    dropout_at: str
    dropout_scaled_in: str


class AlexNet(nn.Module):
    """(N, 3, 224, 224) float32, mean-free RGB -> (N, num_classes) logits.

    With two towers, conv2, conv4 and conv5 see their own tower's maps only; conv3 and the full layers see both.
    Weights are drawn from `generator`. Raises AlexnetError for a config that is no network.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        _check(config)
        towers = config.towers
        conv1, conv2, conv3, conv4, conv5 = (_scaled(count, config) for count in config.channels)
        hidden = _scaled(config.hidden, config)
        self.config = config
        self.conv1 = nn.Conv2d(3, conv1, 11, stride=4)
        self.conv2 = nn.Conv2d(conv1, conv2, 5, padding=2, groups=towers)
        self.conv3 = nn.Conv2d(conv2, conv3, 3, padding=1)
        self.conv4 = nn.Conv2d(conv3, conv4, 3, padding=1, groups=towers)
        self.conv5 = nn.Conv2d(conv4, conv5, 3, padding=1, groups=towers)
        self.fc6 = nn.Linear(conv5 * FEATURE_MAP_PX**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, config.num_classes)
        self.after_conv1 = _behind(config.after_conv1, config)
        self.after_conv2 = _behind(config.after_conv2, config)
        self.after_conv5 = _behind(config.after_conv5, config)
        self.dropout = Dropout(config.dropout, config.dropout_scaled_in)
        self.reset_parameters(generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; the shapes are those of width 1."""
        before, after = self.config.conv1_padding_px
        x = functional.pad(x, (before, after, before, after))  # (N, 3, 227, 227): 224 gives 55 only with 3 zeros
        x = self.after_conv1(self.conv1(x))  # (N, 96, 55, 55) -> (N, 96, 27, 27)
        x = self.after_conv2(self.conv2(x))  # (N, 256, 27, 27) -> (N, 256, 13, 13)
        x = functional.relu(self.conv3(x))  # (N, 384, 13, 13)
        x = functional.relu(self.conv4(x))  # (N, 384, 13, 13)
        x = self.after_conv5(self.conv5(x))  # (N, 256, 13, 13) -> (N, 256, 6, 6)
        x = torch.flatten(x, 1)
        if self.config.dropout_at == "inputs":
            x = functional.relu(self.fc6(self.dropout(x)))
            x = functional.relu(self.fc7(self.dropout(x)))
        else:
            x = self.dropout(functional.relu(self.fc6(x)))  # (N, 4096)
            x = self.dropout(functional.relu(self.fc7(x)))  # (N, 4096)
        return self.fc8(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights from N(0, init_std), set biases to init_bias, a pair for each of LAYERS (paper section 5)."""
        for name, std, bias in zip(LAYERS, self.config.init_std, self.config.init_bias, strict=True):
            layer = self.get_submodule(name)
            for key, parameter in layer.named_parameters():
                if key == "weight":
                    parameter.normal_(0.0, std, generator=generator)
                else:
                    parameter.fill_(bias)


class Dropout(nn.Module):
    """Zero each value with probability `rate` in training (paper section 4.2).

    Scaled in "test", as the original does: kept values pass unchanged in training, all are multiplied by 1 - rate in
    test. Scaled in "train", as nn.Dropout does: the means agree, but with the original's learning rates the weights
    behind it would learn (1 / (1 - rate)) ** 2 times as fast.
    """

    def __init__(self, rate: float, scaled_in: str) -> None:
        super().__init__()
        self.rate, self.scale = rate, 1.0 - rate if scaled_in == "test" else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Any float tensor -> the same shape; masks come from torch's global generator."""
        return functional.dropout(x, self.rate, self.training) * self.scale if self.rate else x

    def extra_repr(self) -> str:
        """The numbers that print(model) shows."""
        return f"{self.rate}, scale={self.scale}"


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one layer holds and does: output shape without the batch, parameters, multiply-adds of one image."""

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layer_costs(model: AlexNet) -> list[LayerCost]:
    """The costs of LAYERS, from one forward pass of a zero image."""
    costs: list[LayerCost] = []

    def record(name: str, layer: nn.Module, output: Tensor) -> None:
        weight = layer.get_parameter("weight")
        positions = output[0].numel() // weight.shape[0]
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        shape = tuple(output.shape[1:])
        costs.append(
            LayerCost(name=name, output_shape=shape, parameters=parameters, multiply_adds=weight.numel() * positions)
        )

    hooks = [
        model.get_submodule(name).register_forward_hook(lambda layer, _, output, name=name: record(name, layer, output))
        for name in LAYERS
    ]
    was_training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, CROP_PX, CROP_PX, device=next(model.parameters()).device))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return costs


def _behind(order: tuple[str, ...], config: ModelConfig) -> nn.Sequential:
    groups = config.towers if config.lrn_per_tower else 1
    alpha = config.lrn_alpha if config.lrn_alpha_over_size else config.lrn_alpha * config.lrn_size
    stages = {
        "relu": nn.ReLU(),
        "lrn": LocalResponseNorm(config.lrn_size, alpha, config.lrn_beta, config.lrn_k, groups=groups),
        "same_map_norm": SameMapNorm(
            config.same_map_size_px, config.same_map_alpha, config.same_map_beta, config.same_map_k
        ),
        "pool": nn.MaxPool2d(config.pool_px, config.pool_stride_px),
    }
    return nn.Sequential(*(stages[name] for name in order))


def _scaled(count: int, config: ModelConfig) -> int:
    """`count` times width, rounded to a multiple of the towers, so that every tower has the same number."""
    return max(1, round(count * config.width / config.towers)) * config.towers


def _check(config: ModelConfig) -> None:
    stages = ("relu", "lrn", "same_map_norm", "pool")
    orders = (config.after_conv1, config.after_conv2, config.after_conv5)
    unknown = [name for order in orders for name in order if name not in stages]
    problems = [
        (bool(unknown), f"model: no stage {unknown[:1]} behind a convolution; expected some of {', '.join(stages)}"),
        (any(order.count("pool") != 1 for order in orders), "model: each of after_conv1, 2 and 5 needs one pool"),
        (config.num_classes < 1, f"model: num_classes is {config.num_classes}; expected 1 or more"),
        (config.width <= 0, f"model: width is {config.width}; expected a number above 0, 1 for the published network"),
        (config.towers not in (1, 2), f"model: towers is {config.towers}; expected 1 or 2"),
        (len(config.channels) != 5, f"model: channels has {len(config.channels)} numbers; expected 5"),
        (len(config.conv1_padding_px) != 2, "model: conv1_padding_px needs (top and left, bottom and right)"),
        ({len(config.init_std), len(config.init_bias)} != {8}, "model: init_std and init_bias need 8 numbers each"),
        (config.lrn_size % 2 == 0, f"model: lrn_size is {config.lrn_size}; expected an odd number of channels"),
        (config.same_map_size_px % 2 == 0, f"model: same_map_size_px is {config.same_map_size_px}; expected odd"),
        (not 0 <= config.dropout < 1, f"model: dropout is {config.dropout}; expected 0 <= dropout < 1"),
        (config.dropout_at not in ("inputs", "outputs"), "model: dropout_at is of the full layers' inputs or outputs"),
        (config.dropout_scaled_in not in ("test", "train"), "model: dropout_scaled_in is test or train"),
    ]
    for wrong, message in problems:
        if wrong:
            raise AlexnetError(message)
