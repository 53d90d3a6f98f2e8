"""Official-looking tar archives, streamed: fixed owner and time, padded to tar's record of 10,240 bytes."""

import tarfile
from typing import Protocol

BLOCK_BYTES = 512
RECORD_BYTES = 10240
MTIME = 1_268_000_000  # March 2010


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, content: bytes, /) -> int:
        """Write all of `content`."""
        ...


def directory_header(name: str) -> bytes:
    """The header of a directory entry."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, MTIME
    return info.tobuf(tarfile.GNU_FORMAT)


def file_header(name: str, size: int) -> bytes:
    """The header of a regular file of `size` bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, MTIME
    return info.tobuf(tarfile.GNU_FORMAT)


def write_member(file: Sink, name: str, content: bytes) -> int:
    """Write a member with its header and padding; the number of bytes written."""
    member = file_header(name, len(content)) + content + bytes(-len(content) % BLOCK_BYTES)
    file.write(member)
    return len(member)


def end_tar(file: Sink, size: int) -> int:
    """Write the end mark and padding after `size` bytes of members; the size of the whole tar."""
    end = bytes(2 * BLOCK_BYTES + -(size + 2 * BLOCK_BYTES) % RECORD_BYTES)
    file.write(end)
    return size + len(end)
