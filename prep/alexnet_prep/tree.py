"""Every entry below a folder, links followed as torchvision follows them, none passed over."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from alexnet_prep.entries import DIRECTORY, LOOP, NOWHERE, RUBBISH_FOLDERS, SPECIAL
from alexnet_prep.errors import SourceError

FILE = "file"
Above = tuple[tuple[int, int], ...]  # (device, inode) of a folder and of those that lead to it
DEAD_LINK = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry: its path below the folder (`/` between names), its kind, and a file's length in bytes."""

    path: str
    kind: str
    size: int = 0


def walk_tree(root: Path) -> Iterator[TreeEntry]:
    """Yield every entry below `root`, those of one folder in name order and before what lies deeper.

    Names are read as UTF-8 whatever the locale is, bytes that are none as surrogates. A link is what it leads to; one
    that leads back to a folder above it, or above `root`, is not followed. Raises SourceError for a folder or entry that
    cannot be read.
    """
    waiting: list[tuple[bytes, bytes, Above]] = [(os.fsencode(root), b"", _from_root(root))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for listed in _listed(folder):
            entry, place = _entry(listed, prefix + listed.name)
            if entry is None:
                continue
            if place is None:
                yield entry
            elif place in above:
                yield TreeEntry(entry.path, LOOP)
            else:
                yield entry
                waiting.append((listed.path, prefix + listed.name + b"/", (*above, place)))


def list_folder(root: Path) -> Iterator[TreeEntry]:
    """Yield what lies in `root` itself, as `walk_tree` does."""
    for listed in _listed(os.fsencode(root)):
        entry, _ = _entry(listed, listed.name)
        if entry is not None:
            yield entry


def _from_root(root: Path) -> Above:
    """A folder and all that it lies in, by its real path and by the one it is called by."""
    try:
        found = [root.stat()]
    except OSError as error:
        raise _unreadable(root, error) from error
    for path in (*root.resolve().parents, *root.absolute().parents):
        with suppress(OSError):  # a folder that may not be looked at is followed by no link either
            found.append(path.stat())
    return tuple((each.st_dev, each.st_ino) for each in found)


def _entry(listed: os.DirEntry[bytes], path: bytes) -> tuple[TreeEntry | None, tuple[int, int] | None]:
    """What an entry of a folder is, None where it is gone by now, and a folder's (device, inode)."""
    shown = path.decode("utf-8", "surrogateescape")
    try:
        found = listed.stat()
    except OSError as error:
        if error.errno not in DEAD_LINK:
            raise _unreadable(Path(os.fsdecode(listed.path)), error) from error
        return (TreeEntry(shown, NOWHERE) if listed.is_symlink() else None), None
    if stat.S_ISDIR(found.st_mode):
        return TreeEntry(shown, DIRECTORY), (found.st_dev, found.st_ino)
    return (TreeEntry(shown, FILE, found.st_size) if stat.S_ISREG(found.st_mode) else TreeEntry(shown, SPECIAL)), None


def _listed(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        path = Path(os.fsdecode(folder))
        if path.name in RUBBISH_FOLDERS:  # lost+found is root's alone
            return []
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{path}: cannot be read ({error.strerror}); check its permissions and its disk, then start again"
    )
