"""The shards of an epoch fetched ahead of need, in the order of their use."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_remote import RemoteShards, RemoteShardSet, Stop
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet
from alexnet_stream.reader import LocalShards, ShardSource

DOWNLOADS = 4


def source_of(shards: ShardSet, stop: Stop) -> ShardSource:
    """Where the bytes of `shards` come from, for a reader whose waits `stop` ends."""
    return replace(shards.source, stop=stop) if isinstance(shards, RemoteShardSet) else LocalShards(shards.files)


class Prefetcher:
    """Fetches the shards of an epoch in the order of their use, `ahead` shards before the consumer."""

    def __init__(self, source: RemoteShards, ahead: int) -> None:
        self._source, self._ahead = source, ahead
        self._pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="alexnet-fetch")
        self._futures: list[Future[Path]] = []
        self._order: list[int] = []
        self._first_places = np.empty(0, np.int64)
        self._begun = 0

    def plan(self, shard_of_row: npt.NDArray[Any], rows: npt.NDArray[np.int64], position: int) -> None:
        """The order of an epoch: `rows` as in its table, from `position` on."""
        self._cancel()
        shards, places = np.unique(shard_of_row[rows[position:]], return_index=True)
        by_place = np.argsort(places)
        self._order, self._first_places = shards[by_place].tolist(), places[by_place] + position
        self._begun = 0

    def advance(self, position: int) -> None:
        """Every sample before `position` has been loaded; begins the downloads that are due."""
        due = int(np.searchsorted(self._first_places, position, side="right")) + self._ahead
        for shard in self._order[self._begun : due]:
            url, fact = self._source.urls[shard], self._source.facts[shard]
            # A failure is not lost: whoever reads the shard is told, or tries again after a while.
            self._futures.append(self._pool.submit(self._source.cache.fetch, url, fact, self._source.stop))
        self._begun = max(self._begun, min(due, len(self._order)))

    def close(self) -> None:
        """Begin no more downloads and wait for those under way; the source's stop ends them at once."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _cancel(self) -> None:
        for future in self._futures:
            future.cancel()
        self._futures.clear()


class NoPrefetch:
    """Local shards need no fetching."""

    def plan(self, shard_of_row: npt.NDArray[Any], rows: npt.NDArray[np.int64], position: int) -> None:
        """Nothing."""

    def advance(self, position: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def prefetcher(source: ShardSource, window_shards: int | None) -> Prefetcher | NoPrefetch:
    """What fetches the shards of a stream whose windows hold `window_shards`, None for a global order.

    Raises AlexnetError where the cache cannot hold what is read at a time: two windows, or all shards.
    """
    if not isinstance(source, RemoteShards):
        return NoPrefetch()
    config, sizes = source.cache.config, sorted((fact.bytes for fact in source.facts), reverse=True)
    at_once = len(sizes) if window_shards is None else min(2 * window_shards, len(sizes))
    needed = sum(sizes[:at_once])
    if needed > config.max_bytes:
        reading = "a global order" if window_shards is None else f"windows of {window_shards} shards"
        raise AlexnetError(
            f"{config.home}: a cache of {config.max_bytes} bytes, but {reading} need {needed}; "
            "raise ALEXNET_CACHE_GIB, or read in windows of fewer shards"
        )
    # The window at hand counts as begun at its first sample, so a window ahead is what is fetched beside it.
    return Prefetcher(source, at_once if window_shards is None else window_shards)
