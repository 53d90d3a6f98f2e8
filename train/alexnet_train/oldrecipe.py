"""Recipes of earlier versions: a key that one lacks takes the value that reproduces what that version did."""

from collections.abc import Mapping
from typing import Any

from alexnet_shards.geometry import CROP_PX

# What the network's paddings and pools were before they were keys.
INPUT_KEYS = {"view_crop_px": CROP_PX, "flip_once": False}  # the test views had one size
MODEL_KEYS = {"conv2_padding_px": 2, "conv5_padding_px": 1, "pool_ceil": False, "init": "normal"}
# And the update rule before it had variants.
OPTIM_KEYS = {"nesterov": False, "rule": "paper", "clip_norm": 0.0, "decay_biases": False, "cosine_epochs": 0.0}
OPTIM_KEYS |= {"polynomial_epochs": 0.0, "polynomial_power": 2.0, "trust_coefficient": 0.001}
TRAIN_KEYS = {"cuda_graphs": False}  # compiled steps were launched kernel by kernel


def completed(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """`table` with the keys that recipes did not always have; those that it has are unchanged."""
    completed_table = dict(table)
    given, model, optim, train = (table.get(section) for section in ("input", "model", "optim", "train"))
    if isinstance(given, Mapping) and "divide_by" in given:
        given = {**INPUT_KEYS, **given}
        completed_table["input"] = given if "noise_divide_by" in given else _scaled_with_the_noise(given)
    if isinstance(model, Mapping):
        completed_table["model"] = {**MODEL_KEYS, **model}
    if isinstance(optim, Mapping):
        completed_table["optim"] = {**OPTIM_KEYS, **optim}
    if isinstance(train, Mapping):
        completed_table["train"] = {**TRAIN_KEYS, **train}
    return completed_table


def _scaled_with_the_noise(given: Mapping[str, Any]) -> dict[str, Any]:
    """An input section whose `divide_by` held in the phases with colour noise alone; in the others nothing was divided.

    It held there for noise = "off" as well, which is the same as noise of size 0.
    """
    changed = {"noise_divide_by": given["divide_by"], "divide_by": 1.0}
    if given.get("noise") == "off" and given["divide_by"] != 1:
        changed |= {"noise": "released", "noise_scale": 0.0}
    return {**given, **changed}
