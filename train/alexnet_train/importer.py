"""Published weights as checkpoints: torchvision's AlexNet, Caffe's bvlc_alexnet and CaffeNet, their inputs included.

Both expect their own input; what is linear in it goes into conv1, so that ours is RGB 0..255 minus a mean:
torchvision  (x / 255 - mean) / std   ->  conv1 / (255 std), mean 255 * mean, crop of 224
Caffe        BGR minus its mean       ->  conv1's input channels reversed, the same mean, crop of 227
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_network import (
    FEATURE_MAP_PX,
    LAYERS,
    AlexNet,
    CaffeLayer,
    DeviceStats,
    order_behind,
    read_caffemodel,
    read_npy,
)
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import output_path
from alexnet_shards.geometry import CROP_PX
from alexnet_shards.manifest import ClassFact
from alexnet_stream import open_shards
from alexnet_train.checkpoint import save_checkpoint
from alexnet_train.recipe import Recipe, load_recipe
from alexnet_train.torchvision import IMPORTED, TORCHVISION_LAYERS, TORCHVISION_MEAN, scaled_conv1
from alexnet_train.weightsfile import NPY, PICKLE, ZIP, check_file, read_state

NUM_CLASSES = 1000
# Of the 1000 sorted WNIDs of ILSVRC-2012, one a line: the order of both networks' outputs.
ILSVRC2012_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)  # RGB; of imagenet_mean.binaryproto
CAFFE_CROP_PX = 227

PARTS = ("weight", "bias")
SOURCES = ("caffe", "torchvision")
# Caffe's two networks by what follows conv1 and conv2: (network, recipe, stages in their order).
ORDERS = {
    "lrn-pool": ("bvlc_alexnet", "caffe", ("lrn", "pool")),
    "pool-lrn": ("CaffeNet", "caffenet", ("pool", "lrn")),
}

Weights = dict[str, tuple[Tensor, Tensor]]


def import_weights(
    kind: str, weights: Path, shards: Sequence[str], out: Path, order: str | None = None
) -> dict[str, Any]:
    """Write the checkpoint `out` of the published `weights` of `kind` (SOURCES); what was written, for printing.

    The outputs are put into the class order of `shards`, of which only the class list is read. `order` (ORDERS) says
    which of Caffe's networks they are of, where the file does not. Raises AlexnetError where those are not the classes
    of ILSVRC-2012 or `out` is `weights`, and FormatError where the file is not that network's, or damaged.
    """
    target = output_path(out, [weights])
    opened = open_shards(shards, split="val")
    classes = opened.classes
    places = output_order(classes, str(shards[0]))
    if kind == "torchvision":
        if order is not None:
            raise AlexnetError("--order with --from torchvision: it is of Caffe's networks; leave it out")
        layers, name = torchvision_layers(weights), kind
    else:
        layers, name = caffe_layers(weights, order)
    recipe, mean_rgb = source_recipe(name)
    state = {f"{layer}.{part}": tensor for layer in LAYERS for part, tensor in zip(PARTS, layers[layer], strict=True)}
    _check_tensors(weights, recipe, state)
    content = {
        "recipe": asdict(recipe),
        "stats": vars(mean_stats(mean_rgb)),
        "classes": [fact.wnid for fact in classes],
        "words": [fact.words for fact in classes],
        "pixels": opened.manifest.recipe,
        "step": 0,
        "epoch": 0,
    }
    if kind == "torchvision":
        content[IMPORTED] = state["conv1.weight"]
        state["conv1.weight"] = scaled_conv1(state["conv1.weight"])
    state |= {f"fc8.{part}": state[f"fc8.{part}"][places] for part in PARTS}
    save_checkpoint(target, content | {"model": {name: tensor.contiguous() for name, tensor in state.items()}})
    return {"weights": str(weights), "from": kind, "checkpoint": str(out), "recipe": recipe.name}


def source_recipe(name: str) -> tuple[Recipe, tuple[float, ...]]:
    """The recipe whose network and input those weights belong to, and the mean of R, G, B in grey levels."""
    settings = (f"num_classes={NUM_CLASSES}", "input.mean=channel", "input.divide_by=1.0", "view_divide_by=1.0")
    recipe = load_recipe(name, settings)
    if name == "torchvision":
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
    state = read_state(path, f"{TORCHVISION_LAYERS['conv1']}.weight")
    names = [f"{theirs}.{part}" for theirs in TORCHVISION_LAYERS.values() for part in PARTS]
    missing = [name for name in names if name not in state]
    if missing:
        raise FormatError(f"{path}: no {missing[0]} in it; expected all layers of torchvision's alexnet")
    layers: Weights = {
        ours: (state[f"{theirs}.weight"].float(), state[f"{theirs}.bias"].float())
        for ours, theirs in TORCHVISION_LAYERS.items()
    }
    return layers


def caffe_layers(path: Path, order: str | None) -> tuple[Weights, str]:
    """Our layers of bvlc_alexnet or CaffeNet, and the recipe of which of the two.

    `path` is a .caffemodel, whose layers tell them apart, or a .npy dump in Caffe's order or in that of caffe-tensorflow,
    which needs `order`, one of ORDERS.
    """
    head = check_file(path)
    if head.startswith((ZIP, PICKLE)):
        raise FormatError(
            f"{path}: a file of torch or a ZIP archive; weights of torch are imported with --from torchvision"
        )
    if head.startswith(NPY):
        found, recipe = read_npy(path), recipe_of_order(path, None, order)
    else:
        layers = read_caffemodel(path)
        found, recipe = {layer.name: layer.blobs for layer in layers}, recipe_of_order(path, layers, order)
    return _from_caffe(path, found), recipe


def recipe_of_order(path: Path, layers: Sequence[CaffeLayer] | None, order: str | None) -> str:
    """The recipe of the order in which lrn and pool follow conv1 and conv2; raises FormatError where it is unknown.

    `layers` are the file's, None where it has no order; `order` is what the user says, one of ORDERS.
    """
    pairs = (("conv1", "conv2"), ("conv2", "conv3"))
    found = {order_behind(layers, *pair) for pair in pairs} if layers is not None else {()}
    if found == {()}:
        if order is None:
            choices = " or ".join(f"--order {name} ({network})" for name, (network, _, _) in ORDERS.items())
            raise FormatError(f"{path}: does not say whether lrn or pool comes first; give {choices}")
        return ORDERS[order][1]
    for name, (_, recipe, stages) in ORDERS.items():
        if found == {stages}:
            if order not in (None, name):
                raise FormatError(f"{path}: --order {order}, but its layers are in the order {name}; leave --order out")
            return recipe
    told = " and ".join(sorted("-".join(stages) or "nothing" for stages in found))
    raise FormatError(f"{path}: {told} behind conv1 and conv2; expected {' or '.join(ORDERS)} behind both")


def _from_caffe(path: Path, found: Mapping[str, Sequence[npt.NDArray[np.float32]]]) -> Weights:
    missing = [name for name in LAYERS if len(found.get(name, ())) != 2]
    if missing:
        raise FormatError(f"{path}: layer {missing[0]} has no weights and biases; expected bvlc_alexnet or CaffeNet")
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


def _check_tensors(path: Path, recipe: Recipe, state: dict[str, Tensor]) -> None:
    """Raise FormatError unless all shapes are the network's and all values numbers."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in AlexNet(recipe.model).state_dict().items()}
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise FormatError(
                f"{path}: {name} is {tuple(state[name].shape)}, expected {shape}; not the network of recipe {recipe.name}"
            )
        broken = int((~state[name].isfinite()).sum())
        if broken:
            raise FormatError(f"{path}: {broken} values of {name} are no numbers: damaged; download it again")
