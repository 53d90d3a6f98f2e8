"""Training on a few batches again and again: a network and loss that are right learn them by heart."""

import time
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

from alexnet_shards.errors import AlexnetError
from alexnet_stream import Batch, Stream
from alexnet_train.loop import RunConfig, Trainer, stream_config
from alexnet_train.metrics import MetricsLog
from alexnet_train.progress import RunProgress
from alexnet_train.requests import Requests
from alexnet_train.rundata import open_run_data, with_classes

LOG_NAME = "overfit.jsonl"


def overfit(run: RunConfig, progress: RunProgress, num_batches: int) -> dict[str, Any]:
    """Train on the first `num_batches` batches, crops and noise and all, until a signal asks to stop; the last figures.

    Rates are those of the first epoch. Writes a line of OUT/overfit.jsonl every log_every_steps and no checkpoint.
    """
    data = open_run_data(run.shards, run.val_shards, run.stats)
    recipe = with_classes(run.recipe, data.train)
    recipe = replace(recipe, optim=replace(recipe.optim, warmup_epochs=0.0, plateau_epochs=0))
    with Stream(data.train, stream_config(recipe, run)) as stream, Requests() as requests:
        if num_batches > stream.steps_per_epoch:
            raise AlexnetError(
                f"--overfit {num_batches}: an epoch has {stream.steps_per_epoch} batches; expected fewer"
            )
        trainer = Trainer(run, recipe, data, stream, progress)
        # The stream uses the memory of a batch again.
        batches = [
            replace(batch, images_nhwc=batch.images_nhwc.clone())
            for batch in islice(stream.epoch(run.world.device), num_batches)
        ]
        run.out_dir.mkdir(parents=True, exist_ok=True)
        trainer.log = MetricsLog(run.out_dir / LOG_NAME, enabled=run.world.is_main)
        trainer.log.drop_after(-1)
        trainer.set_rates(epoch=0)
        progress.start(None)
        return _repeat(trainer, batches, requests)


def _repeat(trainer: Trainer, batches: list[Batch], requests: Requests) -> dict[str, Any]:
    started = time.monotonic()
    record: dict[str, Any] = {}
    for batch in cycle(batches):
        trainer.train_step(batch, epoch=0)
        trainer.log_clock.add(len(batch.labels) * trainer.run.world.size, 0.0)
        trainer.progress.advance()
        if trainer.step % trainer.recipe.train.log_every_steps == 0:
            record = trainer.log_step(epoch=0)
            seconds = time.monotonic() - started
            loss, error = record["train_loss"], record["train_top1_error"]
            trainer.progress.say(f"step {trainer.step}, {seconds:.0f} s: loss {loss:.4g}, error {error:.1%}")
        if trainer.run.world.any([bool(requests.leave)])[0]:
            break
    return {"step": trainer.step, **record}
