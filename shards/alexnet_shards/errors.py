"""Failures a user can act on."""

import errno
import re
from pathlib import Path

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class AlexnetError(Exception):
    """A failure the user can act on: its text is one line of where, found, expected, what to do.

    The commands print it and leave with status 1; a traceback is only ever a bug of ours. Control characters of names in
    it are shown as escapes, so that it stays one line.
    """

    def __str__(self) -> str:
        return CONTROL.sub(lambda found: repr(found[0])[1:-1], super().__str__())


class PatternError(AlexnetError):
    """A shard pattern that cannot be read or that names files which are not there."""


class FormatError(AlexnetError):
    """A file of the shard directory that is damaged, of another version, or of other shards."""


class WorkerError(AlexnetError):
    """A worker process that was killed."""


class FileError(AlexnetError):
    """A file that the system does not let be written, locked or read; made by `file_error`."""


# What happened and what to do, for what a user can mend; anything else is said in the system's words.
WORDS = {
    errno.ENOSPC: ("the disk is full", "free space, then start the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "free space of yours, then start the same command again"),
    errno.EROFS: ("the file system is read-only", "name a place that can be written"),
    errno.EACCES: ("permission denied", "check the rights of it and its folders, or name another place"),
    errno.EPERM: ("not permitted", "check the owner of it and its folders, or name another place"),
    errno.EIO: ("input/output error", "check the disk or its network, then start the same command again"),
    errno.ESTALE: ("stale file handle", "its network file system was changed meanwhile; start the same command again"),
    errno.ENAMETOOLONG: ("the name is too long", "take a shorter one"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.EEXIST: ("something else stands there", "move it away, or name another place"),
    errno.ENOTDIR: ("a part of the path is no folder", "check the path"),
    errno.EISDIR: ("it is a folder", "name a file"),
    errno.ELOOP: ("a link stands there, or links lead in a circle", "remove the link, or name another place"),
    errno.EFBIG: ("the file is larger than allowed", "raise ulimit -f, or name another file system"),
    errno.EMFILE: ("too many open files", "raise ulimit -n, or take fewer workers"),
    errno.ENFILE: ("too many open files on this machine", "end other programs, then start the same command again"),
    errno.ENOMEM: ("no memory is left", "end other programs, or take fewer workers or a smaller batch"),
    errno.EAGAIN: ("the system allows no more processes or memory", "take fewer workers, or start again later"),
    errno.ENOTEMPTY: ("the folder is not empty", "choose another name, or remove what is there"),
    errno.ENOLCK: ("its file system gives no locks", "name another place"),
    **dict.fromkeys(
        (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ETIMEDOUT),
        ("no connection", "check the network, then start the same command again"),
    ),
    errno.ECONNREFUSED: ("nobody answers there", "check the address"),
}


def advice_for(error: OSError) -> str:
    """What to do about a system's answer, "" where its own words must do."""
    return WORDS.get(error.errno or 0, ("", ""))[1]


def file_error(path: Path | str, error: OSError, attempt: str = "written") -> FileError:
    """The line for an OSError at `path`, in the same words everywhere: "PATH: cannot be written (the disk is full); …"."""
    said = error.strerror or str(error) or type(error).__name__
    what, advice = WORDS.get(error.errno or 0, (said, "check it and its file system"))
    return FileError(f"{path}: cannot be {attempt} ({what}); {advice}")
