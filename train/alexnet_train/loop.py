"""Training: stream -> input -> network -> loss -> step, with validation and checkpoints, continued where it stopped.

`fit` is the way in. A step depends on (recipe, shards, step number) and the state that checkpoints hold alone, so a run
that was killed and started again ends with the same weights as one that was not.
"""

import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from alexnet_train.augment import DeviceStats, train_input
from alexnet_train.batch import Batch
from alexnet_train.checkpoint import (
    checkpoint_path,
    link_atomic,
    load_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from alexnet_train.distributed import World
from alexnet_train.divergence import check_finite
from alexnet_train.evaluate import Classifier, EvalConfig, evaluate
from alexnet_train.metrics import Clock, MetricsLog, Tally, label_ranks
from alexnet_train.model import AlexNet
from alexnet_train.optim import make_optimizer, phase_at, rates_at, set_rates
from alexnet_train.progress import RunProgress
from alexnet_train.recipe import Recipe, save_recipe
from alexnet_train.requests import Requests, Stopped
from alexnet_train.resume import check_same_run, last_epoch_record, newest_checkpoint
from alexnet_train.rundata import RunData, open_run_data, with_classes
from alexnet_train.stream import Stream, StreamConfig

METRICS_NAME = "metrics.jsonl"
RECIPE_NAME = "recipe.toml"
CHECKPOINTS_NAME = "checkpoints"
BEST_NAME = "best.pt"


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How this machine reads (see StreamConfig); which samples a step sees does not depend on it."""

    threads: int = 0
    child_process: bool = False
    quarantine: int = 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: the recipe and its files. Empty `val_shards` and `stats` None: the files beside the shards."""

    recipe: Recipe
    shards: Sequence[str]
    val_shards: Sequence[str]
    stats: Path | None
    out_dir: Path
    world: World
    loader: LoaderOptions = LoaderOptions()


def fit(run: RunConfig, progress: RunProgress) -> dict[str, Any]:
    """Train to the recipe's last epoch, going on from the newest checkpoint in `out_dir`; the last epoch's record.

    Raises AlexnetError where the inputs do not fit together or the loss is no longer finite.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats)
    recipe = with_classes(run.recipe, data.train)
    with Stream(data.train, stream_config(recipe, run)) as stream, Requests() as requests:
        trainer = Trainer(run, recipe, data, stream, progress)
        trainer.requests = requests
        trainer.resume()
        if run.world.is_main:
            save_recipe(run.out_dir / RECIPE_NAME, recipe)
        progress.start(recipe.train.epochs * stream.steps_per_epoch, trainer.step)
        while stream.state_dict()["epoch"] < recipe.train.epochs:
            trainer.train_epoch()
            trainer.end_epoch()
    return last_epoch_record(run.out_dir / METRICS_NAME)


def stream_config(recipe: Recipe, run: RunConfig) -> StreamConfig:
    """How the recipe's training shards are streamed to one of the processes."""
    return StreamConfig(
        batch_size=recipe.train.batch_size,
        seed=recipe.train.seed,
        crop=recipe.input.crop,
        flip=recipe.input.flip,
        rank=run.world.rank,
        world_size=run.world.size,
        pin_memory=run.world.device.type == "cuda",
        threads=run.loader.threads,
        child_process=run.loader.child_process,
        quarantine=run.loader.quarantine,
    )


class Trainer:
    """The state of a run and what moves it on."""

    def __init__(self, run: RunConfig, recipe: Recipe, data: RunData, stream: Stream, progress: RunProgress) -> None:
        generator = torch.Generator().manual_seed(recipe.train.seed)
        model = AlexNet(recipe.model, generator)
        self.model = model.to(device=run.world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, recipe.optim)
        self.stats = DeviceStats.from_stats(data.stats, run.world.device)
        self.network = run.world.wrap(self.model)
        if recipe.train.compile:
            self.network = torch.compile(self.network)  # type: ignore[assignment]
        self.epoch_tally, self.log_tally = Tally(run.world), Tally(run.world)
        self.epoch_clock, self.log_clock = Clock(), Clock()
        self.step = 0
        self.saved_at = time.monotonic()
        self.requests = Requests()
        self.log = MetricsLog(run.out_dir / METRICS_NAME, enabled=False)
        self.run, self.recipe, self.data, self.stream, self.progress = run, recipe, data, stream, progress

    def train_epoch(self) -> None:
        """The rest of the current epoch."""
        epoch = self.stream.state_dict()["epoch"]
        set_rates(self.optimizer, self._rates(epoch))
        self.model.train()
        self.epoch_clock, self.log_clock = Clock(), Clock()
        batches = self.stream.epoch(self.run.world.device)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            waited = time.perf_counter() - asked
            self.train_step(batch, epoch)
            for clock in (self.epoch_clock, self.log_clock):
                clock.add(len(batch.labels) * self.run.world.size, waited)
            self.progress.advance()
            if self.step % self.recipe.train.log_every_steps == 0:
                self._log_step(epoch)
            if self.step < (epoch + 1) * self.stream.steps_per_epoch:
                self._answer_requests()

    def train_step(self, batch: Batch, epoch: int) -> None:
        """One update of the weights from one batch on the device (paper section 5)."""
        train, world = self.recipe.train, self.run.world
        seed_dropout(train.seed, self.step, world.rank)
        if self.recipe.optim.warmup_epochs:
            set_rates(self.optimizer, self._rates(epoch))
        x = train_input(batch, self.stats, self._input_config(epoch))
        with torch.autocast(world.device.type, torch.bfloat16, enabled=train.precision == "bfloat16"):
            logits = self.network(x)
        logits = logits.float()
        losses = functional.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=train.label_smoothing)
        if world.device.type == "cpu" or self.step % train.log_every_steps == 0:  # elsewhere a look costs a wait
            check_finite(losses, batch, self.step, self.run.out_dir)
        self.optimizer.zero_grad(set_to_none=True)
        # Of the mean over all processes' samples, of which each may have one more or less than the others.
        torch.autograd.backward(losses.sum() * (world.size / train.batch_size))
        self.optimizer.step()
        self.step += 1
        ranks = label_ranks(logits.detach(), batch.labels)
        self.epoch_tally.add(losses, ranks)
        self.log_tally.add(losses, ranks)

    def end_epoch(self) -> None:
        """Validate, write the epoch's line of metrics and its checkpoint."""
        epochs_done = self.stream.state_dict()["epoch"]
        record: dict[str, Any] = {"epoch": epochs_done, **self.epoch_tally.means(), **self.epoch_clock.figures()}
        record |= self._validate()
        path = checkpoint_path(self.run.out_dir / CHECKPOINTS_NAME, self.step)
        self.log.write("epoch", self.step, record | {"checkpoint": str(path)})
        self.epoch_tally.reset()
        self.save()
        self._keep_best(path, record["val_top1_error"])
        told = (f"{name} {record[name]:.4g}" for name in ("train_loss", "val_top1_error") if record[name] is not None)
        self.progress.say(f"epoch {epochs_done}/{self.recipe.train.epochs}: {', '.join(told)}")
        self._answer_requests(saved=True)

    def save(self) -> None:
        """Write a checkpoint of this step and remove those that are too many."""
        directory = self.run.out_dir / CHECKPOINTS_NAME
        content = self._content()  # sums over all processes
        if self.run.world.is_main:
            save_checkpoint(checkpoint_path(directory, self.step), content)
            remove_old_checkpoints(directory, self.recipe.train.keep_checkpoints)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Take up the newest checkpoint of the run directory that is whole, if there is one."""
        world, directory = self.run.world, self.run.out_dir / CHECKPOINTS_NAME
        found = newest_checkpoint(directory, self.progress) if world.is_main else None
        path = world.told(str(found) if found else None)
        if path is not None:
            self._load(Path(path), load_checkpoint(Path(path), world.device))
            self.progress.say(f"going on from {path}, epoch {self.stream.state_dict()['epoch']}, step {self.step}")
        if world.is_main:
            self.run.out_dir.mkdir(parents=True, exist_ok=True)
        self.log = MetricsLog(self.run.out_dir / METRICS_NAME, enabled=world.is_main)
        self.log.drop_after(self.step)

    def _answer_requests(self, *, saved: bool = False) -> None:
        """Save or leave where the recipe's interval has passed or a signal asked for it, in all processes alike."""
        train = self.recipe.train
        minutes = (time.monotonic() - self.saved_at) / 60
        late = 0 < train.checkpoint_every_minutes <= minutes
        save, leave = self.run.world.any([self.requests.save or late, bool(self.requests.leave)])
        at_step = train.checkpoint_every_steps > 0 and self.step % train.checkpoint_every_steps == 0
        if (save or leave or at_step) and not saved:
            self.save()
        self.requests.save = False
        if leave:
            raise Stopped(self.requests.leave or signal.SIGTERM, self.step)

    def _keep_best(self, path: Path, error: float | None) -> None:
        """Let best.pt name the checkpoint with the lowest validation error so far, beyond its removal."""
        if error is None or not self.run.world.is_main:
            return
        errors = [record["val_top1_error"] for record in self.log.read() if record["kind"] == "epoch"]
        if error <= min(errors):
            link_atomic(path, path.with_name(BEST_NAME))

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
        how = EvalConfig(views=1, batch_size=self.recipe.train.validation_batch_size, world=self.run.world)
        result = evaluate([classifier], self.data.val, how)
        return {"val_top1_error": result.top1_error, "val_top5_error": result.top5_error}

    def _log_step(self, epoch: int) -> None:
        means, figures = self.log_tally.means(), self.log_clock.figures()
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
        names = [name for name, _ in self.model.named_parameters()]
        return rates_at(self.recipe.optim, names, epoch, self.step / self.stream.steps_per_epoch)

    def _input_config(self, epoch: int) -> Any:
        if phase_at(self.recipe.optim.phases, epoch).colour_noise:
            return self.recipe.input
        # The released code divides where it adds the noise, so without noise it does neither.
        return replace(self.recipe.input, noise="off", divide_by=1.0)


def seed_dropout(seed: int, step: int, rank: int = 0) -> None:
    """Make a step's dropout masks a function of (seed, step, rank), so that no generator's state need be kept."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))
