"""What a run would be: its sizes, and the time of an epoch judged by a few steps; nothing is written."""

import time
from itertools import islice
from typing import Any

from alexnet_train.loop import RunConfig, Trainer, stream_config
from alexnet_train.model import layer_costs
from alexnet_train.progress import RunProgress
from alexnet_train.rundata import open_run_data, with_classes
from alexnet_train.stream import Stream

STEPS = 3


def dry_run(run: RunConfig, progress: RunProgress) -> dict[str, Any]:
    """Build everything and do STEPS steps (the first warms up): parameters, multiply-adds, batch shape, epoch time.

    Raises AlexnetError where `fit` would before its first step.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats)
    recipe = with_classes(run.recipe, data.train)
    with Stream(data.train, stream_config(recipe, run)) as stream:
        trainer = Trainer(run, recipe, data, stream, progress)
        costs = layer_costs(trainer.model)
        progress.start(STEPS)
        seconds = []
        for batch in islice(stream.epoch(run.world.device), STEPS):
            started = time.perf_counter()
            trainer.train_step(batch, epoch=0)
            trainer.epoch_tally.means()  # waits for the device
            seconds.append(time.perf_counter() - started)
            progress.advance()
        steps_per_epoch = stream.steps_per_epoch
    return {
        "parameters": sum(cost.parameters for cost in costs),
        "multiply_adds": sum(cost.multiply_adds for cost in costs),
        "batch_shape": [recipe.train.batch_size, 3, *batch.images_nhwc.shape[1:3]],
        "steps_per_epoch": steps_per_epoch,
        "seconds_per_epoch": min(seconds) * steps_per_epoch,
        "train_images": data.train.num_samples,
        "val_images": data.val.num_samples if data.val else 0,
        "classes": recipe.model.num_classes,
    }
