"""The exponential average of a network's weights, which is evaluated where a recipe averages."""

import torch
from torch import nn

from alexnet_network import AlexNet


class WeightAverage:
    """The exponential average of a network's weights, of a decay; `updates` were taken in, counted on the host."""

    def __init__(self, module: AlexNet, decay: float) -> None:
        """`module` is a network of its own, whose weights become the average."""
        self.module, self.updates = module, 0
        self._decay = decay

    def update(self, model: nn.Module) -> None:
        """Take in the weights of `model`: the first time they are the average."""
        mine = [parameter.detach() for parameter in self.module.parameters()]
        theirs = [parameter.detach() for parameter in model.parameters()]
        if self.updates == 0:
            torch._foreach_copy_(mine, theirs)
        else:
            torch._foreach_lerp_(mine, theirs, 1 - self._decay)
        self.updates += 1
