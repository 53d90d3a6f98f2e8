"""A trained network with what it needs to see an image: its input conventions, statistics and class list."""

from dataclasses import dataclass

import torch
from torch import Tensor

from alexnet_network.input import DeviceStats, InputConfig, view_inputs
from alexnet_shards.manifest import ClassFact


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A trained network with everything that turns a 256x256 image into class probabilities."""

    model: torch.nn.Module
    stats: DeviceStats
    input: InputConfig
    classes: tuple[ClassFact, ...]

    @torch.no_grad()
    def probabilities(self, images_nhwc: Tensor, views: int) -> Tensor:
        """(B, 256, 256, 3) uint8 -> (B, classes) float32: softmax averaged over the views (paper section 4.1)."""
        self.model.eval()
        inputs = view_inputs(images_nhwc, views, self.stats, self.input)
        return torch.stack([self.model(x).float().softmax(1) for x in inputs]).mean(0)
