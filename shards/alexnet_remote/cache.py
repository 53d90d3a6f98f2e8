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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from alexnet_remote.cacheconfig import CacheConfig, own_folder
from alexnet_remote.outcome import LocalTroubleError
from alexnet_remote.remotefile import ShardSink, fetch
from alexnet_remote.stop import Stop
from alexnet_remote.tries import RemoteFileError, RemoteFileMissingError
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import replace_file
from alexnet_shards.locks import LockHeldError, locked, locked_file, same_file
from alexnet_shards.manifest import ShardFact
from alexnet_shards.shown import public_address

LOGGER = logging.getLogger(__name__)
WAIT_FOR_ROOM_SECONDS = 0.05
REMEMBERED_SECONDS = 60.0
PART_SUFFIX = ".part"
OWN_NAME = re.compile(r"([0-9a-f]{24})([0-9a-f]{8})-(.+)", re.DOTALL)
HASH_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ShardCache:
    """The cache as one process uses it; safe for threads, picklable.

    A `stop` ends every wait: for a transfer, between its tries, for another's transfer, for room.
    """

    config: CacheConfig
    _failed: dict[str, tuple[float, RemoteFileError]] = field(default_factory=dict, repr=False)
    _replaced: dict[str, int] = field(default_factory=dict, repr=False)
    _sound: set[tuple[str, int]] = field(default_factory=set, repr=False)

    def open(self, url: str, fact: ShardFact, stop: Stop | None = None) -> int:
        """A descriptor of the local copy of the shard at `url`, fetched first if need be; raises as `fetch` does.

        A copy that is not as it was left after its download is replaced, once.
        """
        while True:
            path = self.path_of(url, fact)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                self.fetch(url, fact, stop)
                continue
            damaged = self._damaged(descriptor, path, fact)
            if not damaged:
                _touch(path)
                return descriptor
            inode = os.fstat(descriptor).st_ino
            os.close(descriptor)
            self._replace(url, fact, stop, inode)

    def repair(self, url: str, fact: ShardFact, stop: Stop | None = None) -> bool:
        """Read the local copy of a shard, in which a sample is bad, as a whole; True if the copy was and is replaced."""
        descriptor = self.open(url, fact, stop)
        try:
            inode, known = os.fstat(descriptor).st_ino, self.path_of(url, fact).name
            if (known, inode) in self._sound:
                return False
            if _sha256_of(descriptor) == fact.sha256:
                self._sound.add((known, inode))
                return False
        finally:
            os.close(descriptor)
        self._replace(url, fact, stop, inode)
        return True

    def path_of(self, url: str, fact: ShardFact) -> Path:
        """Where the shard's copy lies or will lie; its name changes with its content."""
        digits = hashlib.sha256(f"{url}\n{fact.sha256}".encode()).hexdigest()[:24]
        return self.config.shards / f"{digits}{_check_digits(digits, fact.name)}-{fact.name}"

    def fetch(self, url: str, fact: ShardFact, stop: Stop | None = None, damaged_inode: int = 0) -> Path:
        """Have the shard at `url` in the cache; waits where another thread or process fetches it.

        A copy that is `damaged_inode` is replaced. Raises RemoteFileError where it cannot be fetched or is not what
        `fact` says, for all threads that ask within a minute by the tries of one; LocalTroubleError where it cannot be
        kept; AlexnetError where it is larger than the cache.
        """
        path, stop = self.path_of(url, fact), stop or Stop()
        own_folder(self.config, path.parent)
        part_path = path.with_name(path.name + PART_SUFFIX)
        with _locked_part(part_path, stop) as part:
            try:
                if _inode(path) not in (0, damaged_inode):
                    _touch(path)
                    return path
                self._check_failed(path.name)
                self._reserve(part, fact, url, stop)
                self._download(part, path, url, fact, stop)
                with locked(path.parent):  # or who lists the directory meanwhile may see neither name
                    replace_file(part_path, path)
            finally:
                if same_file(part, part_path):
                    part_path.unlink()
        return path

    def _damaged(self, descriptor: int, path: Path, fact: ShardFact) -> bool:
        """Whether an open copy is not what the cache left there."""
        stat = os.fstat(descriptor)
        if stat.st_size != fact.bytes or abs(stat.st_mtime - _stamp_seconds(fact)) > 2:  # FAT keeps even seconds
            return True
        if not self.config.verify or (path.name, stat.st_ino) in self._sound:
            return False
        if _sha256_of(descriptor) != fact.sha256:
            return True
        self._sound.add((path.name, stat.st_ino))
        return False

    def _replace(self, url: str, fact: ShardFact, stop: Stop | None, inode: int) -> None:
        path = self.path_of(url, fact)
        if self._replaced.get(path.name, inode) != inode:
            raise LocalTroubleError(
                f"{path}: this copy has changed again after it was replaced; "
                "check the disk, and whether another program writes there"
            )
        if path.name not in self._replaced:
            LOGGER.warning(
                "%s: the local copy of %s has changed since its download and is fetched again (%d replaced so far)",
                path,
                public_address(url),
                len(self._replaced) + 1,
            )
        self._replaced[path.name] = inode
        self.fetch(url, fact, stop, inode)

    def _check_failed(self, name: str) -> None:
        """Raise what the tries of another thread have just ended with."""
        when, failure = self._failed.get(name, (-math.inf, None))
        if failure is not None and time.monotonic() - when < REMEMBERED_SECONDS:
            raise type(failure)(str(failure)) from failure

    def _reserve(self, part: BinaryIO, fact: ShardFact, url: str, stop: Stop) -> None:
        """Take the room of a shard; where other downloads have it, wait until they end and can be evicted."""
        if fact.bytes > self.config.max_bytes:
            raise AlexnetError(
                f"{public_address(url)}: {fact.bytes} bytes do not fit the cache {self.config.home} of "
                f"{self.config.max_bytes} bytes; raise ALEXNET_CACHE_GIB"
            )
        while not self._take_room(part, fact.bytes):
            stop.sleep(WAIT_FOR_ROOM_SECONDS)

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

    def _download(self, part: BinaryIO, path: Path, url: str, fact: ShardFact, stop: Stop) -> None:
        """Fill the part file, which keeps its size whatever comes: that is the room it has taken."""
        sink = ShardSink(part, path, (fact.bytes, fact.sha256))
        try:
            fetch(url, sink, self.config.patience, stop)
        except RemoteFileMissingError as error:
            raise RemoteFileMissingError(f"{error}; upload it, or name shards that are there", error.hidden) from error
        except RemoteFileError as error:
            self._failed[path.name] = (time.monotonic(), error)
            raise
        self._failed.pop(path.name, None)
        try:
            os.fsync(part.fileno())
            os.utime(part.fileno(), (time.time(), _stamp_seconds(fact)))
        except OSError as error:
            raise sink.local_trouble(error) from error


def _stamp_seconds(fact: ShardFact) -> int:
    """The time of change that a copy gets, an even second of 2001 to 2035 that its content names.

    Whoever writes to the copy changes it.
    """
    return 1_000_000_000 + 2 * (int(fact.sha256[:7] or "0", 16) if _is_hex(fact.sha256[:7]) else 0)


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]+", text) is not None


def _sha256_of(descriptor: int) -> str:
    digest, place = hashlib.sha256(), 0
    while piece := os.pread(descriptor, HASH_BYTES, place):
        digest.update(piece)
        place += len(piece)
    return digest.hexdigest()


@contextmanager
def _locked_part(path: Path, stop: Stop) -> Iterator[BinaryIO]:
    """The part file, open and locked; waits for the lock."""
    with ExitStack() as stack:
        while True:
            try:
                part = stack.enter_context(locked_file(path, wait=False))
            except LockHeldError:
                stop.sleep(WAIT_FOR_ROOM_SECONDS)
            else:
                break
        yield part


def _inode(path: Path) -> int:
    """The inode of a copy, 0 where there is none."""
    with suppress(FileNotFoundError):
        stat = path.lstat()
        return stat.st_ino if S_ISREG(stat.st_mode) else 0
    return 0


def _touch(path: Path) -> None:
    """Note the use of a copy, so that it is evicted late: by its time of access, as that of change is its stamp."""
    # Another user's copy cannot be touched, and one that was just evicted need not be.
    with suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


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
                yield _CachedFile(stat.st_atime_ns, stat.st_size, stat.st_ino, path)


def _remove(path: Path) -> bool:
    """Remove a cached file, or a part file unless somebody downloads to it; says whether it is gone."""
    if path.suffix != PART_SUFFIX:
        path.unlink(missing_ok=True)
        return True
    with suppress(FileNotFoundError, BlockingIOError), path.open("r+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if same_file(part, path):
            path.unlink()
        return True
    return False
