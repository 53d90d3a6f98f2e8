"""The order that epochs are read in, over all samples or by windows of shards, and a number that tells orders apart."""

import zlib

from alexnet_remote import RemoteShards
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet
from alexnet_stream.config import StreamConfig
from alexnet_stream.epoch import Windows
from alexnet_stream.prefetch import NoPrefetch, Prefetcher, prefetcher
from alexnet_stream.reader import ShardSource


class EpochOrder:
    """Whether `shards` are read `by_windows`, and the `prefetch` for it.

    The order "auto" is that of the place, local or remote, but for an epoch that was begun at the other kind of place: its
    rest is read in the order of its beginning, so that no sample comes twice.
    """

    def __init__(self, shards: ShardSet, config: StreamConfig, source: ShardSource) -> None:
        """Raises AlexnetError where the cache of remote shards cannot hold what is read at a time."""
        self._shards, self._config, self._source = shards, config, source
        self._usual = config.order == "window" or (config.order == "auto" and isinstance(source, RemoteShards))
        self.by_windows = self._usual
        self.prefetch = self._prefetch(self._usual)

    @property
    def number(self) -> int:
        """A number of all that decides the order of epochs: a place in one means nothing in another."""
        return self._number(self.by_windows)

    @property
    def windows(self) -> Windows | None:
        """The windows of the epoch table."""
        if not self.by_windows:
            return None
        return Windows(shard_of_row=self._shards.rows["shard"], shards_in_window=self._config.window_shards)

    def follow(self, number: int | None) -> bool:
        """Read on in the order of `number`, None for the usual one; False where this configuration has no such order.

        Raises AlexnetError where the cache of remote shards is too small for it.
        """
        for by_windows in (self._usual, not self._usual)[: 2 if self._config.order == "auto" else 1]:
            if number is None or number == self._number(by_windows):
                self._read(by_windows)
                return True
        return False

    def _read(self, by_windows: bool) -> None:
        if by_windows == self.by_windows:
            return
        try:
            prefetch = self._prefetch(by_windows)
        except AlexnetError as error:
            raise AlexnetError(f"an epoch that was begun with local shards, in a global order: {error}") from error
        self.prefetch.close()
        self.by_windows, self.prefetch = by_windows, prefetch

    def _prefetch(self, by_windows: bool) -> Prefetcher | NoPrefetch:
        in_turn = by_windows or not self._config.shuffle
        return prefetcher(self._source, self._config.window_shards if in_turn else None)

    def _number(self, by_windows: bool) -> int:
        config, shards = self._config, self._shards.manifest.shards
        windows = config.window_shards if by_windows and config.window_shards < len(shards) else 0
        drawn = (config.seed, windows) if config.shuffle else ()
        return zlib.crc32(repr((drawn, [fact.sha256 for fact in shards])).encode())
