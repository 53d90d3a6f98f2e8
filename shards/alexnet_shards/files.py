"""Files that are either whole or absent, whatever happens to the process that writes them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears whole, on disk, or not at all.

    The bytes go to `path` + ".tmp" in the same directory; leaving the block fsyncs and renames it, an exception
    removes it. The fixed name means that what a killed writer left is overwritten by the next one.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(content)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: a rename survives a power cut only after this."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait for the directory's lock and hold it; the system gives it back when its owner ends, however it ends."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
