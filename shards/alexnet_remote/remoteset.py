"""Remote shards (s3://, gs://, https://, anything fsspec reads), opened by the index beside them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_remote.beside import INDEX_ROW_BYTES, MANIFEST_BYTES, SLACK_BYTES, STATS_BYTES, fetch_beside
from alexnet_remote.cache import ShardCache
from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.remotefile import glob_of, size_of
from alexnet_remote.stop import Stop
from alexnet_remote.tries import RemoteFileMissingError
from alexnet_shards.address import WEB, Address
from alexnet_shards.errors import AlexnetError, FormatError, PatternError
from alexnet_shards.machine import most_open_files
from alexnet_shards.manifest import ShardFact, index_path, load_manifest, manifest_path, shards_of, split_of
from alexnet_shards.pattern import RANGE, Patterns, expand_ranges, listed_patterns
from alexnet_shards.shardset import ShardSet, choose_shards, join_sets, member_at
from alexnet_shards.shardset import open_shards as open_local_shards
from alexnet_shards.shown import public_address

SIZE_REQUESTS = 16


@dataclass(frozen=True, kw_only=True)
class RemoteShards:
    """Shards at `urls`, read through `cache`; `facts` say what each must be. A `stop` ends every wait."""

    cache: ShardCache
    urls: tuple[str, ...]
    facts: tuple[ShardFact, ...]
    stop: Stop

    @property
    def max_open(self) -> int:
        """As for local shards."""
        return most_open_files()

    @property
    def max_idle(self) -> int:
        """One: a file that is kept open would use disk after its eviction."""
        return 1

    def name(self, shard: int) -> str:
        """Its address as it may be shown."""
        return public_address(self.urls[shard])

    def open(self, shard: int) -> int:
        """A descriptor of the local copy of a shard, fetched if need be."""
        return self.cache.open(self.urls[shard], self.facts[shard], self.stop)

    def repair(self, shard: int) -> bool:
        """Replace the local copy of a shard if it is damaged; another thread may have done so since the read."""
        self.cache.repair(self.urls[shard], self.facts[shard], self.stop)
        return True


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteShardSet(ShardSet):
    """A ShardSet whose `paths` are addresses as they may be shown; `source` has them whole."""

    source: RemoteShards

    def key_of(self, row: int) -> str:
        """ "URL, KEY" of the sample of an index row."""
        shard, offset = int(self.rows["shard"][row]), int(self.rows["offset"][row])
        copy = self.source.cache.path_of(self.source.urls[shard], self.source.facts[shard])
        return f"{self.paths[shard]}, {member_at(str(copy), offset)}"


def open_shards(patterns: Patterns, cache: CacheConfig | None = None, *, split: str | None = None) -> ShardSet:
    """Open local shards as alexnet_shards.shardset does, or remote ones by URL patterns with the same ranges and globs.

    One pattern alone need not stand in a list.
    Of a folder those of `split` are meant: where it is remote, those that SPLIT.manifest.json there lists.
    Of remote shards the manifest and index beside them are fetched; the shards' sizes are compared where the store
    tells them. `cache` None takes CacheConfig.from_environment(). Raises AlexnetError as open_shards does, and as
    alexnet_remote.remotefile says.
    """
    patterns = listed_patterns(patterns)
    remote = [pattern for pattern in patterns if "://" in pattern]
    if not remote:
        return open_local_shards(patterns, split=split)
    if len(remote) < len(patterns):
        raise PatternError("local and remote shards in one pattern; name either")
    config = cache or CacheConfig.from_environment()
    return _open_urls(addresses_of(patterns, config, split), config)


def addresses_of(patterns: Sequence[str], config: CacheConfig, split: str | None) -> list[str]:
    """The addresses of the shards that remote `patterns` name; of a folder those of `split` are meant."""
    return [url for pattern in patterns for url in _expand(pattern, config, split)]


def is_folder(pattern: str) -> bool:
    """Whether a remote pattern is a folder's address; of what has a query, only with a slash before it.

    `train-00?.tar` on a web server is a glob that cannot be, not the folder `train-00`.
    """
    address = Address.parse(pattern)
    if address.query and address.name:
        return False
    return ".tar" not in address.name and not _is_glob(address) and RANGE.search(address.name) is None


def _open_urls(urls: Sequence[str], config: CacheConfig) -> RemoteShardSet:
    addresses = [Address.parse(url) for url in urls]
    if len({(address.folder, address.name) for address in addresses}) != len(urls):
        raise PatternError(f"{public_address(urls[0])}: a shard is named twice; every shard may be named once")
    groups: dict[tuple[str, str], list[Address]] = {}
    for address in addresses:
        groups.setdefault((address.folder, _split_of(address)), []).append(address)
    shard_cache = ShardCache(config=config)
    parts = [_open_split(split, chosen, shard_cache) for (_, split), chosen in groups.items()]
    joined = join_sets(parts)
    source = RemoteShards(cache=shard_cache, urls=joined.paths, facts=joined.manifest.shards, stop=Stop())
    return RemoteShardSet(**vars(joined) | {"paths": tuple(map(public_address, joined.paths))}, source=source)


class SplitMissingError(AlexnetError):
    """No shards of a split where they were looked for; the text says where, and what for."""


def file_beside(shards: ShardSet, name: str, max_bytes: int = STATS_BYTES) -> Path:
    """A small file beside `shards`, of which it need not be, or the copy of one.

    Raises RemoteFileMissingError where a store has none, and as alexnet_remote.remotefile says.
    """
    if not isinstance(shards, RemoteShardSet):
        return Path(split_of(shards.paths[0])[0]) / name
    place = replace(Address.parse(shards.source.urls[0]), name=name)
    return fetch_beside(place, shards.source.cache.config, max_bytes)


def split_beside(shards: ShardSet, split: str) -> ShardSet:
    """All shards of `split` beside `shards`; raises SplitMissingError where there are none, AlexnetError as open_shards.

    Only a store that says so has none: that it cannot be asked is an error.
    """
    if not isinstance(shards, RemoteShardSet):
        folder = Path(split_of(shards.paths[0])[0])
        if paths := shards_of(folder, split):
            return open_local_shards([str(path) for path in paths])
        raise SplitMissingError(f"{folder} holds no {split}-*.tar")
    place = replace(Address.parse(shards.source.urls[0]), name=manifest_path(Path(), split).name)
    config = shards.source.cache.config
    return _open_urls(_listed(place, config), config)


def _listed(place: Address, config: CacheConfig) -> list[str]:
    """Addresses of the shards that the manifest at `place` lists; raises SplitMissingError where there is none."""
    try:
        copy = fetch_beside(place, config, MANIFEST_BYTES)
    except RemoteFileMissingError as error:
        raise SplitMissingError(str(error)) from error
    try:
        return [replace(place, name=fact.name).url for fact in load_manifest(copy).shards]
    except FormatError as error:
        raise _of_address(error, copy, place) from error


def _of_address(error: FormatError, copy: Path, place: Address) -> FormatError:
    """The error of a copy that is as it came: what is wrong with it is wrong at its address."""
    return FormatError(str(error).replace(str(copy), public_address(place.url)))


def _expand(pattern: str, config: CacheConfig, split: str | None) -> list[str]:
    """Addresses of a pattern, or of a folder's shards."""
    address = Address.parse(pattern)
    if is_folder(pattern):
        return _in_folder(replace(address, folder=f"{address.folder}/{address.name}".rstrip("/")), split, config)
    return expand_address(pattern, config)


def is_file_pattern(pattern: str, suffixes: tuple[str, ...]) -> bool:
    """Whether an address is a file's with one of `suffixes`, or a pattern of some, and no folder's."""
    address = Address.parse(pattern)
    has_suffix = any(suffix in address.name.lower() for suffix in suffixes)
    return bool(address.name) and (has_suffix or _is_glob(address) or RANGE.search(address.name) is not None)


def expand_address(pattern: str, config: CacheConfig | None = None) -> list[str]:
    """Addresses of a pattern: ranges anywhere, globs in the name, or in an object store's folders too."""
    config, address = config or CacheConfig.from_environment(), Address.parse(pattern)
    try:
        folders = expand_ranges(address.folder)
    except PatternError:
        folders = [address.folder]  # braces that are part of a folder's name
    try:
        names = expand_ranges(address.name)
    except PatternError as error:
        raise PatternError(str(error).replace(address.name, public_address(pattern))) from error
    found = [replace(address, folder=folder, name=name) for folder in folders for name in names]
    return [url for one in found for url in (_glob(one, config) if _is_glob(one) else [one.url])]


def _in_folder(folder: Address, split: str | None, config: CacheConfig) -> list[str]:
    shown = public_address(folder.folder)
    if split is None:
        raise PatternError(f"{shown}: a remote folder; name its shards, as {shown}/train-{{000..999}}.tar")
    try:
        return _listed(replace(folder, name=manifest_path(Path(), split).name), config)
    except SplitMissingError as error:
        raise PatternError(
            f"{shown}: no {split} shards in this folder ({error}); name them, as {shown}/{split}-{{000..999}}.tar"
        ) from error


def _is_glob(address: Address) -> bool:
    return any(sign in address.name for sign in "*?[") or "*" in address.folder


def _glob(address: Address, config: CacheConfig) -> list[str]:
    shown = public_address(address.url)
    if "*" in address.folder and address.url.startswith(WEB):
        raise PatternError(f"{shown!r}: a glob in a web address can be in its last part alone; name the folder")
    try:
        matches = glob_of(address.url, config.patience, Stop())
    except RemoteFileMissingError as error:
        raise PatternError(
            f"{shown!r}: cannot be listed ({error}); use a range like {{000..999}} in place of the glob"
        ) from error
    if not matches:
        raise PatternError(
            f"{shown!r}: nothing there matches this glob; check the address, or use a range like {{000..999}}"
        )
    return matches


def _split_of(address: Address) -> str:
    try:
        return split_of(address.name)[1]
    except FormatError as error:
        question = "; a ? begins the query of a web address: use * or a range" if address.query else ""
        raise FormatError(
            f"{public_address(address.url)}: not a shard's name; expected SPLIT-NUMBER.tar, as train-000.tar{question}"
        ) from error


def _open_split(split: str, chosen: Sequence[Address], cache: ShardCache) -> ShardSet:
    first = chosen[0]
    manifest_place, index_place = (replace(first, name=of(Path(), split).name) for of in (manifest_path, index_path))
    try:
        manifest_file = fetch_beside(manifest_place, cache.config, MANIFEST_BYTES)
        try:
            manifest = load_manifest(manifest_file)
        except FormatError as error:
            raise _of_address(error, manifest_file, manifest_place) from error
        index_bytes = manifest.samples * INDEX_ROW_BYTES + SLACK_BYTES
        index_file = fetch_beside(index_place, cache.config, index_bytes, manifest.index_sha256)
    except RemoteFileMissingError as error:
        raise RemoteFileMissingError(
            f"{error}; make it with alexnet-prep index and upload it with the shards"
            + ("; each file of a signed address must be open to the same signature" if first.query else ""),
            error.hidden,
        ) from error
    sizes = _sizes([address.url for address in chosen], cache.config)
    names = {address.name: address for address in chosen}
    try:
        opened = choose_shards(manifest_file, index_file, [f"{a.folder}/{a.name}" for a in chosen], sizes)
    except FormatError as error:
        raise _of_address(_of_address(error, manifest_file, manifest_place), index_file, index_place) from error
    return replace(opened, paths=tuple(names[path.rpartition("/")[2]].url for path in opened.paths))


def _sizes(urls: Sequence[str], config: CacheConfig) -> dict[str, int]:
    """Bytes of each shard by file name, as far as the store tells; raises AlexnetError where one is missing."""
    stop = Stop()

    def size(url: str) -> int | None:
        try:
            return size_of(url, config.patience, stop)
        except RemoteFileMissingError as error:
            cause = str(error).partition("(")[2].rpartition(")")[0]
            raise PatternError(
                f"{public_address(url)}: no such shard ({cause}); upload it, or correct the pattern"
            ) from error

    with ThreadPoolExecutor(SIZE_REQUESTS) as pool:
        futures = [pool.submit(size, url) for url in urls]
        try:
            sizes = [future.result() for future in futures]
        except BaseException:
            stop.request()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    names = [Address.parse(url).name for url in urls]
    return {name: size for name, size in zip(names, sizes, strict=True) if size is not None}
