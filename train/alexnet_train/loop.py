"""Training: stream -> input -> network -> loss -> step, with validation and checkpoints, continued where it stopped.

`fit` is the way in. A step depends on (recipe, shards, step number) and the state that checkpoints hold alone, so a run
that was killed and started again ends with the same weights as one that was not.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_train.augment import DeviceStats, train_input
from alexnet_train.batch import Batch
from alexnet_train.checkpoint import (
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from alexnet_train.evaluate import Classifier, evaluate
from alexnet_train.metrics import MetricsLog, Tally, label_ranks, read_metrics
from alexnet_train.model import AlexNet
from alexnet_train.optim import make_optimizer, phase_at, rates_at, set_rates
from alexnet_train.progress import RunProgress
from alexnet_train.recipe import Recipe, recipe_from_dict, save_recipe
from alexnet_train.rundata import RunData, open_run_data, with_classes
from alexnet_train.stream import Stream, StreamConfig

METRICS_NAME = "metrics.jsonl"
RECIPE_NAME = "recipe.toml"
CHECKPOINTS_NAME = "checkpoints"
# What may differ from the checkpoint's recipe without making it another run.
FREE_KEYS = ("epochs", "log_every_steps", "checkpoint_every_steps", "keep_checkpoints", "validation_batch_size")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: the recipe and its files. Empty `val_shards` and `stats` None: the files beside the shards."""

    recipe: Recipe
    shards: Sequence[str]
    val_shards: Sequence[str]
    stats: Path | None
    out_dir: Path
    device: torch.device


def fit(run: RunConfig, progress: RunProgress) -> dict[str, Any]:
    """Train to the recipe's last epoch, going on from the newest checkpoint in `out_dir`; the last epoch's record.

    Raises AlexnetError where the inputs do not fit together or the loss is no longer finite.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats)
    recipe = with_classes(run.recipe, data.train)
    config = StreamConfig(
        batch_size=recipe.train.batch_size, seed=recipe.train.seed, pin_memory=run.device.type == "cuda"
    )
    with Stream(data.train, config) as stream:
        trainer = Trainer(run, recipe, data, stream, progress)
        trainer.resume()
        save_recipe(run.out_dir / RECIPE_NAME, recipe)
        progress.start(recipe.train.epochs * stream.steps_per_epoch, trainer.step)
        while stream.state_dict()["epoch"] < recipe.train.epochs:
            trainer.train_epoch()
            trainer.end_epoch()
    return last_epoch_record(run.out_dir / METRICS_NAME)


class Trainer:
    """The state of a run and what moves it on."""

    def __init__(self, run: RunConfig, recipe: Recipe, data: RunData, stream: Stream, progress: RunProgress) -> None:
        generator = torch.Generator().manual_seed(recipe.train.seed)
        model = AlexNet(recipe.model, generator)
        self.model = model.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, recipe.optim)
        self.stats = DeviceStats.from_stats(data.stats, run.device)
        self.epoch_tally, self.log_tally = Tally(run.device), Tally(run.device)
        self.epoch_clock, self.log_clock = Clock(), Clock()
        self.step = 0
        self.run, self.recipe, self.data, self.stream, self.progress = run, recipe, data, stream, progress

    def train_epoch(self) -> None:
        """The rest of the current epoch."""
        train, epoch = self.recipe.train, self.stream.state_dict()["epoch"]
        set_rates(self.optimizer, self._rates(epoch))
        self.model.train()
        self.epoch_clock, self.log_clock = Clock(), Clock()
        batches = self.stream.epoch(self.run.device)
        last_step = (epoch + 1) * self.stream.steps_per_epoch
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            waited = time.perf_counter() - asked
            self.train_step(batch, epoch)
            for clock in (self.epoch_clock, self.log_clock):
                clock.add(len(batch.labels), waited)
            self.progress.advance()
            if self.step % train.log_every_steps == 0:
                self._log_step(epoch)
            if train.checkpoint_every_steps and self.step % train.checkpoint_every_steps == 0 and self.step < last_step:
                self.save()

    def train_step(self, batch: Batch, epoch: int) -> None:
        """One update of the weights from one batch on the device (paper section 5)."""
        seed_dropout(self.recipe.train.seed, self.step)
        logits = self.model(train_input(batch, self.stats, self._input_config(epoch)))
        losses = functional.cross_entropy(logits, batch.labels, reduction="none")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.mean())
        self.optimizer.step()
        self.step += 1
        ranks = label_ranks(logits.detach(), batch.labels)
        self.epoch_tally.add(losses, ranks)
        self.log_tally.add(losses, ranks)

    def end_epoch(self) -> None:
        """Validate, write the epoch's line of metrics and its checkpoint."""
        epochs_done = self.stream.state_dict()["epoch"]
        record: dict[str, Any] = {"epoch": epochs_done, **self.epoch_tally.means(), **self.epoch_clock.figures()}
        _check_finite(record["train_loss"], self.step)
        record |= self._validate()
        path = checkpoint_path(self.run.out_dir / CHECKPOINTS_NAME, self.step)
        self.log.write("epoch", self.step, record | {"checkpoint": str(path)})
        self.epoch_tally.reset()
        self.save()
        told = (f"{name} {record[name]:.4g}" for name in ("train_loss", "val_top1_error") if record[name] is not None)
        self.progress.say(f"epoch {epochs_done}/{self.recipe.train.epochs}: {', '.join(told)}")

    def save(self) -> None:
        """Write a checkpoint of this step and remove those that are too many."""
        directory = self.run.out_dir / CHECKPOINTS_NAME
        save_checkpoint(checkpoint_path(directory, self.step), self._content())
        remove_old_checkpoints(directory, self.recipe.train.keep_checkpoints)

    def resume(self) -> None:
        """Take up the newest checkpoint of the run directory that is whole, if there is one."""
        self.run.out_dir.mkdir(parents=True, exist_ok=True)
        for path in reversed(list_checkpoints(self.run.out_dir / CHECKPOINTS_NAME)):
            try:
                content = load_checkpoint(path, self.run.device)
            except FormatError as error:
                self.progress.say(f"warning: {error}")
                continue
            self._load(path, content)
            self.progress.say(f"going on from {path}, epoch {content['epoch']}, step {self.step}")
            break
        self.log = MetricsLog(self.run.out_dir / METRICS_NAME, self.step)

    def _content(self) -> dict[str, Any]:
        state = self.stream.state_dict()
        return {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stats": vars(self.stats),
            "classes": [fact.wnid for fact in self.data.train.classes],
            "words": [fact.words for fact in self.data.train.classes],
            "shards": self.data.train.fingerprint,
            "step": self.step,
            "epoch": state["epoch"],
            "stream": state,
            "epoch_tally": self.epoch_tally.state(),
            "log_tally": self.log_tally.state(),
        }

    def _load(self, path: Path, content: dict[str, Any]) -> None:
        check_same_run(path, content, self.recipe, self.data)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.stream.load_state_dict(content["stream"])
        self.step = content["step"]
        self.epoch_tally.load_state(content["epoch_tally"])
        self.log_tally.load_state(content["log_tally"])

    def _validate(self) -> dict[str, float | None]:
        """One-view errors on the validation shards, None where there are none."""
        if self.data.val is None:
            return {"val_top1_error": None, "val_top5_error": None}
        classes = self.data.train.classes
        classifier = Classifier(model=self.model, stats=self.stats, input=self.recipe.input, classes=classes)
        result = evaluate([classifier], self.data.val, views=1, batch_size=self.recipe.train.validation_batch_size)
        return {"val_top1_error": result.top1_error, "val_top5_error": result.top5_error}

    def _log_step(self, epoch: int) -> None:
        means, figures = self.log_tally.means(), self.log_clock.figures()
        _check_finite(means["train_loss"], self.step)
        self.log.write("step", self.step, {"epoch": epoch, **means, "rates": self._rates(epoch), **figures})
        self.log_tally.reset()
        self.log_clock = Clock()
        self.progress.show(
            {
                "loss": f"{means['train_loss']:.3f}",
                "error": f"{means['train_top1_error']:.1%}",
                "img/s": f"{figures['images_per_second']:.0f}",
                "waiting": f"{figures['data_wait_fraction']:.0%}",
            }
        )

    def _rates(self, epoch: int) -> dict[str, float]:
        return rates_at(self.recipe.optim, [name for name, _ in self.model.named_parameters()], epoch)

    def _input_config(self, epoch: int) -> Any:
        if phase_at(self.recipe.optim.phases, epoch).colour_noise:
            return self.recipe.input
        # The released code divides where it adds the noise, so without noise it does neither.
        return replace(self.recipe.input, noise="off", divide_by=1.0)


class Clock:
    """Images and seconds since it was made."""

    def __init__(self) -> None:
        self._started, self._waited, self._images = time.perf_counter(), 0.0, 0

    def add(self, images: int, waited_seconds: float) -> None:
        """Count a step of `images` that waited so long for its data."""
        self._images += images
        self._waited += waited_seconds

    def figures(self) -> dict[str, float]:
        """{"images_per_second", "data_wait_fraction"} so far."""
        seconds = time.perf_counter() - self._started
        return {"images_per_second": self._images / seconds, "data_wait_fraction": self._waited / seconds}


def seed_dropout(seed: int, step: int) -> None:
    """Make the dropout masks of a step a function of (seed, step), so that no generator's state need be kept."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]))


def check_same_run(path: Path, content: dict[str, Any], recipe: Recipe, data: RunData) -> None:
    """Raise AlexnetError where the checkpoint at `path` is of another recipe or of other shards."""
    free = {key: getattr(recipe.train, key) for key in FREE_KEYS}
    saved = recipe_from_dict(content["recipe"], str(path))
    saved = replace(saved, name=recipe.name, train=replace(saved.train, **free))
    if saved != recipe:
        old, new = asdict(saved), asdict(recipe)
        keys = [f"{section}.{key}" for section in new if section != "name" for key in new[section]]
        changed = [key for key in keys if _at(old, key) != _at(new, key)]
        raise AlexnetError(
            f"{path}: of another recipe: {changed[0]} was {_at(old, changed[0])!r}, now {_at(new, changed[0])!r}; "
            "choose another --out"
        )
    if content["shards"] != data.train.fingerprint:
        raise AlexnetError(f"{path}: of other training shards than {data.train.paths[0]} …; choose another --out")


def last_epoch_record(path: Path) -> dict[str, Any]:
    """The last epoch's record in metrics.jsonl; raises AlexnetError where no epoch has ended."""
    records = [record for record in read_metrics(path) if record["kind"] == "epoch"]
    if not records:
        raise AlexnetError(f"{path}: no finished epoch in it; remove the run directory and train again")
    return records[-1]


def _at(table: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return table[section][name]


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise AlexnetError(
            f"the loss is {loss} at step {step}: training has diverged; "
            "lower learning_rate, or start again from an earlier checkpoint"
        )
