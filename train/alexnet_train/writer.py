"""Checkpoints written in a thread while training goes on, one at a time."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from alexnet_shards.errors import AlexnetError, FileError
from alexnet_shards.files import link_or_copy, own_directory
from alexnet_train.checkpoint import (
    checkpoint_path,
    list_checkpoints,
    remove_old_checkpoints,
    save_checkpoint,
)

BEST_NAME = "best.pt"


class CheckpointWriter:
    """Keeps the newest `keep` checkpoints and the best one in `directory`; a context manager that owns the thread."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory, self._keep = directory, keep
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        own_directory(self._directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def save(self, content: Mapping[str, Any], *, best: bool = False) -> None:
        """Copy `content` and begin to write it; `best` also makes it best.pt.

        Waits for the one before. Raises AlexnetError where that could not be written.
        """
        self.wait()
        self._under_way = self._pool.submit(self._write, snapshot(content), best)

    def check(self) -> None:
        """Raise AlexnetError where a checkpoint could not be written, without waiting for one that is under way."""
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def wait(self) -> None:
        """Until the last checkpoint is on the disk; raises AlexnetError where it could not be written."""
        pending, self._under_way = self._under_way, None
        if pending is None:
            return
        try:
            pending.result()
        except (FileError, OSError, RuntimeError) as error:
            whole = list_checkpoints(self._directory)
            left = f"{whole[-1]} is whole, the run goes on from there" if whole else "there is no checkpoint before it"
            reason = str(error).partition("\n")[0]
            line = str(error) if isinstance(error, FileError) else f"{self._directory}: cannot be written ({reason})"
            raise AlexnetError(f"{line}; {left}") from error

    def _write(self, content: dict[str, Any], best: bool) -> None:
        path = checkpoint_path(self._directory, content["step"])
        save_checkpoint(path, content)
        if best:
            link_or_copy(path, path.with_name(BEST_NAME))
        remove_old_checkpoints(self._directory, self._keep)


def link_best(directory: Path, step: int) -> None:
    """Make best.pt the checkpoint of `step` if that is there: a run may have been killed between the two."""
    path, best = checkpoint_path(directory, step), directory / BEST_NAME
    if path.exists() and not (best.exists() and best.samefile(path)):
        link_or_copy(path, best)


def snapshot(value: Any) -> Any:
    """`value` with copies of its tensors in host memory, which no later update of the weights changes."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value
