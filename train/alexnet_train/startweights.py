"""Weights of another checkpoint for a run that begins: of the same network, with a new last layer for other classes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from alexnet_network import AlexNet
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.recipe import Recipe, recipe_from_dict

LAST_LAYER = "fc8"
# Of a model's numbers, those that say nothing of what given weights compute.
FREE_KEYS = ("num_classes", "init", "init_std", "init_bias")


def start_weights(
    path: Path, recipe: Recipe, classes: Sequence[ClassFact], say: Callable[[str], None]
) -> dict[str, Tensor]:
    """The weights of the checkpoint at `path` for the network of `recipe`; averaged ones where it has them.

    Where its classes are not `classes`, the last layer is drawn as for a run from nothing, and `say` hears it. Raises
    AlexnetError where the checkpoint is of another network or its inputs have another scale.
    """
    content = load_checkpoint(path)
    theirs = recipe_from_dict(content["recipe"], str(path))
    _check_same_network(path, theirs, recipe)
    given: dict[str, Tensor] = content.get("average", content["model"])
    drawn = AlexNet(recipe.model, torch.Generator().manual_seed(recipe.train.seed)).state_dict()
    same_classes = list(content["classes"]) == [fact.wnid for fact in classes]
    weights = {}
    for name, tensor in drawn.items():
        is_last = name.startswith(f"{LAST_LAYER}.")
        take = name in given and given[name].shape == tensor.shape and (same_classes or not is_last)
        if not take and not is_last:
            found = tuple(given[name].shape) if name in given else "missing"
            raise AlexnetError(f"--init {path}: {name} is {found}, expected {tuple(tensor.shape)}; another network")
        weights[name] = given[name] if take else tensor
    new = weights[f"{LAST_LAYER}.weight"] is drawn[f"{LAST_LAYER}.weight"]
    say(f"starting from the weights of {path}" + (f", {LAST_LAYER} drawn anew for other classes" if new else ""))
    return weights


def _check_same_network(path: Path, theirs: Recipe, ours: Recipe) -> None:
    old, new = asdict(theirs.model), asdict(ours.model)
    free = (*FREE_KEYS, "dropout") if ours.model.dropout_scaled_in == "train" else FREE_KEYS
    for key in new:
        if key not in free and old[key] != new[key]:
            raise AlexnetError(
                f"--init {path}: weights of another network: model.{key} is {old[key]!r} there, {new[key]!r} in recipe "
                f"{ours.name}; give the recipe that they belong to, here {theirs.name}"
            )
    scales = [recipe.input.divisor(training=False) for recipe in (theirs, ours)]
    if scales[0] != scales[1]:
        raise AlexnetError(
            f"--init {path}: its inputs are divided by {scales[0]:g}, those of recipe {ours.name} by {scales[1]:g}; give "
            f"--set input.divide_by={theirs.input.divide_by} --set input.view_divide_by={theirs.input.view_divide_by}"
        )
