"""What a run shows on stderr while it works, and where its time went."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from alexnet_prep.archive import Tick
from alexnet_prep.build import STAGES, Seconds, ShardJob, Sidecar


def progress_bar(console: Console) -> Progress:
    """A bar with count, a free `facts` field, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


class RunProgress:
    """The progress of `alexnet-prep shards`: images, bytes, rate, what was dropped, and seconds a stage."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = progress_bar(self._console)
        self._task = TaskID(0)
        self._bytes = self._dropped = self._reused = 0
        self._seconds = Seconds()

    def say(self, line: str) -> None:
        """Print one line beside the bar."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def hashing(self) -> AbstractContextManager[Callable[[int, int], None]]:
        """A bar over the bytes of the archives whose checksums are taken."""
        return counting("checksums")

    def indexing(self, split: str) -> Tick:
        """Say that a split's archive is being indexed; the returned function takes the number of images so far."""
        self.say(f"{split}: reading the archive's headers")
        return lambda _: None

    @contextmanager
    def patience(self, what: str, seconds: float) -> Iterator[None]:
        """Say that the disk is waited for, once, where the block takes longer than `seconds`."""
        line = f"{what} takes over {seconds:.0f} s; a disk that is slow or away is waited for"
        timer = threading.Timer(seconds, self.say, (line,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def begin(self, split: str, images: int) -> None:
        """Start the bar of a split."""
        self._bytes = self._dropped = self._reused = 0
        self._seconds = Seconds()
        self._bar = progress_bar(self._console)
        self._task = self._bar.add_task(split, total=images, facts="")
        self._bar.start()

    def image(self, source_bytes: int) -> None:
        """A worker begins an image."""
        self._bytes += source_bytes
        self._bar.update(self._task, advance=1, facts=self._facts())

    def shard(self, job: ShardJob, sidecar: Sidecar, seconds: Seconds | None) -> None:
        """A shard is done; `seconds` is None where it was there already."""
        self._dropped += len(sidecar.dropped)
        if seconds is None:
            self._reused += 1
            self._bar.update(self._task, advance=len(job.keys), facts=self._facts())
            return
        for stage in STAGES:
            self._seconds.stages[stage] += seconds.stages[stage]

    def retry(self, job: ShardJob, reason: str) -> None:
        """A worker was lost; its shard is built again, so its images count again."""
        self._bar.update(self._task, facts=self._facts())
        self.say(reason)

    def waiting(self, line: str) -> None:
        """A disk keeps a worker waiting, or there are fewer workers than were asked for."""
        self.say(line)

    def end(self) -> None:
        """Stop the bar and say where the workers' time went."""
        self._bar.stop()
        if self._reused:
            self.say(f"{self._reused} shards were there already and are as they were written")
        total = sum(self._seconds.stages.values())
        if total > 0:
            shares = ", ".join(f"{stage} {self._seconds.stages[stage] / total:.0%}" for stage in STAGES)
            self.say(f"time a stage: {shares}; bound by {max(STAGES, key=lambda stage: self._seconds.stages[stage])}")

    def _facts(self) -> str:
        elapsed_s = max(self._bar.tasks[0].elapsed or 0.0, 1e-3)
        rate = self._bar.tasks[0].completed / elapsed_s
        return f"{self._bytes / 1e6:,.0f} MB  {rate:,.0f} images/s  dropped {self._dropped}"


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over `what`; the yielded function is told (done, total)."""
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, facts="")
        yield lambda done, total: bar.update(task, completed=done, total=total)
