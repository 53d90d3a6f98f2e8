"""What a run would be: its sizes, and the time of an epoch judged by a few steps; nothing is written."""

import time
from itertools import islice
from typing import Any

from alexnet_command.progress import Progress
from alexnet_network import Classifier
from alexnet_shards.shardset import ShardSet
from alexnet_stream import Stream, StreamConfig
from alexnet_train.distributed import World
from alexnet_train.metrics import memory_bytes
from alexnet_train.recipe import Recipe
from alexnet_train.records import Records
from alexnet_train.runconfig import RunConfig, stream_config
from alexnet_train.rundata import check_plateau, open_run_data, with_classes
from alexnet_train.startweights import start_state
from alexnet_train.stepper import Schedule, Stepper
from alexnet_train.trackers import check_trackers

STEPS = 3
CHECKPOINT_COPIES = 2  # weights and velocities
BYTES_OF_FLOAT32 = 4


def dry_run(run: RunConfig, progress: Progress) -> dict[str, Any]:
    """Build everything, do STEPS steps (the first warms up) and a validation batch: sizes, memory, epoch time.

    Raises AlexnetError where `fit` would before its first step.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats, progress.say)
    recipe = with_classes(run.recipe, data.train)
    check_plateau(recipe, data)
    check_trackers(run.trackers)
    with Stream(data.train, stream_config(recipe, run)) as stream:
        schedule = Schedule(optim=recipe.optim, steps_per_epoch=stream.steps_per_epoch, records=Records(None))
        state = None
        if run.init is not None:
            state = start_state(run.init, recipe, data.train.classes, data.stats, progress.say)
        stepper = Stepper(recipe, data.stats, run.world, schedule, state=state)
        costs = stepper.layer_costs
        stepper.begin(epoch=0)
        progress.start(STEPS)
        seconds = []
        for batch in islice(stream.epoch(run.world.device), STEPS):
            started = time.perf_counter()
            stepper.take(batch, epoch=0)
            stepper.epoch_means()  # waits for the device
            seconds.append(time.perf_counter() - started)
            progress.advance()
        steps_per_epoch = stream.steps_per_epoch
    parameters = sum(cost.parameters for cost in costs)
    train_seconds = min(seconds) * steps_per_epoch
    val_seconds = _validation_seconds(stepper, data.val, recipe, run.world) if data.val is not None else 0.0
    return {
        "parameters": parameters,
        "multiply_adds": sum(cost.multiply_adds for cost in costs),
        "batch_shape": [recipe.train.batch_size, 3, *batch.images_nhwc.shape[1:3]],
        "train_images": data.train.num_samples,
        "val_images": data.val.num_samples if data.val else 0,
        "classes": recipe.model.num_classes,
        "steps_per_epoch": steps_per_epoch,
        "seconds_per_epoch": train_seconds + val_seconds,
        "hours_in_all": (train_seconds + val_seconds) * recipe.train.epochs / 3600,
        "memory_bytes": memory_bytes(run.world.device),
        "checkpoint_bytes": parameters * BYTES_OF_FLOAT32 * (CHECKPOINT_COPIES + bool(recipe.train.average_decay)),
    }


def _validation_seconds(stepper: Stepper, val: ShardSet, recipe: Recipe, world: World) -> float:
    """Time that the validation images would take this process, judged by one batch."""
    classifier = Classifier(model=stepper.evaluated, stats=stepper.stats, input=recipe.input, classes=val.classes)
    size = max(recipe.train.validation_batch_size, world.size)
    config = StreamConfig(batch_size=size, seed=0, shuffle=False, crop="none", last="pad")
    with Stream(val, config) as stream:
        batch = next(stream.epoch(world.device))
        started = time.perf_counter()
        classifier.probabilities(batch.images_nhwc, views=1).sum().item()
        return (time.perf_counter() - started) * stream.steps_per_epoch / world.size
