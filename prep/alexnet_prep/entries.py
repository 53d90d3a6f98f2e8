"""What an entry of a source is: an image, or a kind of thing that is none; and the sum over all entries."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from alexnet_pixels import begins_as_picture

DOTFILE = "dotfile"
DIRECTORY = "directory"
CLASS_TAR = "class tar"
SIDECAR = "sidecar"
RUBBISH = "file of another program"
NOWHERE = "link that leads nowhere"
LOOP = "link back to a folder above it"
SPECIAL = "device, pipe or socket"
OUTSIDE = "image in no class folder"
REPLACED = "image that a patch replaces"
NO_PATCH = "patch of no image"
LABEL = "label of an image"
FIELD = "other member beside an image"
UNLABELLED = "image without a label"
NO_IMAGE = "label of no image"
DOTTED = "image whose key has a dot"
STRANGER = "file of no split"
TRAILING = "bytes behind the end mark"

# What is an image, or was meant to be one, and is not there: a strict run fails for it.
LOST = (NOWHERE, OUTSIDE, NO_PATCH, UNLABELLED, NO_IMAGE, DOTTED, STRANGER)
# Found in any number and nothing to name.
UNNAMED = (DIRECTORY, CLASS_TAR, REPLACED, NO_PATCH, LABEL, FIELD)
MAX_NAMED = 10

# Folders that other programs leave in a set: macOS and Synology archives, recycle bins, file systems, Python.
RUBBISH_FOLDERS = (
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__pycache__",
)
# Endings of pictures, read here or not: such a file without a picture in it is dropped with its reason.
PICTURE_ENDINGS = frozenset(
    [
        *("jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "dib", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"),
        *("heic", "heif", "avif", "jp2", "j2k", "jxl", "ico", "tga", "psd", "svg"),
    ]
)
HEAD_BYTES = 32  # enough to tell a picture by


@dataclass(frozen=True, kw_only=True)
class Account:
    """The sum over a split's entries: `entries` were found, `ignored` counts those that are no images by kind.

    `named` are the first MAX_NAMED names of each kind.
    """

    entries: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __add__(self, other: "Account") -> "Account":
        counts = Counter(self.ignored) + Counter(other.ignored)
        kinds = {*self.named, *other.named}
        named = {kind: (*self.named.get(kind, ()), *other.named.get(kind, ()))[:MAX_NAMED] for kind in kinds}
        return Account(entries=self.entries + other.entries, ignored=dict(sorted(counts.items())), named=named)

    def ignored_alone(self) -> "Account":
        """The same without the images."""
        return replace(self, entries=sum(self.ignored.values()))

    def lines(self, split: str) -> list[str]:
        """A line for each name, and one for those of a kind that are not named."""
        lines = []
        for kind, count in self.ignored.items():
            names = self.named.get(kind, ())
            lines += [f"{split}: {name} {_is_a(kind)}" for name in names]
            if names and count > len(names):
                lines.append(f"{split}: {count - len(names):,} more of kind {kind!r}")
        return lines

    def lost(self) -> int:
        """Entries that stand for images which are not there."""
        return sum(count for kind, count in self.ignored.items() if kind in LOST)


class Ledger:
    """Keeps the account while entries are read: each is `found` once, and `ignore`d where it is no image."""

    def __init__(self) -> None:
        self._entries = 0
        self._ignored: Counter[str] = Counter()
        self._named: dict[str, tuple[str, ...]] = {}

    def found(self) -> None:
        """Count an entry."""
        self._entries += 1

    def ignore(self, kind: str, name: str) -> None:
        """Count an entry that was found as none of the images."""
        self._ignored[kind] += 1
        names = self._named.get(kind, ())
        if kind not in UNNAMED and len(names) < MAX_NAMED:
            self._named[kind] = (*names, name)

    def account(self) -> Account:
        """The sum so far."""
        return Account(entries=self._entries, ignored=dict(sorted(self._ignored.items())), named=dict(self._named))


def is_dotfile(path: str) -> bool:
    """Whether a path below a source is a dotfile's, or leads through a dot folder; rsync and macOS leave such behind."""
    return any(part.startswith(".") for part in path.split("/") if part not in (".", ".."))


def is_rubbish(path: str) -> bool:
    """Whether a path is, or leads through, a folder that another program left in the set."""
    return any(part in RUBBISH_FOLDERS for part in path.split("/"))


def is_picture(name: str, head: Callable[[], bytes]) -> bool:
    """Whether a file is to be an image: by its ending, else by how its content (`head`: HEAD_BYTES of it) begins."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending in PICTURE_ENDINGS:
        return True
    return begins_as_picture(head())


def _is_a(kind: str) -> str:
    if kind == TRAILING:
        return "behind the end mark are no archive, and are passed over"
    return f"is {'an' if kind[0] in 'aeiou' else 'a'} {kind}, not a member"
