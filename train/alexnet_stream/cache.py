"""A local cache of remote shards, bounded in size and shared by the processes of a host.

All of it lies in a folder `remote` of its own. Only files whose name shows that the cache wrote them are counted and
evicted: what else lies there is somebody's, and stays.

A shard's file appears whole and verified or not at all. Its `.part` file is its lock: whoever holds the lock downloads,
and the system gives the lock back when its owner ends, however it ends. What is evicted while another process reads it
stays readable there.
"""

import fcntl
import hashlib
import logging
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import fsspec

from alexnet_shards.errors import AlexnetError
from alexnet_shards.locks import locked
from alexnet_shards.manifest import ShardFact
from alexnet_shards.native import cache_home

LOGGER = logging.getLogger(__name__)
PIECE_BYTES = 8 << 20
WAIT_FOR_ROOM_SECONDS = 0.05
PART_SUFFIX = ".part"
OWN_NAME = re.compile(r"([0-9a-f]{24})([0-9a-f]{8})-(.+)", re.DOTALL)
GIB = 1 << 30
MAX_GIB = 1 << 20
OWN_FOLDER = "remote"


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """How remote shards are kept and fetched: at most `max_bytes`, `retries` after a failed download.

    `home` is a folder that others may use too; the cache's own folder is `remote` in it.
    """

    home: Path
    max_bytes: int
    retries: int = 4
    first_wait_seconds: float = 1.0

    @property
    def shards(self) -> Path:
        """The folder of the shards' copies."""
        return self.home / OWN_FOLDER / "shards"

    @property
    def meta(self) -> Path:
        """The folder of copies of the small files beside shards; they are not evicted."""
        return self.home / OWN_FOLDER / "meta"

    @classmethod
    def from_environment(cls) -> Self:
        """ALEXNET_CACHE (a directory; else the user's cache home) and ALEXNET_CACHE_GIB (else 64).

        Raises AlexnetError where one of them cannot be used.
        """
        gib = os.environ.get("ALEXNET_CACHE_GIB") or "64"
        try:
            size = float(gib)
        except ValueError:
            size = math.nan
        if not 0 < size <= MAX_GIB:
            raise AlexnetError(f"ALEXNET_CACHE_GIB is {gib!r}; expected a number of GiB, above 0 and up to {MAX_GIB:,}")
        return cls(home=_home_of_environment(), max_bytes=int(size * GIB))


def _home_of_environment() -> Path:
    named = os.environ.get("ALEXNET_CACHE")
    if not named:
        return cache_home()
    try:
        home = Path(named).expanduser().absolute()
    except RuntimeError as error:
        raise AlexnetError(f"ALEXNET_CACHE is {named!r}: {error}; name a folder by its whole path") from error
    if home.exists() and not home.is_dir():
        raise AlexnetError(
            f"ALEXNET_CACHE is {named!r}, which is no folder; name a folder, it is made where it is missing"
        )
    return home


def own_folder(config: CacheConfig, folder: Path) -> Path:
    """`folder` of the cache, made where it is missing, for this user alone.

    Raises AlexnetError where it cannot be made, or is a link: whoever laid it may lead what is written to other files.
    """
    for path in (config.home, config.home / OWN_FOLDER, folder):
        if path.is_symlink():
            raise AlexnetError(f"{path}: a link; the cache is kept in a real folder: name it in ALEXNET_CACHE")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AlexnetError(
            f"{folder}: the cache cannot be made there ({error.strerror}); name a writable folder in ALEXNET_CACHE"
        ) from error
    return folder


@dataclass(frozen=True, kw_only=True)
class ShardCache:
    """The cache as one process uses it; safe for threads."""

    config: CacheConfig

    def open(self, url: str, fact: ShardFact) -> int:
        """A descriptor of the local copy of the shard at `url`, fetched first if need be; raises as `fetch` does."""
        while True:
            path = self.path_of(url, fact)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self.fetch(url, fact)
                continue
            _touch(path)
            return descriptor

    def path_of(self, url: str, fact: ShardFact) -> Path:
        """Where the shard's copy lies or will lie; its name changes with its content."""
        digits = hashlib.sha256(f"{url}\n{fact.sha256}".encode()).hexdigest()[:24]
        return self.config.shards / f"{digits}{_check_digits(digits, fact.name)}-{fact.name}"

    def fetch(self, url: str, fact: ShardFact) -> Path:
        """Have the shard at `url` in the cache; waits where another thread or process fetches it.

        Raises AlexnetError where it cannot be fetched, is not what `fact` says, or is larger than the cache.
        """
        path = self.path_of(url, fact)
        own_folder(self.config, path.parent)
        part_path = path.with_name(path.name + PART_SUFFIX)
        with _locked_part(part_path) as part:
            try:
                if not _touch(path):
                    self._reserve(part, fact, url)
                    self._download(part, url, fact)
                    with locked(path.parent):  # or who lists the directory meanwhile may see neither name
                        part_path.replace(path)
            finally:
                if _same_file(part, part_path):
                    part_path.unlink()
        return path

    def _reserve(self, part: BinaryIO, fact: ShardFact, url: str) -> None:
        """Take the room of a shard; where other downloads have it, wait until they end and can be evicted."""
        if fact.bytes > self.config.max_bytes:
            raise AlexnetError(
                f"{url}: {fact.bytes} bytes do not fit the cache {self.config.home} of "
                f"{self.config.max_bytes} bytes; raise ALEXNET_CACHE_GIB"
            )
        while not self._take_room(part, fact.bytes):
            time.sleep(WAIT_FOR_ROOM_SECONDS)

    def _take_room(self, part: BinaryIO, size: int) -> bool:
        """Make room, oldest use first, and take it by giving the part file its final size."""
        with locked(self.config.shards):
            own = os.fstat(part.fileno()).st_ino
            kept = sorted(file for file in _own_files(self.config.shards) if file.inode != own)
            room = self.config.max_bytes - sum(file.size for file in kept)
            for file in kept:
                if room >= size:
                    break
                if _remove(file.path):
                    room += file.size
            if room >= size:
                part.truncate(size)
            return room >= size

    def _download(self, part: BinaryIO, url: str, fact: ShardFact) -> None:
        wait_seconds = self.config.first_wait_seconds
        for attempt in range(self.config.retries + 1):
            try:
                found = _copy(url, part, fact.bytes)
            except (FileNotFoundError, PermissionError) as error:
                problem = f"{type(error).__name__}: {error}".splitlines()[0]
                raise AlexnetError(f"{url}: {problem}; check the address and its access") from error
            except transient_errors() as error:
                problem = f"{type(error).__name__}: {error}".splitlines()[0]
            else:
                if found == (fact.bytes, fact.sha256):
                    os.fsync(part.fileno())
                    return
                problem = f"{found[0]} bytes, sha256 {found[1][:12]}; expected {fact.bytes}, {fact.sha256[:12]}"
            if attempt < self.config.retries:
                LOGGER.warning("%s: %s; again in %.0f s", url, problem, wait_seconds)
                time.sleep(wait_seconds)
                wait_seconds *= 2
        raise AlexnetError(
            f"{url}: {problem} after {self.config.retries + 1} downloads; check the store and the network"
        )


def _copy(url: str, part: BinaryIO, expected_bytes: int) -> tuple[int, str]:
    """Copy `url` over the part file, piece by piece, and stop where it is too long; returns (bytes, sha256 in hex).

    The part file keeps its size, whatever comes: that is the room it has taken.
    """
    digest, size = hashlib.sha256(), 0
    part.seek(0)
    with open_url(url) as source:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            if size > expected_bytes:
                break
            part.write(piece)
    part.flush()
    return size, digest.hexdigest()


def open_url(url: str) -> Any:
    """Open `url` for reading from its beginning to its end; raises AlexnetError for a protocol that is not installed."""
    filesystem, path = filesystem_of(url)
    # Web servers need not support ranges, so one request streams; object stores are read by large ranges.
    options = {"block_size": 0} if url.startswith(("http://", "https://")) else {"cache_type": "none"}
    return filesystem.open(path, "rb", **options)


def filesystem_of(url: str) -> tuple[Any, str]:
    """fsspec's file system of `url` and the path there."""
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise AlexnetError(f"{url}: {error}; install what reads this address, as s3fs or gcsfs") from error
    return filesystem, path


def transient_errors() -> tuple[type[Exception], ...]:
    """What a network raises on a bad day, by the libraries that are installed."""
    errors: list[type[Exception]] = [OSError, EOFError]
    with suppress(ImportError):
        from aiohttp import ClientError

        errors.append(ClientError)
    with suppress(ImportError):
        from botocore.exceptions import BotoCoreError
        from botocore.exceptions import ClientError as ServiceError

        errors += [BotoCoreError, ServiceError]
    return tuple(errors)


@contextmanager
def _locked_part(path: Path) -> Iterator[BinaryIO]:
    """The part file, open and locked; waits for the lock."""
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            # Whoever held the lock before may have renamed or removed the file: then this lock is of no use.
            if _same_file(part, path):
                yield part
                return


def _same_file(part: BinaryIO, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.fstat(part.fileno()).st_ino == path.stat().st_ino
    return False


def _touch(path: Path) -> bool:
    """Note the use of a cached file, so that it is evicted late; False where it is not there."""
    with suppress(FileNotFoundError):
        os.utime(path)
        return True
    return False


@dataclass(frozen=True, order=True)
class _CachedFile:
    """A file of the cache; the one used longest ago sorts first."""

    used_ns: int
    size: int
    inode: int
    path: Path


def _check_digits(digits: str, name: str) -> str:
    """What marks a file as the cache's own: no other file has these digits in its name by chance."""
    return hashlib.sha256(f"alexnet-cache\n{digits}\n{name}".encode()).hexdigest()[:8]


def _is_own(name: str) -> bool:
    match = OWN_NAME.fullmatch(name.removesuffix(PART_SUFFIX))
    return match is not None and _check_digits(match[1], match[3]) == match[2]


def _own_files(directory: Path) -> Iterator[_CachedFile]:
    """The files that the cache wrote; strangers in its folder are neither counted nor touched."""
    for path in directory.iterdir():
        with suppress(FileNotFoundError):  # renamed or removed meanwhile
            if _is_own(path.name) and path.is_file() and not path.is_symlink():
                stat = path.stat()
                yield _CachedFile(stat.st_mtime_ns, stat.st_size, stat.st_ino, path)


def _remove(path: Path) -> bool:
    """Remove a cached file, or a part file unless somebody downloads to it; says whether it is gone."""
    if path.suffix != PART_SUFFIX:
        path.unlink(missing_ok=True)
        return True
    with suppress(FileNotFoundError, BlockingIOError), path.open("r+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _same_file(part, path):
            path.unlink()
        return True
    return False
