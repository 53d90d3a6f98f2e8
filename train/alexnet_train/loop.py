"""Training: stream -> update -> metrics, with validation and checkpoints, continued where it stopped.

`fit` is the way in. A step depends on (recipe, shards, step number) and the state that checkpoints hold alone, so a run
that was killed and started again ends with the same weights as one that was not.
"""

import math
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet_network import Classifier, DeviceStats, InputConfig, phase_at, rates_at, set_rates
from alexnet_shards.errors import AlexnetError
from alexnet_stream import Batch, Stream, StreamConfig
from alexnet_train.checkpoint import checkpoint_path, load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.divergence import LossLimit, check_losses
from alexnet_train.evaluate import EvalConfig, evaluate
from alexnet_train.metrics import Clock, MetricsLog, Tally, bound_by, memory_bytes
from alexnet_train.progress import RunProgress
from alexnet_train.recipe import Recipe, save_recipe
from alexnet_train.requests import Requests, Stopped
from alexnet_train.resume import check_same_run, clear_run, last_epoch_record, newest_checkpoint
from alexnet_train.rundata import RunData, open_run_data, with_classes
from alexnet_train.tensorboard import Board
from alexnet_train.tracing import Tracer
from alexnet_train.update import Updater
from alexnet_train.writer import CheckpointWriter, link_best

METRICS_NAME = "metrics.jsonl"
RECIPE_NAME = "recipe.toml"
CHECKPOINTS_NAME = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How this machine reads (see StreamConfig); which samples a step sees does not depend on it."""

    threads: int = 0
    child_process: bool = False
    quarantine: int = 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: the recipe and its files. Empty `val_shards` and `stats` None: the files beside the shards.

    `fresh` removes what an earlier run left in `out_dir`; `tensorboard` writes event files there too; `profile_steps`
    of the first steps are traced.
    """

    recipe: Recipe
    shards: Sequence[str]
    val_shards: Sequence[str]
    stats: Path | None
    out_dir: Path
    world: World
    loader: LoaderOptions = LoaderOptions()
    fresh: bool = False
    tensorboard: bool = False
    profile_steps: int = 0


def fit(run: RunConfig, progress: RunProgress) -> dict[str, Any]:
    """Train to the recipe's last epoch, going on from the newest checkpoint in `out_dir`; the last epoch's record.

    Raises AlexnetError where the inputs do not fit together, the loss diverges or a checkpoint cannot be written.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats)
    recipe = with_classes(run.recipe, data.train)
    check_plateau(recipe, data)
    writer = CheckpointWriter(run.out_dir / CHECKPOINTS_NAME, recipe.train.keep_checkpoints)
    with Stream(data.train, stream_config(recipe, run)) as stream, Requests() as requests, writer:
        trainer = Trainer(run, recipe, data, stream, progress)
        trainer.requests, trainer.writer = requests, writer
        trainer.begin()
        tracer = Tracer(run.out_dir, run.profile_steps if run.world.is_main else 0, progress.say)
        with tracer as trainer.tracer, closing(trainer.board):
            while stream.state_dict()["epoch"] < recipe.train.epochs:
                trainer.train_epoch()
                trainer.end_epoch()
        writer.wait()
    record = last_epoch_record(run.out_dir / METRICS_NAME)
    progress.say(f"bound by {record['bound_by']}: {record['data_wait_fraction']:.1%} of the last epoch waited for data")
    return record


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


def check_plateau(recipe: Recipe, data: RunData) -> None:
    """Raise AlexnetError where the rates wait for a validation error that nobody measures."""
    if recipe.optim.plateau_epochs and data.val is None:
        raise AlexnetError(
            f"optim.plateau_epochs is {recipe.optim.plateau_epochs} but there are no validation shards beside "
            f"{data.train.paths[0]}; give --val-shards, or a recipe whose phases say when the rates drop"
        )


class Trainer:
    """The state of a run and what moves it on."""

    def __init__(self, run: RunConfig, recipe: Recipe, data: RunData, stream: Stream, progress: RunProgress) -> None:
        self.run, self.recipe, self.data, self.stream, self.progress = run, recipe, data, stream, progress
        self.stats = DeviceStats.from_stats(data.stats, run.world.device)
        self.updater = Updater(recipe, self.stats, run.world)
        self.directory = run.out_dir / CHECKPOINTS_NAME
        self.writer = CheckpointWriter(self.directory, recipe.train.keep_checkpoints)
        self.log = MetricsLog(run.out_dir / METRICS_NAME, enabled=False)
        self.board = Board(None)
        self.tracer = Tracer(run.out_dir, 0, progress.say)
        self.requests = Requests()
        self.epoch_tally, self.log_tally = Tally(run.world), Tally(run.world)
        self.epoch_clock, self.log_clock = Clock(), Clock()
        self.step = 0
        self.val_errors: list[float] = []
        self.saved_at = time.monotonic()

    def begin(self) -> None:
        """Take up the newest checkpoint of the run directory that is whole, if there is one, and open the logs."""
        run, world = self.run, self.run.world
        if run.fresh and world.is_main:
            clear_run(run.out_dir)
        found = newest_checkpoint(self.directory, self.progress) if world.is_main else None
        path = world.told(str(found) if found else None)
        if path is not None:
            self._load(Path(path), load_checkpoint(Path(path), world.device))
            self.progress.say(f"going on from {path}, epoch {self.stream.state_dict()['epoch']}, step {self.step}")
        self.log = MetricsLog(run.out_dir / METRICS_NAME, enabled=world.is_main)
        if world.is_main:
            run.out_dir.mkdir(parents=True, exist_ok=True)
            self.log.drop_after(self.step)
            save_recipe(run.out_dir / RECIPE_NAME, self.recipe)
            if self.val_errors:
                link_best(self.directory, best_epoch(self.val_errors) * self.stream.steps_per_epoch)
            self.board = Board(run.out_dir if run.tensorboard else None, purge_step=self.step + 1)
        self.progress.start(self.recipe.train.epochs * self.stream.steps_per_epoch, self.step)

    def train_epoch(self) -> None:
        """The rest of the current epoch."""
        epoch = self.stream.state_dict()["epoch"]
        self.set_rates(epoch)
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
            self.tracer.step()
            self.progress.advance()
            if self.step % self.recipe.train.log_every_steps == 0:
                self.log_step(epoch)
            if self.step < (epoch + 1) * self.stream.steps_per_epoch:
                self._answer_requests()

    def train_step(self, batch: Batch, epoch: int) -> None:
        """One update of the weights from one batch on the device."""
        train = self.recipe.train
        if self.recipe.optim.warmup_epochs:
            self.set_rates(epoch)
        losses, ranks = self.updater.losses(batch, self.step, self._input_config(epoch))
        if losses.device.type == "cpu" or self.step % train.log_every_steps == 0:  # elsewhere a look costs a wait
            check_losses(losses, batch, self.step, self._loss_limit())
        self.updater.apply()
        self.step += 1
        self.epoch_tally.add(losses, ranks)
        self.log_tally.add(losses, ranks)

    def end_epoch(self) -> None:
        """Validate, write the epoch's line of metrics and its checkpoint."""
        epochs_done = self.stream.state_dict()["epoch"]
        figures = self.epoch_clock.figures()
        record: dict[str, Any] = {"epoch": epochs_done, **self.epoch_tally.means(), **figures}
        record["bound_by"] = bound_by(figures["data_wait_fraction"], self.stream.meters)
        record["memory_bytes"] = memory_bytes(self.run.world.device)
        record |= self._validate()
        if record["val_top1_error"] is not None:
            self.val_errors.append(record["val_top1_error"])
        self._write("epoch", record | {"checkpoint": str(checkpoint_path(self.directory, self.step))})
        self.epoch_tally.reset()
        self._save(best=bool(self.val_errors) and best_epoch(self.val_errors) == epochs_done)
        told = (f"{name} {record[name]:.4g}" for name in ("train_loss", "val_top1_error") if record[name] is not None)
        self.progress.say(f"epoch {epochs_done}/{self.recipe.train.epochs}: {', '.join(told)}")
        self._answer_requests(saved=True)

    def _save(self, *, best: bool = False) -> None:
        """Begin to write a checkpoint of this step."""
        content = self._content()  # sums over all processes
        if self.run.world.is_main:
            self.writer.save(content, best=best)
        self.saved_at = time.monotonic()

    def _answer_requests(self, *, saved: bool = False) -> None:
        """Save or leave where the recipe's interval has passed or a signal asked for it, in all processes alike."""
        train = self.recipe.train
        self.writer.check()
        minutes = (time.monotonic() - self.saved_at) / 60
        late = 0 < train.checkpoint_every_minutes <= minutes
        save, leave = self.run.world.any([self.requests.save or late, bool(self.requests.leave)])
        at_step = train.checkpoint_every_steps > 0 and self.step % train.checkpoint_every_steps == 0
        if (save or leave or at_step) and not saved:
            self._save()
        self.requests.save = False
        if leave:
            self.writer.wait()
            raise Stopped(self.requests.leave or signal.SIGTERM, self.step)

    def _content(self) -> dict[str, Any]:
        """What a checkpoint holds. Order, pixels and dropout masks follow from the step, so no generator has a state."""
        state = self.stream.state_dict()
        return {
            **self.updater.state_dict(),
            "recipe": asdict(self.recipe),
            "stats": vars(self.stats),
            "classes": [fact.wnid for fact in self.data.train.classes],
            "words": [fact.words for fact in self.data.train.classes],
            "shards": self.data.train.fingerprint,
            "pixels": self.data.train.manifest.recipe,
            "step": self.step,
            "epoch": state["epoch"],
            "stream": state,
            "val_errors": self.val_errors,
            "epoch_tally": self.epoch_tally.state(),
            "log_tally": self.log_tally.state(),
        }

    def _load(self, path: Path, content: dict[str, Any]) -> None:
        check_same_run(path, content, self.recipe, self.data)
        self.updater.load_state_dict(content)
        self.stream.load_state_dict(content["stream"])
        self.step, self.val_errors = content["step"], content["val_errors"]
        self.epoch_tally.load_state(content["epoch_tally"])
        self.log_tally.load_state(content["log_tally"])

    def _validate(self) -> dict[str, float | None]:
        """One-view errors on the validation shards, None where there are none."""
        if self.data.val is None:
            return {"val_top1_error": None, "val_top5_error": None}
        classes, train = self.data.train.classes, self.recipe.train
        model = self.updater.evaluated
        classifier = Classifier(model=model, stats=self.stats, input=self.recipe.input, classes=classes)
        how = EvalConfig(views=1, batch_size=train.validation_batch_size, world=self.run.world)
        result = evaluate([classifier], self.data.val, how)
        return {"val_top1_error": result.top1_error, "val_top5_error": result.top5_error}

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        self.log.write(kind, self.step, record)
        self.board.add(self.step, record)

    def log_step(self, epoch: int) -> dict[str, Any]:
        """Write and show the means since the last time; the record."""
        means, figures = self.log_tally.means(), self.log_clock.figures()
        memory = {"memory_bytes": memory_bytes(self.run.world.device)}
        record = {"epoch": epoch, **means, "rates": self._rates(epoch), **figures, **memory}
        self._write("step", record)
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
        return record

    def set_rates(self, epoch: int) -> None:
        """Give the optimizer the rates of this step."""
        set_rates(self.updater.optimizer, self._rates(epoch))

    def _rates(self, epoch: int) -> dict[str, float]:
        names = [name for name, _ in self.updater.model.named_parameters()]
        progress_epochs = self.step / self.stream.steps_per_epoch
        return rates_at(
            self.recipe.optim, names, epoch, progress_epochs=progress_epochs, val_errors=self.val_errors[:epoch]
        )

    def _loss_limit(self) -> LossLimit:
        guessing = math.log(max(2, self.recipe.model.num_classes))
        return LossLimit(mean_loss=guessing * self.recipe.train.divergence_factor, directory=self.run.out_dir)

    def _input_config(self, epoch: int) -> InputConfig:
        return self.recipe.input.in_phase(colour_noise=phase_at(self.recipe.optim.phases, epoch).colour_noise)


def best_epoch(val_errors: Sequence[float]) -> int:
    """The last of the epochs, counted from 1, with the lowest error."""
    return max(epoch for epoch, error in enumerate(val_errors, 1) if error == min(val_errors))
