"""Whether a checkpoint belongs to the run that finds it, and is one to go on from."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import file_sha256
from alexnet_train.checkpoint import described
from alexnet_train.recipe import Recipe, recipe_from_dict
from alexnet_train.rundata import RunData

# What may differ from the checkpoint's recipe without making it another run.
FREE_KEYS = (
    "epochs",
    "log_every_steps",
    "checkpoint_every_steps",
    "checkpoint_every_minutes",
    "keep_checkpoints",
    "validation_batch_size",
    "micro_batch_size",
)
TALLIED = 3  # sums of a tally: of losses, of errors, of images
MEASURED = ("train_loss", "train_top1_error", "val_loss", "val_top1_error", "val_top5_error")
GROUPS_AND_STATE = ("param_groups", "state")


def check_same_run(path: Path, content: dict[str, Any], recipe: Recipe, data: RunData) -> None:
    """Raise AlexnetError where the checkpoint at `path` is of another recipe or of other shards."""
    free = {key: getattr(recipe.train, key) for key in FREE_KEYS}
    saved = recipe_from_dict(content["recipe"], str(path))
    saved = replace(saved, name=recipe.name, train=replace(saved.train, **free))
    if saved != recipe:
        old, new = asdict(saved), asdict(recipe)
        keys = [(section, key) for section in new if section != "name" for key in new[section]]
        section, key = next((s, k) for s, k in keys if old[s][k] != new[s][k])
        raise AlexnetError(
            f"{path}: of another recipe: {section}.{key} was {old[section][key]!r}, now {new[section][key]!r}; "
            "choose another --out, or --fresh to begin anew there"
        )
    if content["shards"] != data.train.fingerprint:
        raise AlexnetError(f"{path}: of other training shards than {data.train.paths[0]} …; choose another --out")
    if content.get("rows", data.train.rows_sha256) != data.train.rows_sha256:  # earlier versions did not keep it
        raise AlexnetError(
            f"{path}: of the same training shards as {data.train.paths[0]} … with other labels or in another order; "
            "index and name them as before, or choose another --out"
        )


def check_same_place(path: Path, content: Mapping[str, Any], recipe: Recipe, data: RunData) -> None:
    """Raise AlexnetError where the classes are others, or step, epoch and place in the epoch do not belong together."""
    if content["classes"] != [fact.wnid for fact in data.train.classes]:
        raise AlexnetError(
            f"{path}: of the same training shards as {data.train.paths[0]} … with another class list, so that its outputs "
            "would get other names; give the shards the manifest of then, or choose another --out"
        )
    step, epoch, stream = content["step"], content["epoch"], content["stream"]
    numbers = (
        [step, epoch, *(stream.get(key) for key in ("epoch", "position"))] if isinstance(stream, Mapping) else [None]
    )
    if all(map(_is_count, numbers)):
        size = recipe.train.batch_size
        steps_of_epoch = step - epoch * (data.train.num_samples // size)
        if epoch == stream["epoch"] and steps_of_epoch * size == stream["position"]:
            return
    raise _changed(path, "step, epoch or stream")


def check_state(path: Path, content: Mapping[str, Any]) -> None:
    """Raise FormatError where what a run goes on with is not what alexnet-train writes: somebody may have changed it."""
    strange = next(_strange_parts(content), None)
    if strange is not None:
        raise _changed(path, strange)


def _changed(path: Path, part: str) -> FormatError:
    return FormatError(
        f"{path}: {part} is not as alexnet-train writes it: changed by somebody; use an older checkpoint (move this "
        "one away), or begin anew with its weights alone: --init FILE and another --out"
    )


def _strange_parts(content: Mapping[str, Any]) -> Iterator[str]:
    """Names of the parts that are not of the kinds that a run can go on with."""
    for key in ("step", "epoch"):
        if not _is_count(content[key]):
            yield key
    stream = content["stream"]
    if not isinstance(stream, Mapping) or not all(_is_count(stream.get(key)) for key in ("epoch", "position")):
        yield "stream"
    for key in ("epoch_tally", "log_tally"):
        sums = content[key]
        if not isinstance(sums, list) or len(sums) != TALLIED or not all(isinstance(each, float) for each in sums):
            yield key
    scaler = content["scaler"]
    if not isinstance(scaler, Mapping) or not all(isinstance(each, int | float) for each in scaler.values()):
        yield "scaler"
    written = content.get("written", [])
    if not isinstance(written, list) or not all(map(_is_count, written)):
        yield "written"
    records = content.get("records", [])
    if not isinstance(records, list) or not all(map(_is_record, records)):
        yield "records"
    yield from _strange_optimizer(content["optimizer"], content["model"])


def _strange_optimizer(optimizer: Any, weights: Mapping[str, Tensor]) -> Iterator[str]:
    """Names of what is not a group of numbers and a velocity for each of the weights."""
    groups, state = (optimizer.get(key) for key in GROUPS_AND_STATE) if isinstance(optimizer, Mapping) else (None, None)
    if (
        not isinstance(groups, list)
        or not isinstance(state, Mapping)
        or not all(isinstance(g, Mapping) for g in groups)
    ):
        yield "optimizer"
        return
    if [group.get("name") for group in groups] != list(weights) or not set(state) <= set(range(len(groups))):
        yield "optimizer: its list of weights"
        return
    for number, (group, weight) in enumerate(zip(groups, weights.values(), strict=True)):
        numbers = [group.get(key) for key in ("rate", "momentum", "weight_decay")]
        if group.get("params") != [number] or not all(
            isinstance(each, int | float) and isfinite(each) for each in numbers
        ):
            yield f"optimizer: {group['name']}"
        velocity = state[number].get("velocity") if isinstance(state.get(number), Mapping) else None
        if number in state and described(velocity) != described(weight):
            yield f"optimizer: the velocity of {group['name']}"


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, Mapping)
        and all(_is_count(record.get(key)) for key in ("step", "epoch"))
        and all(record.get(key) is None or isinstance(record[key], int | float) for key in MEASURED)
    )


def check_same_beginning(path: Path, content: dict[str, Any], init: Path | None) -> None:
    """Raise AlexnetError where the checkpoint at `path` is of a run that did not begin with the weights of `init`.

    A run that goes on does not need them: without `init`, or where that file is gone, nothing is compared.
    """
    if init is None or "init" not in content or not init.is_file():  # earlier versions did not keep it
        return
    if content["init"] != file_sha256(init):
        began = "others" if content["init"] else "drawn weights"
        raise AlexnetError(
            f"--init {init}: the run of {path} began with {began}; leave --init out to go on with it, or choose another "
            "--out, or --fresh to begin anew there"
        )
