"""What a run's directory says of the run, read for its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_shards.errors import AlexnetError
from alexnet_train.activity import Activity, load_activities, load_resumes
from alexnet_train.looks import Look, load_looks
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import Recipe, load_recipe
from alexnet_train.rundir import METRICS_NAME, RECIPE_NAME

MAX_RESUMES = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFiles:
    """What a run's directory says: its recipe, the epochs' and steps' records in order, and its kept looks.

    `activities` are what its layers do, `resumes` the steps at which it went on, `spoke_at` is when the last record was
    written, in seconds since 1970, 0 where there is none.
    """

    name: str
    recipe: Recipe
    epochs: Sequence[Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]]
    looks: Sequence[tuple[int, Look]]
    activities: Sequence[tuple[int, Activity]] = ()
    resumes: Sequence[int] = ()
    spoke_at: float = 0.0

    @property
    def marks(self) -> dict[str, dict[float, str]]:
        """Where it stopped and went on, over steps and over epochs, for charts."""
        per_epoch = self.epochs[0]["step"] / max(1, self.epochs[0]["epoch"]) if self.epochs else 0
        words: dict[float, str] = {step: f"went on at step {step:,}" for step in self.resumes[-MAX_RESUMES:]}
        by_epoch = {step / per_epoch: text for step, text in words.items()} if per_epoch else {}
        return {"step": words, "epoch": by_epoch}


def read_run(directory: Path) -> RunFiles:
    """The files of a run. Raises AlexnetError where it is none."""
    recipe_path = directory / RECIPE_NAME
    if not recipe_path.is_file():
        raise AlexnetError(f"{directory}: no {RECIPE_NAME} in it; expected the directory of a run, as runs/released")
    metrics = directory / METRICS_NAME
    records = read_metrics(metrics)
    return RunFiles(
        name=directory.name,
        recipe=load_recipe(str(recipe_path)),
        epochs=[record for record in records if record["kind"] == "epoch"],
        steps=[record for record in records if record["kind"] == "step"],
        looks=list(load_looks(directory)),
        activities=list(load_activities(directory)),
        resumes=load_resumes(directory),
        spoke_at=metrics.stat().st_mtime if records else 0.0,
    )
