"""The home of writing: files that are whole or absent, that are nobody else's, and whose failures are one line."""

import errno
import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from alexnet_shards.errors import FileError, file_error

# What a killed writer leaves behind: NAME.RANDOM.tmp beside NAME, RANDOM being 16 hex digits.
TEMPORARY_SUFFIX = ".tmp"
RANDOM_BYTES = 8
MAX_NAME_BYTES = 255  # of all usual file systems
# What file systems answer that have no hard links (FAT, SMB, many FUSE), or not here, or no more of them.
NO_LINK = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EINVAL}
# What file systems answer that cannot make a directory durable (CIFS, FUSE), or not for this user.
NO_FSYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}


@contextmanager
def atomic_file(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears whole, on disk, or not at all; a link that stands there is replaced.

    The bytes go to a file of a random name beside it; leaving the block fsyncs and renames that, an exception removes
    it, and the next writer of `path` removes what a killed one left. `private`: for its owner only, whatever the umask.
    Raises FileError where something that is no file stands at `path`, or the system refuses.
    """
    _refuse_special(path)
    _remove_leftovers(path)
    temporary, output = _create(path, private)
    try:
        with io.BufferedWriter(output) as file:
            yield file
            with worded(path):
                file.flush()
                os.fsync(output.descriptor)
                temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if output.failure is not None:  # whatever the block made of it: torch, for one, words it in its own way
            raise file_error(path, output.failure) from error
        raise
    sync_directory(path.parent)


def write_atomic(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write `content` to `path` as `atomic_file` does."""
    with atomic_file(path, private=private) as file:
        file.write(content)


def append_bytes(path: Path, content: bytes) -> None:
    """Append `content` to the file `path`, made where missing; it is with the operating system when this returns.

    Raises FileError where a link or something that is no file stands there, or the system refuses.
    """
    _refuse_special(path)
    with worded(path):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with io.FileIO(os.open(path, flags, 0o666), "a") as file:
            while content:
                content = content[file.write(content) :]


def write_at(path: Path, pieces: Sequence[tuple[int, bytes]]) -> None:
    """Write each (offset, content) into the file `path`, which is there; all of them are on disk when this returns.

    Raises FileError where a link or something that is no file stands there, or the system refuses.
    """
    _refuse_special(path)
    with worded(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for offset, content in pieces:
                written = 0
                while written < len(content):
                    written += os.pwrite(descriptor, content[written:], offset + written)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: Path, name: Path) -> None:
    """Make `name` another name of the file `source`, whole or not at all; a copy where there are no hard links.

    It outlives the removal of `source`.
    """
    _refuse_special(name)
    temporary = _temporary(name)
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise file_error(name, error) from error
        with atomic_file(name) as copy, source.open("rb") as original:
            shutil.copyfileobj(original, copy, 1 << 20)
        return
    try:
        replace_file(temporary, name)
    finally:  # renaming one name of a file to another of the same does nothing, by POSIX
        temporary.unlink(missing_ok=True)


def replace_file(source: Path, target: Path) -> None:
    """Rename a file or folder, over a file that stands at `target`, so that it survives a power cut."""
    with worded(target):
        source.replace(target)
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: a rename survives a power cut only after this.

    Some network file systems have no such thing (CIFS answers EINVAL): there it is left to them.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise file_error(directory, error) from error


def output_path(out: Path, inputs: Sequence[Path] = ()) -> Path:
    """Where a file that the user named is to be written: a link is followed to what it points to.

    Raises FileError where a device, a pipe or a folder stands there, or it is one of the `inputs`.
    """
    _refuse_special(out, follow_links=True)
    refuse_same_file(out, inputs)
    return Path(os.path.realpath(out)) if out.is_symlink() else out


def refuse_same_file(out: Path, inputs: Sequence[Path]) -> None:
    """Raise FileError where `out` is one of the files `inputs` by whatever name: writing would destroy it."""
    for path in inputs:
        with suppress(OSError):  # a file that is not there is not the same
            if out.samefile(path):
                raise FileError(f"{out}: is the input {path} and would be overwritten; name another file")


def own_directory(path: Path, *, private: bool = False) -> Path:
    """Have a folder of our own at `path`, made where missing; returns `path`.

    `private`: of this user, 0700, whatever the umask. Raises FileError where a link stands there, for what we write or
    remove below it would be somewhere else, or something that is no folder, or, private, a folder of somebody else.
    """
    with worded(path, "made"):
        _make_directories(path, 0o700 if private else 0o777)
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise FileError(f"{path}: is a link to {path.readlink()}; expected a folder, remove the link")
        if not stat.S_ISDIR(found.st_mode):
            raise FileError(f"{path}: is no folder; move it away")
        if private and found.st_uid == os.geteuid() and found.st_mode & 0o077:
            path.chmod(0o700)
            found = path.lstat()
    if private and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
        raise FileError(f"{path}: others may write there; expected a folder of this user alone")
    return path


@contextmanager
def worded(path: Path | str, attempt: str = "written") -> Iterator[None]:
    """Have an OSError of the block leave it as the FileError of `path`."""
    try:
        yield
    except OSError as error:
        raise file_error(path, error, attempt) from error


class _Output(io.FileIO):
    """The temporary file; keeps the first failure of a write, which who calls write may lose."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w")
        self.descriptor = descriptor
        self.failure: OSError | None = None

    def write(self, content: Any) -> int:
        """As a file's."""
        try:
            return super().write(content)
        except OSError as error:
            self.failure = self.failure or error
            raise

    def fileno(self) -> int:
        """None for others: numpy would write past this object, and its error says no reason."""
        raise io.UnsupportedOperation("written by `write` alone")


def _create(path: Path, private: bool) -> tuple[Path, _Output]:
    """A new temporary of `path`, locked as long as it is open: that says that its writer lives."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        temporary = _temporary(path)
        with worded(path):
            output = _Output(os.open(temporary, flags, 0o600 if private else 0o666))
            with suppress(OSError):
                fcntl.flock(output.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(PermissionError):  # file systems without modes
                if private:
                    os.fchmod(output.descriptor, 0o600)
        if temporary.exists():  # or another writer took it for a dead one's before it was locked
            return temporary, output
        output.close()


def _temporary(path: Path) -> Path:
    random = secrets.token_hex(RANDOM_BYTES)
    return path.with_name(f"{_stem(path)}.{random}{TEMPORARY_SUFFIX}")


def _stem(path: Path) -> str:
    """The name, cut so far that its temporary's name is no longer than names may be."""
    room = MAX_NAME_BYTES - 2 * RANDOM_BYTES - len(TEMPORARY_SUFFIX) - 1
    name = os.fsencode(path.name)
    return path.name if len(name) <= room else name[:room].decode("utf-8", "ignore")


def _remove_leftovers(path: Path) -> None:
    """Remove temporaries of `path` whose writers are dead, which is where their locks are free."""
    ours = re.compile(re.escape(f"{_stem(path)}.") + f"[0-9a-f]{{{2 * RANDOM_BYTES}}}" + re.escape(TEMPORARY_SUFFIX))
    with suppress(OSError):
        for left in [file for file in path.parent.iterdir() if ours.fullmatch(file.name)]:
            with suppress(OSError):  # its writer lives, or it is none of ours
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with io.FileIO(os.open(left, flags), "r+") as file:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()


def _refuse_special(path: Path, *, follow_links: bool = False) -> None:
    """Raise FileError where a device, a pipe, a socket or a folder stands at `path`."""
    with worded(path), suppress(FileNotFoundError):
        found = path.stat(follow_symlinks=follow_links)
        if stat.S_ISDIR(found.st_mode):
            raise FileError(f"{path}: is a folder; name a file")
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            raise FileError(f"{path}: is a device, a pipe or a socket; name a file")


def _make_directories(path: Path, mode: int) -> None:
    """Make `path` and what is missing above it, all of that mode (under the umask)."""
    try:
        path.mkdir(mode)
    except FileNotFoundError:
        _make_directories(path.parent, mode)
        path.mkdir(mode, exist_ok=True)
    except FileExistsError:
        pass


def file_sha256(path: Path) -> str:
    """64 hex digits of a file's content; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
