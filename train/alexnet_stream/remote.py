"""Remote shards (s3://, gs://, https://, anything fsspec reads): opened by their index, fetched ahead of need."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import AlexnetError, PatternError
from alexnet_shards.files import atomic_file
from alexnet_shards.manifest import ShardFact, index_path, load_manifest, manifest_path, shards_of, split_of
from alexnet_shards.pattern import expand_ranges
from alexnet_shards.shardset import ShardSet, choose_shards, join_sets, member_at
from alexnet_shards.shardset import open_shards as open_local_shards
from alexnet_stream.cache import CacheConfig, ShardCache, filesystem_of, open_url, own_folder, transient_errors

DOWNLOADS = 4
SIZE_REQUESTS = 16


class RemoteFileMissingError(AlexnetError):
    """A file that belongs to remote shards is not beside them."""


@dataclass(frozen=True, kw_only=True)
class RemoteShards:
    """Shards at `urls`, read through `cache`; `facts` say what each must be."""

    cache: ShardCache
    urls: tuple[str, ...]
    facts: tuple[ShardFact, ...]

    @property
    def max_open(self) -> int:
        """One: a file that is kept open would use disk after its eviction."""
        return 1

    def open(self, shard: int) -> int:
        """A descriptor of the local copy of a shard, fetched if need be."""
        return self.cache.open(self.urls[shard], self.facts[shard])


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteShardSet(ShardSet):
    """A ShardSet whose `paths` are URLs."""

    source: RemoteShards

    def key_of(self, row: int) -> str:
        """ "URL, KEY" of the sample of an index row."""
        shard, offset = int(self.rows["shard"][row]), int(self.rows["offset"][row])
        url = self.paths[shard]
        copy = self.source.cache.path_of(url, self.source.facts[shard])
        return f"{url}, {member_at(str(copy), offset)}"


def open_shards(patterns: Sequence[str], cache: CacheConfig | None = None) -> ShardSet:
    """Open local shards as alexnet_shards.shardset does, or remote ones by URL patterns with the same ranges and globs.

    Of remote shards the manifest and index beside them are fetched; the shards' sizes are compared where the store
    tells them. `cache` None takes CacheConfig.from_environment(). Raises AlexnetError as open_shards does.
    """
    remote = [pattern for pattern in patterns if "://" in pattern]
    if not remote:
        return open_local_shards(patterns)
    if len(remote) < len(patterns):
        raise PatternError("local and remote shards in one pattern; name either")
    urls = [url for pattern in patterns for url in _expand(pattern)]
    if len(set(urls)) != len(urls):
        raise PatternError(f"{patterns[0]!r}: a shard is named twice; every shard may be named once")
    shard_cache = ShardCache(config=cache or CacheConfig.from_environment())
    groups = dict.fromkeys(split_of(url) for url in urls)
    parts = [_open_split(directory, split, urls, shard_cache) for directory, split in groups]
    joined = join_sets(parts)
    source = RemoteShards(cache=shard_cache, urls=joined.paths, facts=joined.manifest.shards)
    return RemoteShardSet(**vars(joined), source=source)


def open_split(directory: str, split: str, cache: CacheConfig | None = None) -> ShardSet | None:
    """All shards of `split` in a directory or at a URL, None where there are none; raises AlexnetError as open_shards."""
    if "://" not in directory:
        paths = [str(path) for path in shards_of(Path(directory), split)]
        return open_local_shards(paths) if paths else None
    try:
        manifest = load_manifest(file_beside(directory, manifest_path(Path(), split).name, cache))
    except RemoteFileMissingError:
        return None
    return open_shards([f"{directory}/{fact.name}" for fact in manifest.shards], cache)


def file_beside(directory: str, name: str, cache: CacheConfig | None = None) -> Path:
    """A small file of a directory, or the copy of one at a URL; raises AlexnetError where the URL has none."""
    if "://" not in directory:
        return Path(directory) / name
    config = cache or CacheConfig.from_environment()
    folder = own_folder(config, config.meta / hashlib.sha256(directory.encode()).hexdigest()[:24])
    copy = folder / name
    _fetch_small(f"{directory}/{name}", copy)
    return copy


def _expand(pattern: str) -> list[str]:
    names = expand_ranges(pattern)
    if len(names) > 1 or not any(sign in pattern for sign in "*?["):
        return names
    protocol = pattern.partition("://")[0]
    filesystem, path = filesystem_of(pattern)
    try:
        matches = sorted(filesystem.glob(path))
    except transient_errors() as error:
        raise PatternError(f"{pattern!r}: cannot be listed ({error}); use a range like {{000..999}}") from error
    if not matches:
        raise PatternError(f"{pattern!r}: nothing there matches this glob; check the address")
    return [match if "://" in match else f"{protocol}://{match}" for match in matches]


def _open_split(directory: str, split: str, urls: Sequence[str], cache: ShardCache) -> ShardSet:
    names = [of(Path(), split).name for of in (manifest_path, index_path)]
    manifest_file, index_file = (file_beside(directory, name, cache.config) for name in names)
    chosen = [url for url in urls if split_of(url) == (directory, split)]
    return choose_shards(manifest_file, index_file, chosen, _sizes(chosen))


def _fetch_small(url: str, path: Path) -> None:
    try:
        with atomic_file(path) as file, open_url(url) as source:
            file.write(source.read())
    except FileNotFoundError as error:
        raise RemoteFileMissingError(
            f"{url}: not there; make it with alexnet-prep (index, compute-stats) and upload it with the shards"
        ) from error
    except transient_errors() as error:
        raise AlexnetError(f"{url}: cannot be fetched ({error}); check the address and its access") from error


def _sizes(urls: Sequence[str]) -> dict[str, int]:
    """Bytes of each shard by file name, as far as the store tells; raises AlexnetError where one is missing."""

    def size_of(url: str) -> int | None:
        filesystem, path = filesystem_of(url)
        try:
            size: int | None = filesystem.info(path).get("size")
        except FileNotFoundError as error:
            raise PatternError(f"{url}: no such shard; upload it, or correct the pattern") from error
        except transient_errors() as error:
            raise AlexnetError(f"{url}: cannot be looked up ({error}); check the network and the access") from error
        return size

    with ThreadPoolExecutor(SIZE_REQUESTS) as pool:
        sizes = pool.map(size_of, urls)
        return {url.rpartition("/")[2]: size for url, size in zip(urls, sizes, strict=True) if size is not None}


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
            # A failure is not lost: whoever reads the shard tries again and reports.
            self._futures.append(self._pool.submit(self._source.cache.fetch, url, fact))
        self._begun = max(self._begun, min(due, len(self._order)))

    def close(self) -> None:
        """Begin no more downloads and wait for those under way."""
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


def prefetcher(shards: ShardSet, window_shards: int | None) -> Prefetcher | NoPrefetch:
    """What fetches the shards of a stream whose windows hold `window_shards`, None for a global order.

    Raises AlexnetError where the cache cannot hold what is read at a time: two windows, or all shards.
    """
    if not isinstance(shards, RemoteShardSet):
        return NoPrefetch()
    config, sizes = shards.source.cache.config, sorted((fact.bytes for fact in shards.source.facts), reverse=True)
    at_once = len(sizes) if window_shards is None else min(2 * window_shards, len(sizes))
    needed = sum(sizes[:at_once])
    if needed > config.max_bytes:
        reading = "a global order" if window_shards is None else f"windows of {window_shards} shards"
        raise AlexnetError(
            f"{config.home}: a cache of {config.max_bytes} bytes, but {reading} need {needed}; "
            "raise ALEXNET_CACHE_GIB, or read in windows of fewer shards"
        )
    # The window at hand counts as begun at its first sample, so a window ahead is what is fetched beside it.
    return Prefetcher(shards.source, at_once if window_shards is None else window_shards)
