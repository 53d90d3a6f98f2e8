"""Training on a few batches again and again: a network and loss that are right learn them by heart."""

import time
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_stream import Stream
from alexnet_train.metrics import MetricsLog
from alexnet_train.records import Records
from alexnet_train.requests import Requests
from alexnet_train.runconfig import RunConfig, stream_config
from alexnet_train.rundata import open_run_data, with_classes
from alexnet_train.startweights import start_state
from alexnet_train.stepper import Schedule, Stepper

LOG_NAME = "overfit.jsonl"


def overfit(run: RunConfig, progress: Progress, num_batches: int) -> dict[str, Any]:
    """Train on the first `num_batches` batches, crops and noise and all, until a signal asks to stop; the last figures.

    Weights are those of `run.init`, or drawn; rates are those of the first epoch. Writes a line of OUT/overfit.jsonl
    every log_every_steps and no checkpoint.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats)
    recipe = with_classes(run.recipe, data.train)
    optim = replace(recipe.optim, warmup_epochs=0.0, plateau_epochs=0, cosine_epochs=0.0, polynomial_epochs=0.0)
    recipe = replace(recipe, optim=optim)
    with Stream(data.train, stream_config(recipe, run)) as stream, Requests() as requests:
        if num_batches > stream.steps_per_epoch:
            raise AlexnetError(
                f"--overfit {num_batches}: an epoch has {stream.steps_per_epoch} batches; expected fewer"
            )
        schedule = Schedule(optim=optim, steps_per_epoch=stream.steps_per_epoch, records=Records(None))
        state = None
        if run.init is not None:
            state = start_state(run.init, recipe, data.train.classes, data.stats, progress.say)
        stepper = Stepper(recipe, data.stats, run.world, schedule, bad_batches=run.out_dir, state=state)
        # The stream uses the memory of a batch again.
        batches = [
            replace(batch, images_nhwc=batch.images_nhwc.clone())
            for batch in islice(stream.epoch(run.world.device), num_batches)
        ]
        if run.world.is_main:
            run.out_dir.mkdir(parents=True, exist_ok=True)
        log = MetricsLog(run.out_dir / LOG_NAME, enabled=run.world.is_main)
        log.go_on(step=-1)
        stepper.begin(epoch=0)
        progress.start(None)
        started = time.monotonic()
        record: dict[str, Any] = {}
        for batch in cycle(batches):
            stepper.take(batch, epoch=0)
            progress.advance()
            if stepper.step % recipe.train.log_every_steps == 0:
                record = stepper.log_record(epoch=0)
                log.write("step", stepper.step, record)
                loss, error = record["train_loss"], record["train_top1_error"]
                seconds = time.monotonic() - started
                progress.say(f"step {stepper.step}, {seconds:.0f} s: loss {loss:.4g}, error {error:.1%}")
            if run.world.any([bool(requests.leave)])[0]:
                break
        return {"step": stepper.step, **record}
