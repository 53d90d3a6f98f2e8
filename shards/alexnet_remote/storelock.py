"""The lock of a folder in a store: an object that says who works there, made where there is none, and kept fresh.

A store has no locks that end with their owner. What is guarded: of two owners that begin at once one gets the lock, where
the store has conditional writes (S3, Google and Azure have); an owner notices that its lock is gone. What is not: an owner
that hangs for longer than the lock's life and then goes on, until it notices; a store without conditional writes, which is
said.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alexnet_remote.outcome import MissingError, TransportError
from alexnet_remote.stop import Stop
from alexnet_remote.store import GOOGLE, S3, filesystem_of
from alexnet_remote.tries import Patience, RemoteFileError, Tries, patiently
from alexnet_remote.upload import apart, check_writable, remove_file, write_errors
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.parsing import Where, check_fields, field_types, parse_json
from alexnet_shards.shown import printable, public_address

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)
LIFE_SECONDS = 300.0  # an owner that has said nothing for so long is taken for dead
REFRESH_SECONDS = 30.0
MAX_LOCK_BYTES = 4096
NO_GENERATION = "0"  # of an object of Google's store that is not there


class StoreLockHeldError(RemoteFileError):
    """A folder in a store that another process works in."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lock: a process of a host that was booted as `boot`, begun at its `start`; `token` is the lock's own.

    Containers of one host count their processes each for itself, so that `boot` also says which of them counts.
    """

    pid: int
    host: str
    boot: str
    start: str
    token: str

    @classmethod
    def this_process(cls) -> "Owner":
        """This one, with a new token."""
        pid = os.getpid()
        return cls(pid=pid, host=socket.gethostname(), boot=_boot(), start=_started(pid), token=secrets.token_hex(16))

    def is_dead(self) -> bool:
        """Whether it was a process of this boot of this machine that has ended; False where that cannot be known."""
        return (
            self.host == socket.gethostname()
            and bool(self.boot)
            and self.boot == _boot()
            and _started(self.pid) != self.start
        )


OWNER_TYPES = field_types(Owner)
LOCK = Where(path=Path("lock"), what="lock", remedy="it is taken for none")


@contextmanager
def store_lock(url: str, patience: Patience, stop: Stop) -> Iterator["StoreLock"]:
    """Hold the lock object at `url` while the block lasts; raises StoreLockHeldError where another process does."""
    check_writable(url)
    lock = StoreLock(url, patience, stop)
    lock.take()
    try:
        yield lock
    finally:
        lock.give_back()


def check_store_lock(url: str, patience: Patience, stop: Stop) -> None:
    """Raise StoreLockHeldError where a living process holds the lock object at `url`."""
    StoreLock(url, patience, stop).check_free()


def create_object(url: str, content: bytes, patience: Patience, stop: Stop) -> bool:
    """Write a small object where there is none; False where there is one."""

    def create() -> bool:
        with write_errors(url):
            filesystem, place = filesystem_of(url)
            try:
                if url.startswith(S3):
                    return _put_if(filesystem, place, content, {"IfNoneMatch": "*"})
                if url.startswith(GOOGLE):
                    return _put_if_google(filesystem, place, content, NO_GENERATION)
                if not url.startswith("memory://"):
                    filesystem.pipe_file(place, content, mode="create")
                    return True
            except FileExistsError:
                return False
            except NotImplementedError:
                pass
            _say_unguarded(url)
            if filesystem.exists(place):
                return False
            filesystem.pipe_file(place, content)
            return True

    tries = Tries(url=url, patience=patience, stop=stop, use="write")
    return patiently(tries, lambda: apart(create, url, patience, stop))


class StoreLock:
    """A lock object; `check` raises once it is no longer this process's."""

    def __init__(self, url: str, patience: Patience, stop: Stop) -> None:
        self._url, self._patience, self._stop = url, patience, stop
        self._owner = Owner.this_process()
        self._ended = threading.Event()
        self._lost = ""

    def take(self) -> None:
        """Get the lock, from a dead owner too."""
        if not self._create() and not self._is_mine():
            tag = self.check_free()
            if not self._replace(tag, another=True):
                raise StoreLockHeldError(
                    f"{public_address(self._url)}: another process has just begun there; wait for it"
                )
        found, _, _ = self._look()
        if found != self._owner:
            raise StoreLockHeldError(f"{public_address(self._url)}: another process has just begun there; wait for it")
        threading.Thread(target=self._keep_fresh, daemon=True, name="alexnet-lock").start()

    def check_free(self) -> str:
        """The tag of a lock whose owner is dead, "" without one.

        Raises StoreLockHeldError where a process holds it, or what is there is none of ours.
        """
        found, tag, age_seconds = self._look()
        if found is None and tag:
            raise StoreLockHeldError(f"{public_address(self._url)}: is no lock that this version knows; move it away")
        if found is None or found.is_dead():
            return tag
        if age_seconds >= LIFE_SECONDS:
            age_seconds -= self._age_of_new()
        if age_seconds < LIFE_SECONDS:
            raise StoreLockHeldError(
                f"{public_address(self._url)}: process {found.pid} on {printable(found.host)} works there; wait until "
                f"it ends, or, if it was killed, {LIFE_SECONDS - age_seconds:.0f} s more, or take another --out"
            )
        return tag

    def _age_of_new(self) -> float:
        """Seconds since a file was written that is written now: by how much this machine's clock is ahead of the store's."""
        beside = StoreLock(f"{self._url}.{secrets.token_hex(4)}.clock", self._patience, self._stop)
        beside._create()
        try:
            return beside._look()[2]
        finally:
            remove_file(beside._url, self._patience, self._stop)

    def check(self) -> None:
        """Look at the lock; raise StoreLockHeldError where another process has taken it."""
        if not self._lost and not self._is_mine():
            self._lose()
        if self._lost:
            raise StoreLockHeldError(self._lost)

    def _lose(self) -> None:
        self._lost = f"{public_address(self._url)}: the lock was taken by another process; look what works there"

    def give_back(self) -> None:
        """Remove the lock, if it is still this process's."""
        self._ended.set()
        with suppress(AlexnetError):  # it ends by itself
            if not self._lost and self._is_mine():
                remove_file(self._url, self._patience, self._stop)

    @property
    def _content(self) -> bytes:
        return json.dumps(asdict(self._owner)).encode()

    def _create(self) -> bool:
        """Write the lock where there is none; False where there is one."""
        return create_object(self._url, self._content, self._patience, self._stop)

    def _replace(self, tag: str, another: bool = False) -> bool:
        """Write the lock over one whose tag is `tag`, `another` owner's; False where another process was faster."""

        def replace() -> bool:
            with write_errors(self._url):
                filesystem, place = filesystem_of(self._url)
                if self._url.startswith(S3):
                    return _put_if(filesystem, place, self._content, {"IfMatch": tag} if tag else {"IfNoneMatch": "*"})
                if self._url.startswith(GOOGLE):
                    return _put_if_google(filesystem, place, self._content, tag or NO_GENERATION)
                if not another:
                    filesystem.pipe_file(place, self._content)
                    return True
                if filesystem.exists(place):
                    filesystem.rm_file(place)
            return self._create()

        return self._patiently(replace)

    def _is_mine(self) -> bool:
        """Whether the lock has this process's token: where an answer is lost, a library asks twice, and is refused then."""
        return self._look()[0] == self._owner

    def _look(self) -> tuple[Owner | None, str, float]:
        """(owner, tag, seconds since it was written) of the lock that is there; owner None where there is none, or one
        that cannot be read."""

        def look() -> tuple[Owner | None, str, float]:
            with write_errors(self._url):
                filesystem, place = filesystem_of(self._url)
                info = filesystem.info(place)
                content = filesystem.cat_file(place, start=0, end=MAX_LOCK_BYTES)
            return _owner_of(content), str(info.get("ETag") or info.get("generation") or ""), _age_seconds(info)

        try:
            return self._patiently(look)
        except RemoteFileError as error:
            if isinstance(error.__cause__, MissingError):
                return None, "", 0.0
            raise

    def _keep_fresh(self) -> None:
        """Write the lock again and again, so that its age says that its owner lives."""
        while not self._ended.wait(REFRESH_SECONDS):
            with suppress(AlexnetError, TransportError):  # the next turn may do better
                found, tag, _ = self._look()
                if found != self._owner or not (self._replace(tag) or self._is_mine()):
                    self._lose()
                    return

    def _patiently(self, work: Callable[[], T]) -> T:
        tries = Tries(url=self._url, patience=self._patience, stop=self._stop, use="lock")
        return patiently(tries, lambda: apart(work, self._url, self._patience, self._stop))


def _put_if(filesystem: Any, place: str, content: bytes, condition: dict[str, str]) -> bool:
    """Write to S3 under a condition; False where it does not hold."""
    from botocore.exceptions import ClientError

    bucket, key, _ = filesystem.split_path(place)
    try:
        filesystem.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
    except (OSError, ClientError) as error:
        response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
        code = response.get("Error", {}).get("Code", "")
        if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            return False
        if code in ("NotImplemented", "501"):
            _say_unguarded(place)
            filesystem.call_s3("put_object", Bucket=bucket, Key=key, Body=content)
            return True
        raise
    return True


def _put_if_google(filesystem: Any, place: str, content: bytes, generation: str) -> bool:
    """Write to Google's store over an object of this generation; False where what is there is another."""
    bucket, key, _ = filesystem.split_path(place)
    url = f"{filesystem.base.replace('/storage/v1/', '/upload/storage/v1/')}b/{quote(bucket, safe='')}/o"
    kind = {"Content-Type": "application/octet-stream"}
    condition = {"uploadType": "media", "name": key, "ifGenerationMatch": generation}
    try:
        filesystem.call("POST", url, data=content, headers=kind, **condition)
    except FileExistsError:
        return False
    return True


def _say_unguarded(url: str) -> None:
    LOGGER.warning(
        "%s: this store has no conditional writes: let no two commands write there at once", public_address(url)
    )


def _owner_of(content: bytes) -> Owner | None:
    with suppress(FormatError, TypeError):
        return Owner(**check_fields(Owner, parse_json(content, LOCK), OWNER_TYPES))
    return None


def _age_seconds(info: dict[str, Any]) -> float:
    """Seconds since a file was written, by what fsspec says of it; 0 where it does not say."""
    written = next(
        (info[name] for name in ("LastModified", "mtime", "last_modified", "created") if info.get(name)), None
    )
    if isinstance(written, datetime):
        written = written.timestamp()
    return max(0.0, time.time() - written) if isinstance(written, float) else 0.0


def _boot() -> str:
    with suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _started(pid: int) -> str:
    """When a process of this machine began, "" where there is none."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    return ""
