"""A trained network with what it needs to see an image: its input conventions, statistics and class list."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from alexnet_network.input import DeviceStats, InputConfig, view_inputs
from alexnet_network.model import AlexNet
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact

Average = Literal["probabilities", "logits"]
MAX_INPUTS = 4096  # some 20 GB of activations


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A trained network with everything that turns a 256x256 image into class probabilities."""

    model: torch.nn.Module
    stats: DeviceStats
    input: InputConfig
    classes: tuple[ClassFact, ...]

    @torch.no_grad()
    def log_probabilities(self, images_nhwc: Tensor, views: int, average: Average = "probabilities") -> Tensor:
        """(B, 256, 256, 3) uint8 -> (B, classes) float64: log of the softmax averaged over the views (paper section 4.1).

        Logarithms keep classes apart whose probabilities are no numbers above 0 any more. `average` "logits": of the
        softmax of the views' mean logits, which is not the paper's.
        """
        return AVERAGES[average](self.view_log_probabilities(images_nhwc, views))

    @torch.no_grad()
    def view_log_probabilities(self, images_nhwc: Tensor, views: int) -> Tensor:
        """(B, 256, 256, 3) uint8 -> (views, B, classes) float64: log of the softmax of each view (input.view_inputs)."""
        self.model.eval()
        inputs = view_inputs(images_nhwc, views, self.stats, self.input)
        at_once = views_at_once(len(images_nhwc), images_nhwc.device)
        scores = [self._log_softmax(some) for some in batched(inputs, at_once)]
        whole: Tensor = torch.cat(scores).unflatten(0, (views, len(images_nhwc)))  # type: ignore[no-untyped-call]
        return whole

    def _log_softmax(self, inputs: list[Tensor]) -> Tensor:
        """Of some views of the same images, one after the other."""
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs)
        return self.model(x).double().log_softmax(1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def features(self, images_nhwc: Tensor) -> Tensor:
        """(B, 256, 256, 3) uint8 -> (B, D) float32: the last hidden layer's activations in the centre view.

        Raises AlexnetError where the network is none of ours.
        """
        if not isinstance(self.model, AlexNet):
            raise AlexnetError(f"{type(self.model).__name__}: no network with a last hidden layer that is known here")
        self.model.eval()
        (x,) = view_inputs(images_nhwc, 1, self.stats, self.input)
        return self.model.hidden(x).float()

    def probabilities(self, images_nhwc: Tensor, views: int) -> Tensor:
        """(B, 256, 256, 3) uint8 -> (B, classes) float32: softmax averaged over the views (paper section 4.1)."""
        return self.log_probabilities(images_nhwc, views).exp().float()


def views_at_once(images: int, device: torch.device) -> int:
    """How many views of so many images go through the network together: one on the CPU, whose caches they would leave."""
    return 1 if device.type == "cpu" else max(1, MAX_INPUTS // max(1, images))


def batched(inputs: Iterable[Tensor], count: int) -> Iterator[list[Tensor]]:
    """`inputs` in lists of `count`, the last one as long as what is left."""
    rest = iter(inputs)
    while some := list(islice(rest, count)):
        yield some


def log_mean(log_values: Tensor) -> Tensor:
    """Log of the mean over the first dimension of what `log_values` (K, ...) are the logs of; of one, the same numbers."""
    return log_values.logsumexp(0) - math.log(len(log_values)) if len(log_values) > 1 else log_values[0]


def logit_mean(log_values: Tensor) -> Tensor:
    """(K, ..., classes) log probabilities -> (..., classes): those of the mean of the K logits, which differ from them by
    a number an image alone."""
    return log_values.mean(0).log_softmax(-1)


AVERAGES: Mapping[Average, Callable[[Tensor], Tensor]] = {"probabilities": log_mean, "logits": logit_mean}
