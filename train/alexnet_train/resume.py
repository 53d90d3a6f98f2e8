"""Whether a checkpoint belongs to the run that finds it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import file_sha256
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
