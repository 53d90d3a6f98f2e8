"""Published weights as checkpoints: torchvision's AlexNet and Caffe's bvlc_alexnet, their input conventions included.

Both expect their own input; what is linear in it goes into conv1, so that ours is RGB 0..255 minus a mean:
torchvision  (x / 255 - mean) / std   ->  conv1 / (255 std), mean 255 * mean, crop of 224
Caffe        BGR minus its mean       ->  conv1's input channels reversed, the same mean, crop of 227
"""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_network import FEATURE_MAP_PX, LAYERS, AlexNet, DeviceStats, read_caffemodel, read_npy
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import output_path
from alexnet_shards.geometry import CROP_PX
from alexnet_shards.manifest import ClassFact
from alexnet_stream import open_shards
from alexnet_train.checkpoint import save_checkpoint
from alexnet_train.export import TORCHVISION_LAYERS
from alexnet_train.recipe import Recipe, load_recipe

NUM_CLASSES = 1000
# Of the 1000 sorted WNIDs of ILSVRC-2012, one a line: the order of both networks' outputs.
ILSVRC2012_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB / 255
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)  # RGB; of imagenet_mean.binaryproto
CAFFE_CROP_PX = 227

PARTS = ("weight", "bias")
SOURCES = ("caffe", "torchvision")

Weights = dict[str, tuple[Tensor, Tensor]]


def import_weights(kind: str, weights: Path, shards: Sequence[str], out: Path) -> dict[str, Any]:
    """Write the checkpoint `out` of the published `weights` of `kind` (SOURCES); what was written, for printing.

    The outputs are put into the class order of `shards`, of which only the class list is read. Raises AlexnetError where
    those are not the classes of ILSVRC-2012 or `out` is `weights`, and FormatError where the file is not that network's.
    """
    target = output_path(out, [weights])
    classes = open_shards(shards).classes
    order = output_order(classes, str(shards[0]))
    layers = torchvision_layers(weights) if kind == "torchvision" else caffe_layers(weights)
    recipe, mean_rgb = source_recipe(kind)
    state = {f"{layer}.{name}": tensor for layer in LAYERS for name, tensor in zip(PARTS, layers[layer], strict=True)}
    _check_shapes(weights, recipe, state)
    state |= {f"fc8.{name}": state[f"fc8.{name}"][order] for name in PARTS}
    content = {
        "recipe": asdict(recipe),
        "model": {name: tensor.contiguous() for name, tensor in state.items()},
        "stats": vars(mean_stats(mean_rgb)),
        "classes": [fact.wnid for fact in classes],
        "words": [fact.words for fact in classes],
        "step": 0,
        "epoch": 0,
    }
    save_checkpoint(target, content)
    return {"weights": str(weights), "from": kind, "checkpoint": str(out), "recipe": recipe.name}


def source_recipe(kind: str) -> tuple[Recipe, tuple[float, ...]]:
    """The recipe whose network and input those weights belong to, and the mean of R, G, B in grey levels."""
    settings = (f"num_classes={NUM_CLASSES}", "input.mean=channel", "input.divide_by=1.0", "view_divide_by=1.0")
    recipe = load_recipe(kind, settings)
    if kind == "torchvision":
        return recipe, tuple(255 * mean for mean in TORCHVISION_MEAN)
    return replace(recipe, input=replace(recipe.input, view_crop_px=CAFFE_CROP_PX)), CAFFE_MEAN


def output_order(classes: Sequence[ClassFact], where: str) -> Tensor:
    """(1000,) int64: the network's output of each class; raises AlexnetError unless they are ILSVRC-2012's."""
    wnids = sorted(fact.wnid for fact in classes)
    if len(set(wnids)) != NUM_CLASSES or hashlib.sha256("\n".join(wnids).encode()).hexdigest() != ILSVRC2012_SHA256:
        raise AlexnetError(
            f"{where}: {len(wnids)} classes that are not the 1000 of ILSVRC-2012, which these networks know; "
            "name shards of ILSVRC-2012 (that of 2010 has other classes)"
        )
    place = {wnid: number for number, wnid in enumerate(wnids)}
    return torch.tensor([place[fact.wnid] for fact in classes])


def torchvision_layers(path: Path) -> Weights:
    """Our layers of a state dict of torchvision.models.alexnet, as its .pth files hold it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        layers = {
            ours: (state[f"{theirs}.weight"].float(), state[f"{theirs}.bias"].float())
            for ours, theirs in TORCHVISION_LAYERS.items()
        }
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise FormatError(f"{path}: unreadable ({reason}); expected a .pth file of torchvision's alexnet") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: no {error} in it; expected a .pth file of torchvision's alexnet") from error
    weight, bias = layers["conv1"]
    layers["conv1"] = weight / (255 * torch.tensor(TORCHVISION_STD)).reshape(1, 3, 1, 1), bias
    return layers


def caffe_layers(path: Path) -> Weights:
    """Our layers of bvlc_alexnet: a .caffemodel, or a .npy dump in Caffe's order or in that of caffe-tensorflow."""
    found = read_npy(path) if path.suffix == ".npy" else read_caffemodel(path)
    missing = [name for name in LAYERS if len(found.get(name, ())) != 2]
    if missing:
        raise FormatError(f"{path}: layer {missing[0]} has no weights and biases; expected bvlc_alexnet")
    layers: Weights = {}
    for name in LAYERS:
        weight, bias = (np.array(part) for part in found[name])
        if found["conv1"][0].shape[-1] != found["conv1"][0].shape[-2]:  # (rows, columns, inputs, outputs)
            weight = _from_tensorflow(name, weight)
        if name.startswith("fc"):
            weight = weight.reshape(weight.shape[-2:])
        layers[name] = torch.from_numpy(np.ascontiguousarray(weight)), torch.from_numpy(bias.reshape(-1))
    bgr_weight, conv1_bias = layers["conv1"]
    return layers | {"conv1": (bgr_weight.flip(1), conv1_bias)}


def _from_tensorflow(name: str, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weights by outputs first, and fc6's inputs by channel, row, column, as Caffe and torch have them."""
    if weight.ndim == 4:
        return weight.transpose(3, 2, 0, 1)
    if name != "fc6":
        return weight.T
    side, outputs = FEATURE_MAP_PX, weight.shape[1]
    return weight.reshape(side, side, -1, outputs).transpose(3, 2, 0, 1).reshape(outputs, -1)


def mean_stats(mean_rgb: Sequence[float]) -> DeviceStats:
    """Statistics that hold nothing but a mean a channel, in grey levels."""
    channel_mean_nchw = torch.tensor(mean_rgb, dtype=torch.float32).reshape(1, 3, 1, 1)
    mean_nchw = channel_mean_nchw.expand(1, 3, CROP_PX, CROP_PX).contiguous()
    none = torch.zeros(3, 3)
    return DeviceStats(
        mean_nchw=mean_nchw, channel_mean_nchw=channel_mean_nchw, axes_released=none, axes_paper=none.clone()
    )


def _check_shapes(path: Path, recipe: Recipe, state: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in AlexNet(recipe.model).state_dict().items()}
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise FormatError(
                f"{path}: {name} is {tuple(state[name].shape)}, expected {shape}; not the network of recipe {recipe.name}"
            )
