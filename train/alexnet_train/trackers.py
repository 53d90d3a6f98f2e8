"""Trackers: where the records of metrics.jsonl also go, behind one small interface: page, CSV, TensorBoard, W&B.

Tags of epochs begin with "epoch/", those of steps with "step/"; a record's inner tables keep their own names ("rates/").
"""

import csv
import io
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from alexnet_shards.errors import AlexnetError
from alexnet_shards.extras import require
from alexnet_shards.files import append_bytes, write_atomic
from alexnet_train.activity import Activity, note_start, save_activity
from alexnet_train.looks import Look, save_look
from alexnet_train.metrics import read_metrics

FLUSH_SECONDS = 10
NOT_NUMBERS = ("kind", "step")  # what places a record, beside its numbers
ID_NAME = "wandb-id.txt"
PROJECT = "alexnet"
# Whatever may go wrong with a page: it never harms the run.
DRAWING_ERRORS = (
    *(AlexnetError, OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError),
    *(MemoryError, ImportError),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedRun:
    """What a tracker is told of a run: its directory, which holds metrics.jsonl as it is at `step`, and its recipe.

    `look` gives how its network looks now, `activity` what its layers do, `say` tells its user a line.
    """

    out_dir: Path
    recipe: Mapping[str, Any]
    step: int
    look: Callable[[], Look]
    activity: Callable[[], Activity]
    say: Callable[[str], None]


class Tracker(Protocol):
    """Takes a run's records."""

    def add(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        """A record of `kind` "step" or "epoch" after so many steps, which metrics.jsonl has already."""

    def close(self) -> None:
        """Write what is left."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise MissingLibraryError where a library of one of those `names` is not installed; nothing else happens."""
    for name in names:
        if name in LIBRARIES:
            require(LIBRARIES[name], LIBRARIES[name], name)


@contextmanager
def open_trackers(names: Sequence[str], run: TrackedRun) -> Iterator[Tracker]:
    """One tracker for all of `names` (of TRACKERS), closed at the end; of none, one that does nothing.

    Raises AlexnetError where one does not begin.
    """
    check_trackers(names)
    with ExitStack() as stack:
        opened: list[Tracker] = []
        for name in names:
            tracker = TRACKERS[name](run)
            stack.enter_context(closing(tracker))
            opened.append(tracker)
        yield _All(opened)


class _All:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def add(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        for tracker in self._trackers:
            tracker.add(kind, step, record)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


class CsvTracker:
    """steps.csv and epochs.csv in the run's directory: metrics.jsonl in columns, for spreadsheets.

    They are made again from it when a run goes on, and when a record has a column that they lack.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._out_dir = run.out_dir
        self._columns: dict[str, list[str]] = {}
        for kind in ("step", "epoch"):
            self._write_whole(kind)

    def add(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        """Append a row; it is with the operating system when this returns."""
        row = {"step": step, **dict(_flat(record))}
        if set(row) <= set(self._columns[kind]):
            append_bytes(self._path(kind), _lines([row], self._columns[kind]))
        else:
            self._write_whole(kind)

    def close(self) -> None:
        """Every row is written already."""

    def _path(self, kind: str) -> Path:
        return self._out_dir / f"{kind}s.csv"

    def _write_whole(self, kind: str) -> None:
        records = [dict(_flat(one)) for one in read_metrics(self._out_dir / "metrics.jsonl") if one["kind"] == kind]
        names = dict.fromkeys(["step", *(name for record in records for name in record)])
        self._columns[kind] = [name for name in names if name != "kind"]
        header = {name: name for name in self._columns[kind]}
        write_atomic(self._path(kind), _lines([header, *records], self._columns[kind]))


def _lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


class TensorBoardTracker:
    """Event files in the run's directory, written by tensorboardX, which needs no tensorflow."""

    def __init__(self, run: TrackedRun) -> None:
        """A run that goes on hides what an earlier start wrote after its step."""
        from tensorboardX import SummaryWriter

        folder = str(run.out_dir / "tensorboard")
        self._writer: Any = SummaryWriter(folder, purge_step=run.step + 1, flush_secs=FLUSH_SECONDS)

    def add(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        """Write the record's numbers; a thread brings them to the file within FLUSH_SECONDS."""
        for tag, value in numbers(kind, record):
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._writer.close()


class WandbTracker:
    """A run of Weights & Biases, offline where WANDB_MODE says so; started again, a run is the same one there.

    Its id lies in the run's directory. Values stand over "steps", for a run that goes on from a checkpoint goes back.
    """

    def __init__(self, run: TrackedRun) -> None:
        """Raises AlexnetError where wandb does not begin, as without a key."""
        import wandb

        path = run.out_dir / ID_NAME
        if not path.exists():
            write_atomic(path, uuid.uuid4().hex[:12].encode() + b"\n")
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=run.out_dir.name,
                id=path.read_text().strip(),
                resume="allow",
                dir=str(run.out_dir),
                config=dict(run.recipe),
                settings=wandb.Settings(console="off", silent=True),
            )
        except (wandb.Error, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise AlexnetError(
                f"--track wandb: it does not begin ({reason}); run wandb login, or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("steps")
        self._run.define_metric("*", step_metric="steps")

    def add(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        """Hand the record's numbers to wandb's own process."""
        self._run.log({**dict(numbers(kind, record)), "steps": step})

    def close(self) -> None:
        """Wait until wandb has written what is left."""
        self._run.finish()


class PageTracker:
    """report.html in the run's directory, drawn anew after each epoch; that it cannot be drawn is said once, no more."""

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._is_said = run, False
        self._try(lambda: note_start(run.out_dir, run.step))

    def add(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        """Keep the look of the network after an epoch, and draw the page."""
        if kind != "epoch":
            return
        self._try(lambda: self._draw(int(record["epoch"])))

    def _draw(self, epoch: int) -> None:
        from alexnet_train.runpage import write_run_page  # which needs what is not everywhere: Pillow, an extra

        save_look(self._run.out_dir, epoch, self._run.look())
        save_activity(self._run.out_dir, epoch, self._run.activity())
        write_run_page(self._run.out_dir)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DRAWING_ERRORS as error:
            if not self._is_said:
                self._run.say(f"{self._run.out_dir}: no page is drawn ({error}); the run goes on without")
            self._is_said = True

    def close(self) -> None:
        """Every page is written already."""


LIBRARIES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "page": PageTracker,
    "csv": CsvTracker,
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}


def numbers(kind: str, record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(tag, value) of each number of a record of `kind`: ("step/train_loss", 1.5), ("rates/conv1.weight", 0.01)."""
    for name, value in _flat(record):
        if name not in NOT_NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
            yield (name if "/" in name else f"{kind}/{name}"), float(value)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
