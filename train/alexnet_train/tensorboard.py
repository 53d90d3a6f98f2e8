"""TensorBoard event files of the same records as metrics.jsonl, written by tensorboardX, which needs no tensorflow."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alexnet_shards.extras import require

FLUSH_SECONDS = 10


def check_tensorboard() -> None:
    """Raise AlexnetError where tensorboardX is not installed."""
    require("tensorboardX", "tensorboardX", "tensorboard")


class Board:
    """Scalars in event files below `directory`; None writes nothing."""

    def __init__(self, directory: Path | None, purge_step: int = 0) -> None:
        """A run that goes on hides what an earlier start wrote from `purge_step` on.

        Raises AlexnetError where tensorboardX is not installed.
        """
        self._writer: Any = None
        if directory is None:
            return
        check_tensorboard()
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=purge_step, flush_secs=FLUSH_SECONDS)

    def add(self, step: int, record: Mapping[str, Any]) -> None:
        """Write the record's numbers at `step`; a thread brings them to the file within FLUSH_SECONDS."""
        if self._writer is None:
            return
        for tag, value in numbers(record):
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Write what is left and end the thread."""
        if self._writer is not None:
            self._writer.close()


def numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(tag, value) of each number in nested `record`, as ("rates/conv1.weight", 0.01)."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
