"""Whether a checkpoint belongs to the run that finds it, and what a finished run left behind."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_train.checkpoint import list_checkpoints, load_checkpoint
from alexnet_train.metrics import read_metrics
from alexnet_train.progress import RunProgress
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


RUN_FILES = (
    "checkpoints/step-*.pt",
    "checkpoints/best.pt",
    "metrics.jsonl",
    "recipe.toml",
    "bad-batch-*.pt",
    "trace-*-steps.json.gz",
    "tensorboard/events.out.tfevents.*",
)


def newest_checkpoint(directory: Path, progress: RunProgress) -> Path | None:
    """The newest checkpoint that is whole; those that are not are named in a warning. None where there is none."""
    for path in reversed(list_checkpoints(directory)):
        try:
            load_checkpoint(path)
        except FormatError as error:
            progress.say(f"warning: {error}")
            continue
        return path
    return None


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


def clear_run(out_dir: Path) -> None:
    """Remove what an earlier run left in `out_dir`, and nothing that is not a run's."""
    for pattern in RUN_FILES:
        for path in out_dir.glob(pattern):
            path.unlink()


def last_epoch_record(path: Path) -> dict[str, Any]:
    """The last epoch's record in metrics.jsonl; raises AlexnetError where no epoch has ended."""
    records = [record for record in read_metrics(path) if record["kind"] == "epoch"]
    if not records:
        raise AlexnetError(f"{path}: no finished epoch in it; remove the run directory and train again")
    return records[-1]
