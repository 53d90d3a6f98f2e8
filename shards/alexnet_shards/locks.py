"""Locks between processes, also of several hosts; the system gives them back when their owner ends, however it ends.

A file system that has no locks is no obstacle: that is said in a line, and the work goes on.
"""

import errno
import fcntl
import functools
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from alexnet_shards.errors import FileError, file_error
from alexnet_shards.files import worded

LOGGER = logging.getLogger(__name__)
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
LOCK_NAME = ".alexnet-lock"
MAX_OWNER_BYTES = 4096


class LockHeldError(FileError):
    """A lock that another process holds; `owner` is "PID on HOST", "?" where that is not known."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path}: held by process {owner}; wait until it ends")
        self.owner = owner


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait for the lock of a folder and hold it."""
    with worded(directory, "locked"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with nullcontext() if _lock_folder(descriptor, directory) else _locked_inside(directory):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def owned(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, made where missing, with this process and host written to it.

    `shared`: beside others that share it, of whom the last to come stands in it. Raises LockHeldError where another
    process holds it, FileError where what stands there is no lock of ours.
    """
    with locked_file(path, wait=False, shared=shared) as file:
        with worded(path, "locked"):
            if os.fstat(file.fileno()).st_size > MAX_OWNER_BYTES:
                raise FileError(f"{path}: is no lock file; move it away")
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield


@contextmanager
def locked_file(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[BinaryIO]:
    """The file `path`, made where missing, never emptied, open for reading and writing and locked; waits for the lock.

    Not `wait`: raises LockHeldError where another process holds it; `shared`: only where one holds it alone. Raises
    FileError where a link stands there, or a file of several names, which may be anybody's.
    """
    while True:
        with os.fdopen(_open(path), "r+b") as file:
            with worded(path, "locked"):
                if not _flock(file.fileno(), path, wait=wait, shared=shared):
                    raise LockHeldError(path, _owner(file.fileno()))
            # Who held the lock before may have renamed or removed the file: then this lock is of no use.
            if same_file(file, path):
                yield file
                return


def same_file(file: BinaryIO, path: Path) -> bool:
    """Whether `path` is still the name of the open `file`."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    return False


def _open(path: Path) -> int:
    with worded(path, "locked"):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise FileError(f"{path}: is no file, or has other names elsewhere, so that it is no lock file; move it away")


def _lock_folder(descriptor: int, directory: Path) -> bool:
    """Lock an open folder; False on NFS, which locks only what is open for writing, and that a folder cannot be."""
    try:
        return _flock(descriptor, directory, wait=True)
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise file_error(directory, error, "locked") from error


def _flock(descriptor: int, path: Path, *, wait: bool, shared: bool = False) -> bool:
    """Lock an open file; False where another process holds it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _say_no_locks(path.parent)
    return True


@functools.cache
def _say_no_locks(directory: Path) -> None:
    """One line a folder."""
    LOGGER.warning("%s: this file system has no locks; let no two commands write here at once", directory)


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 100, 0).decode("ascii", "replace").strip() or "?"


@contextmanager
def _locked_inside(directory: Path) -> Iterator[None]:
    """Hold a lock file in the folder, gone afterwards; without one where the folder cannot be written."""
    path = directory / LOCK_NAME
    if not os.access(directory, os.W_OK):
        _say_no_locks(directory)
        yield
        return
    with locked_file(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
