"""AlexNet (paper section 3): five convolutions in two towers and three full layers, with every published variant."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_network.lrn import LocalResponseNorm, SameMapNorm
from alexnet_network.modelconfig import (
    CONVOLUTIONS,
    FEATURE_MAP_PX,
    FULL_LAYERS,
    TOWERED,
    ModelConfig,
    channel_counts,
    kernel_px,
    layer_names,
    padding_px,
    scaled,
)
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import CROP_PX


class AlexNet(nn.Module):
    """(N, 3, 224, 224) float32, mean-free RGB -> (N, num_classes) logits.

    With two towers, conv2, conv4 and conv5 see their own tower's maps only; conv3 and the full layers see both.
    Weights are drawn from `generator`. Raises AlexnetError where the number of classes is not known.
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d
    conv5: nn.Conv2d

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if config.num_classes < 1:
            raise AlexnetError(f"model.num_classes is {config.num_classes}; expected 1 or more")
        self.config = config
        inputs = 3
        for name, outputs in channel_counts(config).items():
            groups = config.towers if name in TOWERED else 1
            stride, padding = 4 if name == "conv1" else 1, padding_px(name, config)
            self.add_module(name, nn.Conv2d(inputs, outputs, kernel_px(name), stride, padding, groups=groups))
            inputs = outputs
        hidden = scaled(config.hidden, config)
        self.fc6 = nn.Linear(inputs * FEATURE_MAP_PX**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, config.num_classes)
        self.after_conv1 = _behind(config.after_conv1, config)
        self.after_conv2 = _behind(config.after_conv2, config)
        self.after_conv5 = _behind(config.after_conv5, config)
        self.dropout = Dropout(config.dropout, config.dropout_scaled_in)
        self.reset_parameters(generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        return self.fc8(self.hidden(x))  # type: ignore[no-any-return]

    def hidden(self, x: Tensor) -> Tensor:
        """What the last layer sees: (N, 4096) features; the shapes are those of width 1."""
        before, after = self.config.conv1_padding_px
        x = functional.pad(x, (before, after, before, after))  # (N, 3, 227, 227): 224 gives 55 only with 3 zeros
        x = self.after_conv1(self.conv1(x))  # (N, 96, 55, 55) -> (N, 96, 27, 27)
        x = self.after_conv2(self._convolved(x, "conv2"))  # (N, 256, 27, 27) -> (N, 256, 13, 13)
        x = self._rectified(x, "conv3")  # (N, 384, 13, 13)
        x = self._rectified(x, "conv4")  # (N, 384, 13, 13)
        x = self.after_conv5(self._convolved(x, "conv5"))  # (N, 256, 13, 13) -> (N, 256, 6, 6)
        x = self._rectified(x, "conv6")  # (N, 256, 6, 6)
        x = torch.flatten(x, 1)
        if self.config.dropout_at == "inputs":
            x = functional.relu(self.fc6(self.dropout(x)))
            x = functional.relu(self.fc7(self.dropout(x)))
        else:
            x = self.dropout(functional.relu(self.fc6(x)))  # (N, 4096)
            x = self.dropout(functional.relu(self.fc7(x)))  # (N, 4096)
        return x

    def _convolved(self, x: Tensor, name: str) -> Tensor:
        """Through that convolution, or past it where the recipe leaves it out."""
        return getattr(self, name)(x) if name in self._modules else x

    def _rectified(self, x: Tensor, name: str) -> Tensor:
        return functional.relu(getattr(self, name)(x)) if name in self._modules else x

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights from N(0, init_std), set biases to init_bias, a pair for each layer (paper section 5).

        Or both as torch.nn's layers draw theirs, where `init` says so.
        """
        names = (*CONVOLUTIONS[: len(self.config.channels)], *FULL_LAYERS)
        for name, std, bias in zip(names, self.config.init_std, self.config.init_bias, strict=True):
            if name not in self._modules:
                continue
            layer = self.get_submodule(name)
            for key, parameter in layer.named_parameters():
                if self.config.init == "torch":
                    _draw_as_torch(key, parameter, layer, generator)
                elif key == "weight":
                    parameter.normal_(0.0, std, generator=generator)
                else:
                    parameter.fill_(bias)


def _draw_as_torch(key: str, parameter: nn.Parameter, layer: nn.Module, generator: torch.Generator | None) -> None:
    """What reset_parameters of nn.Conv2d and nn.Linear does, number by number."""
    if key == "weight":
        nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=generator)
    else:
        inputs = layer.get_parameter("weight")[0].numel()
        nn.init.uniform_(parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)


class Dropout(nn.Module):
    """Zero each value with probability `rate` in training (paper section 4.2).

    Scaled in "test", as the original does: kept values pass unchanged in training, all are multiplied by 1 - rate in
    test. Scaled in "train", as nn.Dropout does: the means agree, but with the original's learning rates the weights
    behind it would learn (1 / (1 - rate)) ** 2 times as fast.
    """

    def __init__(self, rate: float, scaled_in: str) -> None:
        super().__init__()
        self.rate, self.scale = rate, 1.0 - rate if scaled_in == "test" else 1.0
        self.places: Tensor | None = None
        self.batch_size = 0

    def forward(self, x: Tensor) -> Tensor:
        """Any float tensor -> the same shape; masks come from torch's global generator.

        Where `places` (N,) int64 says which rows of a batch of `batch_size` these N are, the masks are those rows of the
        masks that the whole batch would have: a sample's do not depend on what goes through the network with it.
        """
        if not self.rate:
            return x
        if self.training and self.places is not None:
            whole = functional.dropout(x.new_ones(self.batch_size, *x.shape[1:]), self.rate)
            return x * whole.index_select(0, self.places) * self.scale
        return functional.dropout(x, self.rate, self.training) * self.scale

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
    """The costs of each layer, from one forward pass of a zero image."""
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
        for name in layer_names(model.config)
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
        "pool": nn.MaxPool2d(config.pool_px, config.pool_stride_px, ceil_mode=config.pool_ceil),
    }
    return nn.Sequential(*(stages[name] for name in order))
