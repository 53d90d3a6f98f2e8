"""The run directory's one owner: its lock, a look at each checkpoint, and whether to go on, begin or refuse.

Nothing is written to a run directory before its owner has said so, and only one process of one run is its owner.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import TEMPORARY_SUFFIX
from alexnet_shards.locks import LockHeldError, locked_file
from alexnet_shards.parsing import Where, load_json
from alexnet_train.aside import move_run_aside, point_to, set_aside
from alexnet_train.checkpoint import Look, Verdict, checkpoint_path, list_checkpoints, look_at, step_of
from alexnet_train.metrics import read_metrics

LOCK_NAME, CHECKPOINTS_NAME, BEST_NAME = ".lock", "checkpoints", "best.pt"
RECIPE_NAME, METRICS_NAME = "recipe.toml", "metrics.jsonl"
WRITTEN = ("step-*.pt", BEST_NAME, METRICS_NAME, RECIPE_NAME, "bad-batch-*.pt", "report.html", "epoch-*.npz")
MAX_NOTE_BYTES = 1 << 16
POLL_SECONDS = 0.1
# How long the workers of a launcher that was killed may take to notice and leave, and what two starts by hand wait.
PATIENCE_SECONDS, LAUNCHED_PATIENCE_SECONDS = 2.0, 60.0
RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


def chosen_checkpoint(path: Path) -> Path:
    """`path` itself, or of a run's directory its best checkpoint, its newest where no best one is known."""
    directory = next((place for place in (path / CHECKPOINTS_NAME, path) if place.is_dir()), None)
    if directory is None:
        return path
    best = directory / BEST_NAME
    found = [best] if best.is_file() else list_checkpoints(directory)[-1:]
    if not found:
        raise FormatError(f"{path}: no checkpoint in it; expected a file of RUN/checkpoints, or RUN itself")
    return found[0]


class RunDirectoryError(AlexnetError):
    """A run directory that cannot be used: in use, not writable, or with checkpoints that nobody can go on from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """`found`: the checkpoint to go on from, None to begin. `damaged`: what was passed over on the way to it."""

    found: Look | None = None
    damaged: tuple[Look, ...] = ()


def restarted(environment: Mapping[str, str]) -> str | None:
    """ "VARIABLE=count" where this process was started again by torchrun or in a job that was queued again."""
    counts = {name: environment.get(name, "") for name in RESTARTS}
    return next((f"{name}={count}" for name, count in counts.items() if count.isdigit() and int(count)), None)


class RunDirectory:
    """The owner of `path` while in context; for the first process of a run alone."""

    def __init__(self, path: Path, say: Callable[[str], None], environment: Mapping[str, str]) -> None:
        self.path, self.checkpoints = path, path / CHECKPOINTS_NAME
        self._say, self._environment = say, environment
        self._held = ExitStack()
        self._lock_file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Take the lock. Raises RunDirectoryError where another process has it, or the directory cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path}: cannot be written ({error.strerror}); expected a run directory of this user"
            ) from error
        with self._held:
            self._lock_file = self._lock()
            before = self._note()
            if int(self._environment.get(RESTARTS[0], "0") or 0) and "diverged" in before:
                raise RunDirectoryError(f"{before['diverged']} (not tried again)")
            self._write_note({"process": os.getpid(), "host": socket.gethostname()})
            self._held = self._held.pop_all()  # kept until the owner leaves
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock_file = None
        self._held.close()

    def decide(self) -> Decision:
        """Look at the checkpoints, newest first, till one is whole; nothing is touched.

        Only damaged bytes are passed over. Raises RunDirectoryError where there are checkpoints and none can be gone on
        from, naming each with its reason.
        """
        passed: list[Look] = []
        try:
            paths = list_checkpoints(self.checkpoints)[::-1]
        except OSError as error:
            raise RunDirectoryError(
                f"{self.checkpoints}: cannot be read ({error.strerror}); make it readable for this user, or choose "
                "another --out"
            ) from error
        found = None
        for path in paths:
            look = look_at(path)
            if look.verdict is Verdict.WHOLE:
                found = look
                break
            passed.append(look)
            if look.verdict is not Verdict.DAMAGED:
                raise self._refusal([*passed, *map(look_at, paths[len(passed) :])])
        found = self._or_best(found, passed)
        if found is None and passed:
            raise self._refusal(passed)
        if found is None:
            self._refuse_others()
        return Decision(found=found, damaged=tuple(look for look in passed if look.verdict is Verdict.DAMAGED))

    def settle(self, decision: Decision) -> None:
        """Set the damaged checkpoints aside, and remove what a killed run left half-written."""
        for look in decision.damaged:
            kept = set_aside(look.path)
            self._say(f"warning: {look.path}: {look.reason}; kept as {kept.name}")
        if decision.found is not None and decision.found.content is not None:
            path = checkpoint_path(self.checkpoints, decision.found.content["step"])
            if not path.exists():  # best.pt was gone on from: it gets the name of its step again
                point_to(decision.found.path, path)
        for folder in (self.path, self.checkpoints, self.path / "looks"):
            for pattern in WRITTEN:
                for path in folder.glob(f"{pattern}*{TEMPORARY_SUFFIX}"):
                    path.unlink(missing_ok=True)

    def move_aside(self) -> None:
        """Move what an earlier run left here to NAME.old-1 or the next free number; files that are no run's stay."""
        moved = move_run_aside(self.path)
        if moved is not None:
            self._say(f"--fresh: the run that was here is in {moved}")

    def written(self, content: Mapping[str, Any]) -> list[int]:
        """The steps of the files that the run of a checkpoint wrote."""
        if "written" in content:
            return list(content["written"])
        steps = (step_of(path) for path in list_checkpoints(self.checkpoints))
        return [step for step in steps if step is not None and step <= content["step"]]

    def make_best(self, path: Path) -> None:
        """Let best.pt be the checkpoint at `path`, where that is still there."""
        if path.exists():
            point_to(path, self.checkpoints / BEST_NAME)

    def keep_old_log(self) -> None:
        """A run begins anew where the checkpoints of one that ended epochs are gone: its log stays, under another name."""
        log = self.path / METRICS_NAME
        if any(record["kind"] == "epoch" for record in read_metrics(log)):
            kept = set_aside(log, "old")
            self._say(f"{log}: of a run whose checkpoints are gone; kept as {kept.name}")

    def note_divergence(self, message: str) -> None:
        """Training has diverged: workers that the same launch starts again end with this line at once."""
        self._write_note(self._note() | {"diverged": message})

    def _or_best(self, found: Look | None, passed: list[Look]) -> Look | None:
        """best.pt where it is newer than what was found, and something was damaged or nothing found."""
        best = self.checkpoints / BEST_NAME
        if (found is not None and not passed) or not os.path.lexists(best):
            return found
        look = look_at(best)
        if look.content is None or look.verdict is not Verdict.WHOLE:
            passed.append(look)
            return found
        newer = found is None or found.content is None or look.content["step"] > found.content["step"]
        return look if newer else found

    def _refuse_others(self) -> None:
        """Where there are no checkpoints of a run's names: weights or a renamed checkpoint are not begun over."""
        for path in sorted(self.checkpoints.glob("*.pt")):
            look = look_at(path)
            if look.verdict is Verdict.WEIGHTS_ONLY:
                raise self._refusal([look])
            if look.content is not None:
                raise RunDirectoryError(
                    f"{path}: a whole checkpoint under another name; rename it to step-{look.content['step']:08d}.pt to "
                    "go on from it, or choose another --out"
                )

    def _refusal(self, looks: list[Look]) -> RunDirectoryError:
        facts = ", ".join(f"{look.path.name} ({look.reason})" for look in looks)
        ways = ["choose another --out, or --fresh to move this run aside and begin anew"]
        verdicts = {look.verdict for look in looks}
        if Verdict.WHOLE in verdicts:
            ways.insert(0, f"move {looks[0].path.name} elsewhere to go on from an older one")
        if Verdict.OTHER_VERSION in verdicts:
            ways.insert(0, "go on with the version of alexnet-train that wrote it")
        if Verdict.UNREADABLE in verdicts:
            ways.insert(0, "make it readable for this user")
        if Verdict.WEIGHTS_ONLY in verdicts:
            weights = next(look.path for look in looks if look.verdict is Verdict.WEIGHTS_ONLY)
            ways.insert(0, f"to start from those weights, give --init {weights} and another --out")
        return RunDirectoryError(
            f"{self.checkpoints}: no checkpoint that can be gone on from: {facts}; nothing was touched; {'; '.join(ways)}"
        )

    def _lock(self) -> BinaryIO:
        launched = any(name in self._environment for name in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"))
        deadline = time.monotonic() + (LAUNCHED_PATIENCE_SECONDS if launched else PATIENCE_SECONDS)
        while True:
            try:
                return self._held.enter_context(locked_file(self.path / LOCK_NAME, wait=False))
            except LockHeldError as error:
                if time.monotonic() < deadline:
                    time.sleep(POLL_SECONDS)
                    continue
                note = self._note()
                owner = f"process {note.get('process', '?')} on {note.get('host', '?')}"
                raise RunDirectoryError(
                    f"{self.path}: in use by {owner}; wait until it ends, or choose another --out"
                ) from error

    def _note(self) -> dict[str, Any]:
        """What the owner, or the one before, wrote of itself; nothing where that is damaged."""
        where = Where(path=self.path / LOCK_NAME, what="note of the run's owner", remedy="it is of no consequence")
        try:
            note = load_json(where, MAX_NOTE_BYTES)
        except (FormatError, FileNotFoundError):
            return {}
        return note if isinstance(note, dict) else {}

    def _write_note(self, note: Mapping[str, Any]) -> None:
        if self._lock_file is not None:
            descriptor = self._lock_file.fileno()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode() + b"\n", 0)
