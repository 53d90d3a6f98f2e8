"""The official development kit: the classes of meta.mat and the ground truth of the validation images."""

import gzip
import io
import signal
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from alexnet_prep.errors import RunError, SourceError
from alexnet_shards.processes import ChildLostError, call_apart

# Everything scipy's reader raises for a damaged MAT file, found by mutating real ones.
MAT_ERRORS = (
    MatReadError,
    ValueError,
    TypeError,
    LookupError,
    NameError,
    AttributeError,
    ArithmeticError,
    zlib.error,
    OSError,
    EOFError,
    NotImplementedError,
    MemoryError,
    SystemError,
)
MAX_MEMBER_BYTES = 64 << 20
READER_STARTS = 3
READER_SECONDS = 60  # the official files take one
READER_EXTRA_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class DevkitClass:
    """One leaf synset: its 1-based ID, WNID, words, and the number of training images the devkit promises."""

    official_id: int
    wnid: str
    words: str
    num_train_images: int


@dataclass(frozen=True, kw_only=True)
class Devkit:
    """The leaf classes in devkit order (IDs 1, 2, …) and (V,) int32 1-based IDs of validation images 1..V."""

    classes: tuple[DevkitClass, ...]
    val_ids: npt.NDArray[np.int32]


def read_devkit(path: Path, year: str) -> Devkit:
    """Read a devkit archive of `year` ("2010" or "2012").

    The classes are the synsets without children: a height of 0 is not the criterion, several leaves have more.
    Raises SourceError where the archive is missing, damaged, of another year, or its IDs are not 1, 2, … in order.
    """
    names = ("meta.mat", f"ILSVRC{year}_validation_ground_truth.txt")
    meta, truth = (_member(path, name) for name in names)
    classes = parse_meta(meta, year, f"{path}: meta.mat")
    return Devkit(classes=classes, val_ids=parse_ids(truth, len(classes), f"{path}: {names[1]}"))


def parse_meta(content: bytes, year: str, where: str) -> tuple[DevkitClass, ...]:
    """Leaf classes of a meta.mat, in ID order.

    Raises SourceError where it is not one of `year`, RunError where the process that reads it is killed time and again.
    """
    leaves, problem = _read_apart(content, year, where)
    if problem:
        raise SourceError(
            f"{where}: not the synsets of ILSVRC{year} ({problem}); expected the ILSVRC{year} devkit, fetch it again"
        )
    if [leaf.official_id for leaf in leaves] != list(range(1, len(leaves) + 1)) or not leaves:
        raise SourceError(f"{where}: the leaf classes' IDs are not 1..{len(leaves)}; expected the official devkit")
    if len({leaf.wnid for leaf in leaves}) != len(leaves):
        raise SourceError(f"{where}: a WNID stands twice among the leaf classes; expected the official devkit")
    return tuple(leaves)


def _read_apart(content: bytes, year: str, where: str) -> tuple[list[DevkitClass], str]:
    """(leaf classes in ID order, "") or ([], what is wrong), read by a process of its own.

    A damaged file can crash scipy's compiled reader: three in a thousand files with a few random bytes changed did.
    A kill from outside says nothing about the file: the reader is started again, and RunError raised where it is
    killed each time.
    """
    for _ in range(READER_STARTS):
        try:
            answer: tuple[list[DevkitClass], str] = call_apart(
                _leaves, (content, year), seconds=READER_SECONDS, extra_bytes=READER_EXTRA_BYTES
            )
        except ChildLostError as error:
            if error.signal_number is None:
                return [], f"its reader took over {READER_SECONDS} s"
            if error.signal_number != signal.SIGKILL:
                return [], "its reader crashed"
        else:
            return answer
    raise RunError(f"{where}: its reader was killed {READER_STARTS} times (out of memory?); start again")


def _leaves(content: bytes, year: str) -> tuple[list[DevkitClass], str]:
    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)["synsets"])
        leaves = [_class(row, year) for row in synsets if int(row.num_children) == 0]
    except MAT_ERRORS as error:
        return [], f"{type(error).__name__}: {_first_line(error)}"
    return sorted(leaves, key=lambda leaf: leaf.official_id), ""


def parse_ids(content: bytes, num_classes: int, where: str) -> npt.NDArray[np.int32]:
    """(N,) int32 1-based class IDs of a ground truth file, one a line; raises SourceError naming the bad line."""
    lines = content.split()
    for number, line in enumerate(lines, 1):
        if not line.isdigit() or not 1 <= int(line[:10]) <= num_classes:
            found = line[:20].decode("utf-8", "replace")
            raise SourceError(f"{where}: line {number} is {found!r}; expected a class ID 1..{num_classes}")
    if not lines:
        raise SourceError(f"{where}: holds no label; expected a class ID a line, fetch it again")
    return np.array([int(line) for line in lines], np.int32)


def read_ids(path: Path, num_classes: int) -> npt.NDArray[np.int32]:
    """Ground truth in a file of its own (the test set's); raises SourceError as `parse_ids`, and where it is missing."""
    try:
        return parse_ids(path.read_bytes(), num_classes, str(path))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); expected the official ground truth") from error


def _class(row: Any, year: str) -> DevkitClass:
    return DevkitClass(
        official_id=int(getattr(row, f"ILSVRC{year}_ID")),
        wnid=str(row.WNID),
        words=str(row.words),
        num_train_images=int(row.num_train_images),
    )


def _member(path: Path, name: str) -> bytes:
    try:
        with tarfile.open(path, "r:*") as archive:
            for info in archive:
                if info.isfile() and PurePosixPath(info.name).name == name:
                    if info.size > MAX_MEMBER_BYTES:
                        raise SourceError(f"{path}: {name} has {info.size} bytes; expected the official devkit")
                    file = archive.extractfile(info)
                    return file.read() if file is not None else b""
    except (tarfile.TarError, OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise SourceError(f"{path}: unreadable devkit ({_first_line(error)}); expected the official tar.gz") from error
    raise SourceError(f"{path}: holds no {name}; expected the official devkit of that year")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
