"""Bad samples that a run is allowed to go on without: replaced as the epoch table determines, logged and counted."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet
from alexnet_stream.epoch import EpochTable
from alexnet_stream.loader import Job, JobReport, SampleLoader

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedPart:
    """A rank's loaded part of a batch: its (n,) places in the epoch table, and its images, uint8 (n, H, W, 3)."""

    table: EpochTable
    places: npt.NDArray[np.int64]
    images_nhwc: npt.NDArray[np.uint8]
    report: JobReport


@dataclass(kw_only=True, eq=False)
class Quarantine:
    """Keeps the rows of bad samples; at most `limit` of them (0: the first one stops the run).

    `tally` is told of each row that is found bad here, and says how many different ones the whole run has by now; None
    where this process is the run.
    """

    shards: ShardSet
    samples: SampleLoader
    limit: int
    crop: bool
    tally: Callable[[int], int] | None = None
    bad_rows: dict[int, str] = field(default_factory=dict)
    replaced: int = 0

    def settle(self, part: LoadedPart) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(n,) rows that the images are of, and (n,) `valid`, after each bad sample has been dealt with.

        A crop is replaced by the next good sample in the epoch's order, with the crop, flip and noise of its place: the
        same for any rank and thread count. A whole image, which is there to be counted once, becomes black and not
        valid. Raises AlexnetError, naming shard and key, when there are more than `limit` bad samples.
        """
        rows = part.table.rows[part.places]
        valid = np.ones(len(rows), np.bool_)
        for place, reason in part.report.failures:
            self._note(int(rows[place]), reason)
            if self.crop:
                rows[place] = self._replace(part, place)
            else:
                part.images_nhwc[place] = 0
                valid[place] = False
            self.replaced += 1
        return rows, valid

    def _note(self, row: int, reason: str) -> None:
        if row in self.bad_rows:
            return
        where = self.shards.key_of(row)
        count = self.tally(row) if self.tally is not None else len(self.bad_rows) + 1
        if count > self.limit:
            allowed = f" ({self.limit} bad samples are in quarantine already)" if self.limit else ""
            raise AlexnetError(f"{where}: {reason}{allowed}; see all damage with alexnet-prep verify")
        self.bad_rows[row] = reason
        LOGGER.warning("%s: %s; in quarantine, %d of at most %d", where, reason, count, self.limit)

    def _replace(self, part: LoadedPart, place: int) -> int:
        """Load the next good sample of the epoch's order in place of a bad one; returns its row."""
        order, top_px, left_px = part.table.rows, part.table.crop_top_px, part.table.crop_left_px
        start = int(part.places[place])
        for step in range(1, len(order)):
            row = int(order[(start + step) % len(order)])
            if row in self.bad_rows:
                continue
            at = slice(start, start + 1)
            job = Job(rows=self.shards.rows[row : row + 1], crop_top_px=top_px[at], crop_left_px=left_px[at])
            report = self.samples.load(job, 0, 1, part.images_nhwc[place : place + 1])
            if not report.failures:
                return row
            self._note(row, report.failures[0][1])
        raise AlexnetError("no good sample is left to replace a bad one; see all damage with alexnet-prep verify")
