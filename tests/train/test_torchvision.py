"""Our weights in torchvision's network: the same outputs, its own input where the mean is its own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from alexnet_network.model import AlexNet
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe
from alexnet_train.torchvision import to_torchvision


def images() -> torch.Tensor:
    return 60 * torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dropout_at", ["outputs", "inputs"])
def test_halved_outputs_become_halved_weights(
    dropout_at: str, torchvisions_alexnet: Callable[[int], nn.Module]
) -> None:
    settings = ["num_classes=10", "dropout_scaled_in=test", f"dropout_at={dropout_at}"]
    model = AlexNet(load_recipe("torchvision", settings).model, torch.Generator().manual_seed(0)).eval()
    network = torchvisions_alexnet(10)
    network.load_state_dict(to_torchvision(model))
    x = images() / 57.4
    torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-6)


def test_other_networks_do_not_fit_torchvision() -> None:
    recipe = load_recipe("torchvision", ["num_classes=10", "width=0.125"])
    with pytest.raises(AlexnetError, match=r"model.width is 0.125, expected 1.0"):
        to_torchvision(AlexNet(recipe.model))
    model = AlexNet(replace(recipe.model, towers=2))
    model.config = replace(model.config, width=1.0)
    with pytest.raises(AlexnetError, match="towers is 2, expected 1; only networks of the recipe torchvision"):
        to_torchvision(model)
