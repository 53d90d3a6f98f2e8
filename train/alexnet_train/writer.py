"""Checkpoints written in a thread while training goes on, one at a time."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from alexnet_shards.errors import AlexnetError, FileError
from alexnet_shards.files import own_directory
from alexnet_train.checkpoint import checkpoint_path, list_checkpoints, save_checkpoint
from alexnet_train.divergence import has_diverged

CHECKED = ("model", "optimizer", "average")


class CheckpointWriter:
    """Writes checkpoints to `directory` and removes the oldest; a context manager that owns the thread.

    `written` are the steps of the run's files that are there already. Of what the run wrote below the step just
    written all but the newest `keep` - 1 go; files of others stay. `on_best` hears which file is the best one.
    """

    def __init__(
        self, directory: Path, keep: int, on_best: Callable[[Path], None], written: Sequence[int] = ()
    ) -> None:
        self._directory, self._keep, self._on_best = directory, keep, on_best
        self._written = sorted(written)
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
        """Begin to write `content`, all in host memory (see `snapshot`); `best` also makes it best.pt.

        Waits for the one before. Raises AlexnetError where that could not be written.
        """
        self.wait()
        self._under_way = self._pool.submit(self._write, dict(content), best)

    @property
    def failed(self) -> bool:
        """Whether the last checkpoint could not be written, for `wait` to say; False while it is under way."""
        pending = self._under_way
        return pending is not None and pending.done() and pending.exception() is not None

    def wait(self) -> None:
        """Until the last checkpoint is on the disk; raises AlexnetError where it could not be written."""
        pending, self._under_way = self._under_way, None
        if pending is None:
            return
        try:
            pending.result()
        except (FileError, OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            line = str(error) if isinstance(error, FileError) else f"{self._directory}: cannot be written ({reason})"
            raise AlexnetError(f"{line}; {self._what_is_left()}") from error

    def _what_is_left(self) -> str:
        try:
            whole = list_checkpoints(self._directory)
        except OSError:
            return "what is there cannot be read either"
        return f"{whole[-1]} is whole, the run goes on from there" if whole else "there is no checkpoint before it"

    def _write(self, content: dict[str, Any], best: bool) -> None:
        step = content["step"]
        known = sorted({*(old for old in self._written if old < step), step})
        kept, gone = known[-self._keep :], known[: -self._keep]
        path = checkpoint_path(self._directory, step)
        save_checkpoint(path, content | {"written": known})  # with those that go now: a kill may come before they have
        if best:
            self._on_best(path)
        self._written = kept
        for old in gone:
            checkpoint_path(self._directory, old).unlink(missing_ok=True)


def snapshot(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """`content` with copies of its tensors in host memory, which no later update changes; None where weights diverged.

    The look at the weights is queued before the copies and read after them, so that it costs no wait of its own.
    """
    diverged = has_diverged([tensor for key in CHECKED for tensor in _tensors(content.get(key))])
    copy: dict[str, Any] = _copied(content)
    return None if bool(diverged) else copy


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value.detach()] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value
