"""Training: stream -> update -> checkpoint -> validation, continued where it stopped.

`fit` is the way in. A step depends on (recipe, shards, step number) and the state that checkpoints hold alone, so a run
that was killed and started again ends with the same weights as one that was not.
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from alexnet_command.progress import Progress
from alexnet_stream import Batch, Stop
from alexnet_train.checkpoint import checkpoint_path
from alexnet_train.divergence import WAY_OUT, DivergedError
from alexnet_train.metrics import Clock, bound_by, memory_bytes, meters_since
from alexnet_train.opening import OpenRun, open_run
from alexnet_train.report import result_pairs
from alexnet_train.requests import Impatient, Requests, Stopped
from alexnet_train.runconfig import RunConfig
from alexnet_train.writer import snapshot

PATIENCE_SECONDS = 0.5
# Of several processes one that leaves on its own ends the others without a save, so they wait longer for late data.
PATIENCE_OF_MANY_SECONDS = 10.0
# Slurm and systemd signal every process of a job, and torchrun passes on what it gets: the same request twice. It kills
# after so many seconds itself.
LAUNCHER_SECONDS = 30.0


def fit(run: RunConfig, progress: Progress) -> dict[str, Any]:
    """Train to the recipe's last epoch, going on from the newest checkpoint in `out_dir`; the last epoch's record.

    Raises AlexnetError where the inputs do not fit together, the run directory cannot be used, the loss diverges or a
    checkpoint cannot be written.
    """
    patience = PATIENCE_SECONDS if run.world.size == 1 else PATIENCE_OF_MANY_SECONDS
    stop = Stop()
    same_request = LAUNCHER_SECONDS if "TORCHELASTIC_RUN_ID" in os.environ else 0.0
    with open_run(run, progress, stop) as opened, Requests(patience, stop, same_request) as requests:
        try:
            return Trainer(opened, progress, requests).train()
        except DivergedError as error:
            opened.directory.note_divergence(str(error))
            raise


class Trainer:
    """What moves an open run on to its end."""

    def __init__(self, opened: OpenRun, progress: Progress, requests: Requests) -> None:
        self._run, self._progress, self._requests = opened, progress, requests
        self._stepper, self._stream, self._records = opened.stepper, opened.stream, opened.records
        # The stream's place after the last step: it may be further itself while a batch is on its way.
        self._place = opened.stream.state_dict()
        self._clock, self._meters = Clock(), opened.stream.meters
        self._saved_at = time.monotonic()
        self._exchange = opened.world.exchange()

    def train(self) -> dict[str, Any]:
        """Go on to the recipe's last epoch; its record."""
        epochs, steps_per_epoch = self._run.recipe.train.epochs, self._stream.steps_per_epoch
        self._tell_start()
        self._progress.start(epochs * steps_per_epoch, self._stepper.step)
        if self._records.pending:
            self._finish_epoch()
        while self._place["epoch"] < epochs:
            self._train_epoch()
            self._end_epoch()
        self._wait_for_writer()
        record = self._records.last or {"kind": "epoch", "epoch": self._place["epoch"], "step": self._stepper.step}
        if "bound_by" in record:
            waited = f"{record['data_wait_fraction']:.1%} of the last epoch waited for data"
            self._progress.say(f"bound by {record['bound_by']}: {waited}")
        return record | {"checkpoint": str(checkpoint_path(self._run.directory.checkpoints, record["step"]))}

    def _tell_start(self) -> None:
        step, epoch, epochs = self._stepper.step, self._place["epoch"], self._run.recipe.train.epochs
        if self._records.begins_new_row():
            self._progress.say("other validation shards than before: their errors begin a row of their own")
        if step and epoch >= epochs:
            done = f"{epoch} of {epochs} epochs are done"
            self._progress.say(f"{self._run.out_dir}: finished: {done}; to train on, raise epochs")
        elif step:
            path = self._run.went_on_from
            self._progress.say(f"going on from {path}: step {step:,}, {epoch} of {epochs} epochs done")

    def _train_epoch(self) -> None:
        """The rest of the current epoch."""
        epoch, size = self._place["epoch"], self._run.world.size
        self._stepper.begin(epoch)
        self._clock, self._meters = Clock(), self._stream.meters
        batches = self._stream.epoch(self._run.world.device)
        while True:
            asked = time.perf_counter()
            batch = self._next(batches)
            if batch is None:
                return
            waited = time.perf_counter() - asked
            self._stepper.take(batch, epoch, waited)
            self._place = self._stream.state_dict()
            self._clock.add(len(batch.labels) * size, waited)
            self._run.tracer.step()
            self._progress.advance()
            if self._stepper.step % self._run.recipe.train.log_every_steps == 0:
                self._log_step(epoch)
            if self._place["epoch"] == epoch:
                self._answer_requests()

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        try:
            with self._requests.waiting():
                return next(batches, None)
        except Impatient:
            if self._run.world.size == 1:
                self._save()
            self._leave()

    def _end_epoch(self) -> None:
        """Write the checkpoint of an epoch that has ended, then validate."""
        figures = self._clock.figures()
        record = {
            "kind": "epoch",
            "step": self._stepper.step,
            "epoch": self._place["epoch"],
            **self._stepper.epoch_means(),
            **figures,
            "bound_by": bound_by(figures["data_wait_fraction"], meters_since(self._stream.meters, self._meters)),
            "memory_bytes": memory_bytes(self._run.world.device),
        }
        self._stepper.end_epoch()
        self._records.add(record)
        self._save()
        self._answer_requests(saved=True)
        self._finish_epoch()

    def _finish_epoch(self) -> None:
        """Validate where there is something to validate on, and write the epoch's line of metrics."""
        if self._records.pending:
            self._records.add_result(self._validated())
            best = self._records.best
            self._save(best=best is not None and best["step"] == self._stepper.step)
        record = self._records.last or {}
        self._write(
            "epoch", record | {"checkpoint": str(checkpoint_path(self._run.directory.checkpoints, record["step"]))}
        )
        told = ", ".join(" ".join(pair) for pair in result_pairs(record, ("train_loss", "val_loss", "val_top1_error")))
        self._progress.say(f"epoch {record['epoch']}/{self._run.recipe.train.epochs}: {told}")

    def _validated(self) -> dict[str, float | None]:
        """One-view errors on the validation shards; nothing where they are gone."""
        if self._run.validation is None:
            return {}
        try:
            # The state is saved: who asks to leave need not wait for the end of a batch.
            with self._requests.waiting():
                return self._run.validation.errors(
                    self._stepper.evaluated, self._stepper.stats, lambda: self._answer_requests(saved=True)
                )
        except Impatient:
            self._leave()

    def _save(self, *, best: bool = False) -> None:
        """Begin to write a checkpoint of this step; raises DivergedError where its weights are of no use."""
        content = {
            **self._run.facts,
            **self._stepper.state(),  # sums over all processes
            "epoch": self._place["epoch"],
            "stream": self._place,
            "records": self._records.state(),
        }

        def begin_to_write() -> None:
            if self._run.writer is not None:
                self._run.writer.wait()  # two copies would take twice the memory
            copy = snapshot(content)
            if copy is None:
                raise DivergedError(
                    f"the weights are no numbers of use any more at step {self._stepper.step}: training has diverged; "
                    f"they were not saved; {WAY_OUT}"
                )
            if self._run.writer is not None:
                self._run.writer.save(copy, best=best)

        self._run.world.on_main(begin_to_write)
        self._saved_at = time.monotonic()

    def _answer_requests(self, *, saved: bool = False) -> None:
        """Save or leave where the recipe's interval has passed or a signal asked for it, in all processes alike.

        Of several processes each answers at the next step: what was asked is under way while that one is computed.
        """
        train, step = self._run.recipe.train, self._stepper.step
        several = self._run.world.size > 1
        save, leave, failed = (self._exchange.take() or [False] * 3) if several else self._asked()
        if failed:
            self._wait_for_writer()
        at_step = train.checkpoint_every_steps > 0 and step % train.checkpoint_every_steps == 0
        if (save or leave or at_step) and not saved:
            self._save()
        if leave:
            self._leave()
        if several:
            self._exchange.send(self._asked())

    def _asked(self) -> list[bool]:
        """Whether this process has to save, to leave, and to say that a checkpoint could not be written; asked once."""
        minutes, writer = self._run.recipe.train.checkpoint_every_minutes, self._run.writer
        late = 0 < minutes <= (time.monotonic() - self._saved_at) / 60
        save, self._requests.save = self._requests.save or late, False
        return [save, bool(self._requests.leave), writer is not None and writer.failed]

    def _leave(self) -> NoReturn:
        if self._run.writer is not None:
            self._run.writer.wait()
        raise Stopped(self._requests.leave or signal.SIGTERM, self._stepper.step)

    def _wait_for_writer(self) -> None:
        writer = self._run.writer
        self._run.world.on_main(lambda: writer.wait() if writer is not None else None)

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        self._run.log.write(kind, self._stepper.step, record)
        self._run.tracker.add(kind, self._stepper.step, record)

    def _log_step(self, epoch: int) -> None:
        """Write and show the means since the last time."""
        record = self._stepper.log_record(epoch)
        self._write("step", record)
        self._progress.show(
            {
                "loss": f"{record['train_loss']:.3f}",
                "error": f"{record['train_top1_error']:.1%}",
                "images/s": f"{record['images_per_second']:.0f}",
                "waiting": f"{record['data_wait_fraction']:.0%}",
            }
        )
