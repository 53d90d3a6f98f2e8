"""A run opened: everything that can be refused is looked at first, then every part is made in its final form."""

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet_command.progress import Progress
from alexnet_shards.files import file_sha256
from alexnet_stream import Stop, Stream
from alexnet_train.activity import fixed_images
from alexnet_train.checkpoint import check_weights, checkpoint_path, load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.metrics import MetricsLog, read_metrics
from alexnet_train.recipe import Recipe, save_recipe
from alexnet_train.records import Records, records_of_version_2
from alexnet_train.resume import check_same_beginning, check_same_place, check_same_run, check_state
from alexnet_train.runconfig import RunConfig, stream_config
from alexnet_train.rundata import RunData, check_plateau, check_processes_agree, open_run_data, with_classes
from alexnet_train.rundir import METRICS_NAME, RECIPE_NAME, Decision, RunDirectory, restarted
from alexnet_train.startweights import start_state
from alexnet_train.stepper import Schedule, Stepper
from alexnet_train.tracing import Tracer
from alexnet_train.trackers import TrackedRun, Tracker, check_trackers, open_trackers
from alexnet_train.validation import Validation
from alexnet_train.writer import CheckpointWriter


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenRun:
    """The parts of a run; `facts` are the same in all its checkpoints. Only the first process has a `writer`."""

    recipe: Recipe
    world: World
    out_dir: Path
    went_on_from: Path | None
    directory: RunDirectory
    facts: Mapping[str, Any]
    stream: Stream
    stepper: Stepper
    records: Records
    validation: Validation | None
    writer: CheckpointWriter | None
    log: MetricsLog
    tracker: Tracker
    tracer: Tracer


@contextmanager
def open_run(run: RunConfig, progress: Progress, stop: Stop) -> Iterator[OpenRun]:
    """Open the run's inputs and directory, load its newest checkpoint once, and make all parts; `stop` ends waits.

    Nothing in the run directory is touched before everything that can be refused has been. Raises AlexnetError there.
    """
    data = _open_data(run, progress)
    recipe = with_classes(run.recipe, data.train)
    check_plateau(recipe, data)
    check_trackers(run.trackers)
    world, directory = run.world, RunDirectory(run.out_dir, progress.say, os.environ)
    with ExitStack() as stack:
        stream = stack.enter_context(Stream(data.train, stream_config(recipe, run), stop, world.tally("bad-samples")))
        fresh = run.fresh and _is_first_start(progress)
        decision = world.on_main(lambda: _decide(stack.enter_context(directory), recipe, data, run, fresh=fresh))
        path, content = _content(decision, world)
        validation = Validation(data.val, recipe, world, run.loader.quarantine, stop) if data.val else None
        records = _records(content, validation, run.out_dir, stream.steps_per_epoch)
        schedule = Schedule(optim=recipe.optim, steps_per_epoch=stream.steps_per_epoch, records=records)
        state = content
        if run.init is not None and content is None:
            state = start_state(run.init, recipe, data.train.classes, data.stats, progress.say)
        facts = _facts(recipe, data) | _beginning(run, content, progress)
        stepper = Stepper(recipe, data.stats, world, schedule, bad_batches=run.out_dir, state=state)
        if content is not None:
            stream.load_state_dict(content["stream"])
        log = MetricsLog(run.out_dir / METRICS_NAME, enabled=world.is_main)
        world.on_main(functools.partial(_begin, directory, decision or Decision(), recipe, log, records, fresh=fresh))
        writer = None
        if world.is_main:
            written, keep = directory.written(content) if content is not None else (), recipe.train.keep_checkpoints
            writer = stack.enter_context(CheckpointWriter(directory.checkpoints, keep, directory.make_best, written))
        names = ("page", *run.trackers) if world.is_main else ()
        tracker = stack.enter_context(open_trackers(names, _tracked(run, data, stepper, progress)))
        del content, state, decision  # they would be in memory as long as the run is
        yield OpenRun(
            recipe=recipe,
            world=world,
            out_dir=run.out_dir,
            went_on_from=path,
            directory=directory,
            facts=facts,
            stream=stream,
            stepper=stepper,
            records=records,
            validation=validation,
            writer=writer,
            log=log,
            tracker=tracker,
            tracer=stack.enter_context(Tracer(run.out_dir, run.profile_steps if world.is_main else 0, progress.say)),
        )


def _tracked(run: RunConfig, data: RunData, stepper: Stepper, progress: Progress) -> TrackedRun:
    images = functools.cache(lambda: fixed_images(data.train))
    return TrackedRun(
        out_dir=run.out_dir,
        recipe=asdict(stepper.recipe),
        step=stepper.step,
        look=stepper.look,
        activity=lambda: stepper.activity(images()),
        say=progress.say,
    )


def _is_first_start(progress: Progress) -> bool:
    """Whether --fresh has still to be done; a worker that was started again goes on with what the first start began."""
    again = restarted(os.environ)
    if again is not None:
        progress.say(f"--fresh: not done again, as this process was started again ({again})")
    return again is None


def _decide(directory: RunDirectory, recipe: Recipe, data: RunData, run: RunConfig, *, fresh: bool) -> Decision:
    decision = Decision() if fresh else directory.decide()
    if decision.found is not None and decision.found.content is not None:
        check_same_run(decision.found.path, decision.found.content, recipe, data)
        check_weights(decision.found.content, recipe.model, str(decision.found.path))
        check_state(decision.found.path, decision.found.content)
        check_same_place(decision.found.path, decision.found.content, recipe, data)
        if restarted(os.environ) is None:  # else that file may have become another since the first start
            check_same_beginning(decision.found.path, decision.found.content, run.init)
    return decision


def _beginning(run: RunConfig, content: Mapping[str, Any] | None, progress: Progress) -> dict[str, Any]:
    """What a checkpoint says of the weights that its run began with; of older ones nothing is known."""
    if content is None:
        return {"init": file_sha256(run.init) if run.init is not None and run.world.is_main else None}
    if run.init is not None:
        progress.say(f"--init {run.init}: not read again, as the run goes on")
    return {"init": content["init"]} if "init" in content else {}


def _open_data(run: RunConfig, progress: Progress) -> RunData:
    data = open_run_data(run.shards, run.val_shards, run.stats, progress.say)
    check_processes_agree(data, run.world)
    return data


def _content(decision: Decision | None, world: World) -> tuple[Path | None, dict[str, Any] | None]:
    """The checkpoint to go on from and its content: the first process has it already, the others load it now."""
    found = decision.found if decision is not None else None
    told = world.told(str(found.path) if found is not None else None)
    if told is None:
        return None, None
    return Path(told), found.content if found is not None else load_checkpoint(Path(told))


def _records(
    content: Mapping[str, Any] | None, validation: Validation | None, out_dir: Path, steps_per_epoch: int
) -> Records:
    validation_set = validation.fingerprint if validation is not None else None
    if content is None:
        return Records(validation_set)
    if "records" in content:
        return Records(validation_set, content["records"])
    lines = [line for line in read_metrics(out_dir / METRICS_NAME) if line["step"] <= content["step"]]
    return Records(validation_set, records_of_version_2(content["val_errors"], validation_set, lines, steps_per_epoch))


def _begin(  # the only function that changes what an earlier start left
    directory: RunDirectory, decision: Decision, recipe: Recipe, log: MetricsLog, records: Records, *, fresh: bool
) -> None:
    if fresh:
        directory.move_aside()
    directory.settle(decision)
    save_recipe(directory.path / RECIPE_NAME, recipe)
    step = 0
    if decision.found is not None and decision.found.content is not None:
        step = decision.found.content["step"]
        if records.best is not None:
            directory.make_best(checkpoint_path(directory.checkpoints, records.best["step"]))
    else:
        directory.keep_old_log()
    log.go_on(step, records, pending=records.pending)


def _facts(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "classes": [fact.wnid for fact in data.train.classes],
        "words": [fact.words for fact in data.train.classes],
        "shards": data.train.fingerprint,
        "rows": data.train.rows_sha256,
        "pixels": data.train.manifest.recipe,
    }
