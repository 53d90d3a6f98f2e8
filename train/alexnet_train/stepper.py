"""What a step needs, as one object that training, --overfit and --dry-run share: weights, rates, loss limit, sums."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet_network import (
    DeviceStats,
    InputConfig,
    LayerCost,
    OptimConfig,
    layer_costs,
    phase_at,
    rates_at,
    set_rates,
    view_inputs,
)
from alexnet_shards.stats import Stats
from alexnet_stream import Batch
from alexnet_train.activity import Activity, measure_activity
from alexnet_train.distributed import World
from alexnet_train.divergence import LossLimit, check_losses, looks_every_steps
from alexnet_train.looks import Look, look_at_weights
from alexnet_train.metrics import Clock, Tally, memory_bytes
from alexnet_train.recipe import Recipe
from alexnet_train.records import Records
from alexnet_train.update import Updater


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """The rates of a run: a function of the steps done and of the epochs' results."""

    optim: OptimConfig
    steps_per_epoch: int
    records: Records

    def rates(self, names: Sequence[str], step: int, epoch: int) -> dict[str, float]:
        """The rate of each parameter name after `step` steps, in `epoch`."""
        optim, val_errors = self.records.plateau(self.optim, epoch)
        return rates_at(optim, names, epoch, progress_epochs=step / self.steps_per_epoch, val_errors=val_errors)


class Stepper:
    """Moves the weights on by a batch at a time, and sums what it sees."""

    def __init__(
        self,
        recipe: Recipe,
        stats: Stats,
        world: World,
        schedule: Schedule,
        bad_batches: Path | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin anew, with the weights `state["model"]` if there are, or go on from `state`, a run's whole checkpoint.

        `state["stats"]`, where it is there, is what inputs are made by in place of `stats`. A batch that diverges is kept
        in `bad_batches`.
        """
        given: Mapping[str, Tensor] = {} if state is None else state.get("stats", {})
        self.stats = DeviceStats.from_stats(stats, world.device)
        if given:
            self.stats = DeviceStats(**{name: tensor.to(world.device) for name, tensor in given.items()})
        self._recipe, self._world, self._schedule = recipe, world, schedule
        self._updater = Updater(recipe, self.stats, world)
        self._names = [name for name, _ in self._updater.model.named_parameters()]
        guessing = math.log(max(2, recipe.model.num_classes))
        self._limit = LossLimit(mean_loss=guessing * recipe.train.divergence_factor, directory=bad_batches)
        self._epoch_tally, self._log_tally = Tally(world), Tally(world)
        self._clock = Clock()
        self.step = 0
        if state is not None and "optimizer" not in state:
            self._updater.load_weights(state["model"])
        elif state is not None:
            self._updater.load_state_dict(dict(state))
            self._epoch_tally.load_state(state["epoch_tally"])
            self._log_tally.load_state(state["log_tally"])
            self.step = state["step"]

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate."""
        return self._updater.evaluated

    @property
    def recipe(self) -> Recipe:
        """The recipe by which it learns."""
        return self._recipe

    def look(self) -> Look:
        """How the network looks now; waits for the device."""
        return look_at_weights(dict(self._updater.model.named_parameters()), self._updater.steps())

    def activity(self, images_nhwc: npt.NDArray[np.uint8]) -> Activity:
        """What its layers do with whole images (N, 256, 256, 3) in the centre view; waits for the device."""
        images = torch.from_numpy(images_nhwc).to(self._world.device)
        (inputs,) = view_inputs(images, 1, self.stats, self._recipe.input)
        return measure_activity(self._updater.model, inputs)

    @property
    def layer_costs(self) -> list[LayerCost]:
        """Parameters and multiply-adds of each layer."""
        return layer_costs(self._updater.model)

    def begin(self, epoch: int) -> None:
        """Set the rates of `epoch`, of which the next step is the first or the first after a pause."""
        self._set_rates(epoch)
        self._clock = Clock()

    def take(self, batch: Batch, epoch: int, waited_seconds: float = 0.0) -> None:
        """One update of the weights from one batch on the device, which came after so long a wait.

        Raises AlexnetError, in the first process alone, where the loss diverges.
        """
        if self._recipe.optim.changes_every_step:
            self._set_rates(epoch)
        losses, ranks = self._updater.losses(batch, self.step, self._input_config(epoch))
        if self.step % looks_every_steps(losses.device, self._recipe.train.log_every_steps) == 0:
            check_losses(losses, batch, self.step, self._limit, self._world)
        self._updater.apply()
        self.step += 1
        self._epoch_tally.add(losses, ranks)
        self._log_tally.add(losses, ranks)
        self._clock.add(len(batch.labels) * self._world.size, waited_seconds)

    def epoch_means(self) -> dict[str, float]:
        """Means since the epoch began; waits for the device."""
        return self._epoch_tally.means()

    def end_epoch(self) -> None:
        """The next batch is of another epoch."""
        self._epoch_tally.reset()

    def log_record(self, epoch: int) -> dict[str, Any]:
        """Means, rates and figures since the last time, in the epoch after `epoch` whole ones: its number counts from 1."""
        record = {
            "epoch": epoch + 1,
            **self._log_tally.means(),
            "rates": self._rates(epoch),
            **self._clock.figures(),
            "memory_bytes": memory_bytes(self._world.device),
        }
        self._log_tally.reset()
        self._clock = Clock()
        return record

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it; for all processes at once."""
        tallies = {"epoch_tally": self._epoch_tally.state(), "log_tally": self._log_tally.state()}
        return {**self._updater.state_dict(), "stats": vars(self.stats), "step": self.step, **tallies}

    def _set_rates(self, epoch: int) -> None:
        set_rates(self._updater.optimizer, self._rates(epoch))

    def _rates(self, epoch: int) -> dict[str, float]:
        return self._schedule.rates(self._names, self.step, epoch)

    def _input_config(self, epoch: int) -> InputConfig:
        return self._recipe.input.in_phase(colour_noise=phase_at(self._recipe.optim.phases, epoch).colour_noise)
