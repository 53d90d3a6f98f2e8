"""What a run of `alexnet-prep shards` tells while it works, and where its time went."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alexnet_command.progress import Progress
from alexnet_command.units import size_text
from alexnet_prep.archive import Tick
from alexnet_prep.job import STAGES, Job, Result, Seconds
from alexnet_prep.stagetimes import note_times


class RunProgress:
    """Tells `progress` of a split's images: how many, bytes, what was dropped, and seconds a stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._begun = self._finished = self._total = 0
        self._bytes = self._dropped = self._reused = 0
        self._unit, self._pieces = "images", "shards"
        self._seconds = Seconds()
        self._times: Path | None = None

    def say(self, line: str) -> None:
        """Print one line beside the bar."""
        self._progress.say(line)

    @contextmanager
    def hashing(self) -> Iterator[Callable[[int, int], None]]:
        """Count the bytes of the archives whose checksums are taken."""
        self._progress.start(None, title="checksums", unit="bytes")
        yield self._progress.at
        self._progress.end()

    def indexing(self, split: str) -> Tick:
        """Count a split's images while they are looked for; the returned function is told of so many more."""
        self._progress.start(None, title=f"{split}: reading headers", unit="images")
        return self._progress.advance

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

    @contextmanager
    def counted(
        self, split: str, total: int, unit: str = "images", pieces: str = "shards", times: Path | None = None
    ) -> Iterator[None]:
        """Count what a split has of a unit during the block; `pieces` is what its jobs are called, `times` is the file that
        notes what each took."""
        self.begin(split, total, unit, pieces)
        self._times = times
        try:
            yield
        finally:
            self.end()
            self._times = None

    def begin(self, split: str, total: int, unit: str = "images", pieces: str = "shards") -> None:
        """Count the images of a split, or another unit of it."""
        self._begun = self._finished = self._bytes = self._dropped = self._reused = 0
        self._total, self._unit, self._pieces = total, unit, pieces
        self._seconds = Seconds()
        self._progress.start(total, title=split, unit=unit)

    def image(self, source_bytes: int) -> None:
        """A worker begins an image."""
        self._bytes += source_bytes
        self._begun += source_bytes if self._unit == "bytes" else 1
        self._show()

    def done(self, job: Job[Result], result: Result, seconds: Seconds | None) -> None:
        """A job is done; `seconds` is None where all that it makes was there already."""
        self._dropped += len(result.dropped)
        self._finished += job.images
        if seconds is None:
            self._reused += 1
            self._begun += job.images
            self._progress.advance(job.images, skipped=True)
        else:
            if self._times is not None:
                note_times(self._times, job.name, seconds)
            for stage in STAGES:
                self._seconds.stages[stage] += seconds.stages[stage]
        self._show()

    def retry(self, job: Job[Result], reason: str) -> None:
        """A worker was lost; its job is run again."""
        self.say(reason)

    def waiting(self, line: str) -> None:
        """A disk keeps a worker waiting, or there are fewer workers than were asked for."""
        self.say(line)

    def end(self) -> None:
        """End the count and say where the workers' time went."""
        self._begun = self._finished
        self._show()
        self._progress.end()
        if self._reused:
            self.say(f"{self._reused} {self._pieces} were there already and are as they were written")
        total = sum(self._seconds.stages.values())
        if total > 0:
            shares = ", ".join(f"{stage} {self._seconds.stages[stage] / total:.0%}" for stage in STAGES)
            self.say(f"time a stage: {shares}; bound by {max(STAGES, key=lambda stage: self._seconds.stages[stage])}")

    def _show(self) -> None:
        # Images of a shard that is built again are begun twice; those of finished shards are certain.
        done = max(self._finished, min(self._begun, self._total))
        self._progress.at(done, self._total)
        read = {} if self._unit == "bytes" else {"read": size_text(self._bytes)}
        self._progress.show({**read, "dropped": f"{self._dropped:,}"})
