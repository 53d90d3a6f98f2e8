"""A torch profiler trace of a few training steps."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

WARM_UP_STEPS = 2  # allocations and kernel choices of the first steps say nothing of the later ones


class Tracer:
    """Traces `steps` steps after WARM_UP_STEPS and writes them to `directory`; 0 steps: does nothing."""

    def __init__(self, directory: Path, steps: int, say: Callable[[str], None]) -> None:
        self._path, self._steps, self._say = directory / f"trace-{steps}-steps.json.gz", steps, say
        self._seen = 0
        self._profile: profile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def step(self) -> None:
        """A training step has ended."""
        if not self._steps or self._seen > WARM_UP_STEPS + self._steps:
            return
        self._seen += 1
        if self._seen == WARM_UP_STEPS:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profile = profile(activities=activities, record_shapes=True)
            self._profile.start()
        if self._seen == WARM_UP_STEPS + self._steps:
            self._end()

    def _end(self) -> None:
        if self._profile is None:
            return
        running, self._profile = self._profile, None
        running.stop()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        running.export_chrome_trace(str(self._path))
        self._say(f"trace in {self._path}; open it in https://ui.perfetto.dev")
