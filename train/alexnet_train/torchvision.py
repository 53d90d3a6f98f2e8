"""torchvision's AlexNet and ours: names of layers, what its network fixes, and its input of mean 0 and deviation 1.

torchvision feeds (x / 255 - mean) / std; what is linear in it goes into conv1, so that ours takes RGB 0..255 minus a mean:
conv1 / (255 std) and the mean 255 * mean.
"""

from typing import Any

import torch
from torch import Tensor

from alexnet_network import AlexNet, Classifier, ModelConfig
from alexnet_shards.errors import AlexnetError

# Our layer: torchvision.models.alexnet's.
TORCHVISION_LAYERS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# What torchvision's network fixes; weights of another network mean nothing there.
TORCHVISION_MODEL: dict[str, Any] = {
    "width": 1.0,
    "towers": 1,
    "channels": (64, 192, 384, 256, 256),
    "hidden": 4096,
    "conv1_padding_px": (2, 2),
    "conv2_padding_px": 2,
    "conv5_padding_px": 1,
    "after_conv1": ("relu", "pool"),
    "after_conv2": ("relu", "pool"),
    "after_conv5": ("relu", "pool"),
    "pool_px": 3,
    "pool_stride_px": 2,
    "pool_ceil": False,
}
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB / 255
CONV1 = "features.0.weight"
IMPORTED = "torchvision"  # the checkpoint's entry of an imported network: conv1 as the file had it
SAME_MEAN = 1e-3  # grey levels


def scaled_conv1(weight: Tensor) -> Tensor:
    """torchvision's conv1 for our input; (64, 3, 11, 11)."""
    return weight / _levels()


def torchvision_state(classifier: Classifier, content: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict, what it changes of the metadata) of a network for torchvision's users.

    Where the mean is torchvision's, conv1 takes torchvision's own input. A network that was imported from torchvision
    comes back with its classes in torchvision's order, and bit by bit where it was not trained since.
    """
    model = classifier.model
    if not isinstance(model, AlexNet):
        raise TypeError(f"{type(model)}; expected AlexNet")
    state = to_torchvision(model)
    changes: dict[str, Any] = {}
    imported = content.get(IMPORTED)
    means = 255 * torch.tensor(TORCHVISION_MEAN)
    if classifier.input.mean == "channel" and torch.allclose(
        classifier.stats.channel_mean_nchw.flatten().cpu(), means, rtol=0, atol=SAME_MEAN
    ):
        state[CONV1] = _own_conv1(state[CONV1] / classifier.input.divisor(training=False), imported)
        changes["input"] = {
            "levels": [0, 1],
            "mean": list(TORCHVISION_MEAN),
            "std": list(TORCHVISION_STD),
            "scale": None,
            "formula": "(levels - mean) / std",
        }
    if imported is not None:
        order = sorted(range(len(content["classes"])), key=lambda label: content["classes"][label])
        last = TORCHVISION_LAYERS["fc8"]
        state |= {f"{last}.{part}": state[f"{last}.{part}"][order] for part in ("weight", "bias")}
        changes |= {name: [content[name][label] for label in order] for name in ("classes", "words")}
    return state, changes


def to_torchvision(model: AlexNet) -> dict[str, Tensor]:
    """The weights by torchvision's names; raises AlexnetError unless the network is torchvision's."""
    for name, value in TORCHVISION_MODEL.items():
        found = getattr(model.config, name)
        if found != value:
            raise AlexnetError(
                f"not torchvision's AlexNet: model.{name} is {found!r}, expected {value!r}; "
                "only networks of the recipe torchvision can be exported to it"
            )
    weights = model.state_dict()
    scale = 1.0 if model.config.dropout_scaled_in == "train" else 1 - model.config.dropout
    renamed = {}
    for ours, theirs in TORCHVISION_LAYERS.items():
        # Values that ours halves in test come to torchvision's next layer whole, so its weights are halved instead.
        factor = scale if ours in _scaled_layers(model.config) else 1.0
        renamed[f"{theirs}.weight"] = (weights[f"{ours}.weight"] * factor).contiguous()
        renamed[f"{theirs}.bias"] = weights[f"{ours}.bias"].clone()
    return renamed


def _own_conv1(weight: Tensor, imported: Tensor | None) -> Tensor:
    """conv1 for torchvision's input: as the file had it where it is still that, for scaling back would round again."""
    if imported is not None and torch.equal(scaled_conv1(imported), weight):
        return imported
    return weight * _levels()


def _levels() -> Tensor:
    """(1, 3, 1, 1): torchvision's deviations in grey levels."""
    return (255 * torch.tensor(TORCHVISION_STD)).reshape(1, 3, 1, 1)


def _scaled_layers(config: ModelConfig) -> tuple[str, str]:
    """The layers whose inputs come out of dropout."""
    return ("fc6", "fc7") if config.dropout_at == "inputs" else ("fc7", "fc8")
