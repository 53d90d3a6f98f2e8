"""Weights of another checkpoint for a run that begins: of the same network, with a new last layer for other classes.

The run starts where those weights say: its inputs have their mean, and conv1 takes up a difference of scale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_network import AlexNet, DeviceStats
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact
from alexnet_shards.stats import Stats
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.recipe import Recipe, recipe_from_dict

LAST_LAYER = "fc8"
FIRST_WEIGHT = "conv1.weight"
# Of a model's numbers, those that say nothing of what given weights compute.
FREE_KEYS = ("num_classes", "init", "init_std", "init_bias")


def start_state(
    path: Path, recipe: Recipe, classes: Sequence[ClassFact], stats: Stats, say: Callable[[str], None]
) -> dict[str, Any]:
    """{"model", "stats"} of a run of `recipe` that starts from the checkpoint at `path`; averaged weights where it has them.

    Where its classes are not `classes`, the last layer is drawn as for a run from nothing; where its inputs are divided
    by another number, conv1 is multiplied by the ratio. The means are the checkpoint's; the axes of colour noise are those
    of `stats`, the run's own. `say` hears what was done. Raises AlexnetError where the checkpoint is of another network.
    """
    content = load_checkpoint(path)
    theirs = recipe_from_dict(content["recipe"], str(path))
    _check_same_network(path, theirs, recipe)
    drawn = AlexNet(recipe.model, torch.Generator().manual_seed(recipe.train.seed)).state_dict()
    same_classes = list(content["classes"]) == [fact.wnid for fact in classes]
    weights = _taken(path, content.get("average", content["model"]), drawn, with_last=same_classes)
    told = f"starting from the weights and the mean of {path}"
    if weights[f"{LAST_LAYER}.weight"] is drawn[f"{LAST_LAYER}.weight"]:
        told += f", {LAST_LAYER} drawn anew for other classes"
    before, now = (one.input.divisor(training=False) for one in (theirs, recipe))
    if before != now:
        weights[FIRST_WEIGHT] = weights[FIRST_WEIGHT] * (now / before)
        told += f", conv1 times {now / before:g} for inputs divided by {now:g} instead of {before:g}"
    say(told)
    means = {name: content["stats"][name] for name in ("mean_nchw", "channel_mean_nchw")}
    return {"model": weights, "stats": vars(DeviceStats.from_stats(stats)) | means}


def _taken(
    path: Path, given: Mapping[str, Tensor], drawn: Mapping[str, Tensor], *, with_last: bool
) -> dict[str, Tensor]:
    """The tensors of `given` by the names of `drawn`, and the last layer as `drawn` where it is another or not wanted."""
    weights = {}
    for name, tensor in drawn.items():
        is_last = name.startswith(f"{LAST_LAYER}.")
        take = name in given and given[name].shape == tensor.shape and (with_last or not is_last)
        if not take and not is_last:
            found = tuple(given[name].shape) if name in given else "missing"
            raise AlexnetError(f"--init {path}: {name} is {found}, expected {tuple(tensor.shape)}; another network")
        weights[name] = given[name] if take else tensor
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
    if theirs.input.mean != ours.input.mean:
        raise AlexnetError(
            f"--init {path}: its inputs have input.mean = {theirs.input.mean!r}, those of recipe {ours.name} "
            f"{ours.input.mean!r}; give --set input.mean={theirs.input.mean}"
        )
