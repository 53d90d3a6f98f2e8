"""One update of the weights from one batch (paper section 5), and the state that updates move."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alexnet_network import (
    AlexNet,
    DeviceStats,
    InputConfig,
    autocast,
    make_optimizer,
    make_scaler,
    set_switches,
)
from alexnet_shards.errors import AlexnetError
from alexnet_stream import Batch
from alexnet_train.batchloss import BatchLoss
from alexnet_train.distributed import World
from alexnet_train.recipe import Recipe
from alexnet_train.weightaverage import WeightAverage


class Updater:
    """The network of a recipe with its optimizer, loss scale and average, on the device of `world`."""

    def __init__(self, recipe: Recipe, stats: DeviceStats, world: World) -> None:
        train = recipe.train
        set_switches(tf32=train.tf32, deterministic=train.deterministic)
        model = AlexNet(recipe.model, torch.Generator().manual_seed(train.seed))
        self.model = model.to(device=world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, recipe.optim)
        self.scaler = make_scaler(world.device, train.precision)
        self.average = WeightAverage(copy.deepcopy(self.model), train.average_decay) if train.average_decay else None
        self.batch_loss = BatchLoss(self.model, stats, recipe.input, train.label_smoothing)
        self.network = world.wrap(self.batch_loss)
        if train.compile:
            mode = "reduce-overhead" if train.cuda_graphs else None
            self.network = torch.compile(self.network, mode=mode)  # type: ignore[assignment]
        self.recipe, self.world = recipe, world

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate: of averaged weights where the recipe averages."""
        return self.average.module if self.average is not None else self.model

    def losses(self, batch: Batch, step: int, config: InputConfig) -> tuple[Tensor, Tensor]:
        """Gradients of update number `step` from this process's part of its batch; no weight changes yet.

        Returns the losses (B,) float32 and the label ranks (B,) int64 of the samples. Each process's gradients are of the
        mean over the samples of all, of which each may have one more or less than the others.
        """
        train, world = self.recipe.train, self.world
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.batch_loss.input = config
        if train.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        losses, ranks = [], []
        place = train.batch_size * world.rank // world.size  # of the first sample in the batch of all processes
        for part, is_last in micro_batches(batch, train.micro_batch_size):
            self._draw_masks_of(place, len(part.labels), step)
            place += len(part.labels)
            with world.averaging(self.network, is_last), _compiling(wanted=train.compile):
                with autocast(world.device, train.precision):
                    found, found_ranks = self.network(part.images_nhwc, part.flip, part.noise_z, part.labels)
                share = world.size / train.batch_size
                torch.autograd.backward(self.scaler.scale(found.sum() * share))
            losses.append(found.detach())
            ranks.append(found_ranks)
        return torch.cat(losses), torch.cat(ranks)

    def _draw_masks_of(self, place: int, count: int, step: int) -> None:
        """Let the samples' dropout masks be those that one process would draw, with the whole batch at once."""
        seed_dropout(self.recipe.train.seed, step)
        dropout, total = self.model.dropout, self.recipe.train.batch_size
        dropout.batch_size = total
        dropout.places = None if count == total else torch.arange(place, place + count, device=self.world.device)

    def apply(self) -> None:
        """Change the weights by the gradients; float16's loss scale leaves out an update whose gradients overflow."""
        if self.recipe.optim.clip_norm:
            self.scaler.unscale_(self.optimizer)
            self.optimizer.clip(self.recipe.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)

    def steps(self) -> dict[str, Tensor]:
        """About what the last update added to each parameter, by name, from the velocities; none before the first."""
        outside = self.recipe.optim.rule == "torch"  # where the rate is outside the velocity
        steps = {}
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                velocity = self.optimizer.state.get(parameter, {}).get("velocity")
                if velocity is not None:
                    steps[group["name"]] = velocity * group["rate"] if outside else velocity
        return steps

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it; "average" is there where the recipe averages."""
        average = {} if self.average is None else {"average": self.average.module.state_dict()}
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **average,
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with these weights in place of drawn ones."""
        self.model.load_state_dict(weights)
        if self.average is not None:
            self.average.module.load_state_dict(weights)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what state_dict gave, among other keys."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
            self.average.updates = state["step"]


def micro_batches(batch: Batch, size: int) -> Iterator[tuple[Batch, bool]]:
    """`batch` in parts of `size` samples (0: in one), each with whether it is the last."""
    total = len(batch.labels)
    for begin in range(0, total, size or total):
        end = min(begin + (size or total), total)
        part = batch if end - begin == total else Batch(**{key: t[begin:end] for key, t in vars(batch).items()})
        yield part, end == total


@contextmanager
def _compiling(*, wanted: bool) -> Iterator[None]:
    """Raises AlexnetError where torch.compile was `wanted` and cannot compile here, as without a C++ compiler."""
    try:
        yield
    except RuntimeError as error:
        if not wanted or "BackendCompilerFailed" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.endswith("raised:")), type(error).__name__)
        raise AlexnetError(
            f"train.compile: torch cannot compile here ({reason}); install a C++ compiler, or give --set compile=false"
        ) from error


def seed_dropout(seed: int, step: int) -> None:
    """Make a step's dropout masks a function of (seed, step), so that no generator's state need be kept."""
    # The third number was that of the process when each drew masks of its own; the masks of one process stay as they were.
    torch.manual_seed(int(np.random.SeedSequence([seed, step, 0]).generate_state(1, np.uint64)[0]))
