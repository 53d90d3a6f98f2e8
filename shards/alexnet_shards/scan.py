"""Shards made elsewhere: their index rows and facts, from one pass over each tar."""

import hashlib
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from alexnet_shards.errors import FormatError
from alexnet_shards.index import INDEX_DTYPE, NO_LABEL, IndexRows
from alexnet_shards.labels import CLS, LabelNumbers
from alexnet_shards.manifest import LABEL_SUFFIX, ShardFact
from alexnet_shards.pool import Workers, worker_pool
from alexnet_shards.sets import Fetch, here
from alexnet_shards.tar import TRAILING, TarMember, read_member, walk_tar
from alexnet_shards.tarsparse import ReadAt

JPEG_SUFFIXES = (".jpg", ".jpeg")
OTHER_IMAGE_SUFFIXES = (".png", ".webp", ".ppm", ".gif", ".bmp", ".npy")
PIECE_BYTES = 1 << 20
MAX_IMAGE_BYTES = 512 << 20
# Without a class list the largest label makes one, so it must be below this or the number of samples.
LABELS_OF_ANY_SET = 32_768
MAX_KINDS = 24

DOTTED = "image or label whose key has a dot (webdataset ends a key at the first dot of the file name)"
TOO_LARGE = f"image of over {MAX_IMAGE_BYTES >> 20} MiB"
WITH_HOLES = "image with holes (make the tar again without --sparse)"
REPEATED = "member that comes twice"

OnShard = Callable[[ShardFact], None]
PassedOver = dict[str, tuple[int, str]]  # {kind: (count, name of the first)}


@dataclass(frozen=True, kw_only=True)
class ShardScan:
    """One scanned shard: its facts, its (N,) rows of INDEX_DTYPE in the order of the tar, the N keys, and what of the
    tar belongs to no sample."""

    fact: ShardFact
    rows: IndexRows
    keys: tuple[str, ...]
    passed_over: PassedOver


@dataclass(frozen=True, kw_only=True, eq=False)
class Scanned:
    """Scanned shards: rows and facts in the order of the paths, what belongs to no sample, and shards left out, by
    path with the reason."""

    rows: IndexRows
    facts: tuple[ShardFact, ...]
    passed_over: PassedOver
    left_out: dict[Path, str]


def scan_shard(path: Path, number: int = 0, labels: LabelNumbers = CLS) -> ShardScan:
    """Read the tar at `path` once; its rows carry shard `number`, and NO_LABEL where a JPEG has no label (no .cls).

    A sample is the members of one directory whose names agree up to the first dot, as the webdataset package has it;
    what belongs to no sample is passed over and counted by kind. Raises FormatError, naming the shard and the byte, for
    a damaged or truncated tar, a key that comes twice, a label without image or that is no number, and a tar without
    samples.
    """
    try:
        with path.open("rb") as file:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            if size == 0:
                raise FormatError(
                    f"{path}: an empty file; expected a tar of KEY.jpg and KEY.cls, fetch or make it again"
                )

            def read_at(offset: int, count: int) -> bytes:
                return os.pread(descriptor, count, offset)

            digest, samples = _Digest(descriptor, path), _Samples(path, read_at, labels)
            for member in walk_tar(read_at, 0, size, str(path)):
                samples.add(member)
                digest.advance(member.offset)
            sha256 = digest.finish(size)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    rows, keys = samples.finish(number)
    fact = ShardFact(name=path.name, samples=len(rows), bytes=size, sha256=sha256)
    return ShardScan(fact=fact, rows=rows, keys=keys, passed_over=samples.passed_over)


def scan_shards(
    paths: Sequence[Path],
    workers: Workers = 1,
    progress: OnShard | None = None,
    optional: Collection[Path] = (),
    labels: LabelNumbers = CLS,
    fetch: Fetch = here,
) -> Scanned:
    """Scan `paths` with `workers` processes, the shards numbered and the rows ordered as `paths` is.

    `progress(fact)` comes once a shard, in the order of `paths`. The result does not depend on `workers`. Shards of
    `optional` that cannot be read are left out. Raises FormatError as `scan_shard` does, for the first other bad shard
    in the order of `paths`, and WorkerError where a worker is killed. `fetch` brings each to where it can be read.
    """
    may_fail = [path in optional for path in paths]
    if workers == 1 or len(paths) <= 1:
        return _join(paths, map(partial(_scan_or_reason, labels, fetch), paths, may_fail), progress)
    with worker_pool(workers, len(paths), str(paths[0].parent)) as pool:
        return _join(paths, pool.map(partial(_scan_or_reason, labels, fetch), paths, may_fail), progress)


def _scan_or_reason(labels: LabelNumbers, fetch: Fetch, path: Path, may_fail: bool) -> ShardScan | str:
    with fetch(path) as local:
        try:
            return scan_shard(local, labels=labels)
        except FormatError as error:
            if not may_fail:
                raise FormatError(str(error).replace(str(local), str(path))) from error
            return str(error)


def _join(paths: Sequence[Path], scans: Iterable[ShardScan | str], progress: OnShard | None) -> Scanned:
    rows, facts, passed_over, left_out = [np.empty(0, INDEX_DTYPE)], list[ShardFact](), PassedOver(), dict[Path, str]()
    for path, scan in zip(paths, scans, strict=True):
        if isinstance(scan, str):
            left_out[path] = scan
            continue
        scan.rows["shard"] = len(facts)
        rows.append(scan.rows)
        facts.append(scan.fact)
        for kind, (count, name) in scan.passed_over.items():
            _count(passed_over, kind, f"{path.name}: {name}", count)
        if progress is not None:
            progress(scan.fact)
    return Scanned(rows=np.concatenate(rows), facts=tuple(facts), passed_over=passed_over, left_out=left_out)


def check_labelled(paths: Sequence[Path], scanned: Scanned, labels: LabelNumbers) -> None:
    """Raise FormatError, naming shard and key of the first, where samples have no label."""
    without = np.flatnonzero(scanned.rows["label"] == NO_LABEL)
    if len(without):
        row = scanned.rows[without[0]]
        name = scanned.facts[int(row["shard"])].name
        path = next(path for path in paths if path.name == name)
        others = ", ".join(
            kind for kind in scanned.passed_over if kind in (".cls member", ".json member", ".txt member")
        )
        raise FormatError(
            f"{path}: {member_at(str(path), int(row['offset']))}: no label in {labels.place} ({len(without):,} of "
            f"{len(scanned.rows):,} samples have none{f'; there are {others}s' if others else ''}); say where labels stand "
            "with --label cls, txt or json:FIELD, or go on without by --no-labels"
        )


def check_labels(paths: Sequence[Path], scanned: Scanned, num_classes: int | None) -> None:
    """Raise FormatError, naming shard and key, for a label beyond `num_classes`, or, where that is None, beyond sense."""
    labels = scanned.rows["label"]
    bound = max(len(labels), LABELS_OF_ANY_SET) if num_classes is None else num_classes
    beyond = np.flatnonzero(labels >= bound)
    if len(beyond):
        row = scanned.rows[beyond[0]]
        name = scanned.facts[int(row["shard"])].name
        path = next(path for path in paths if path.name == name)
        if num_classes is None:
            words = f"expected below {bound:,} where no class list is given; correct the label, or give --classes"
        else:
            words = f"the list has {bound:,} classes, 0 to {bound - 1:,}; give the shards' own class list"
        raise FormatError(f"{path}: {member_at(str(path), int(row['offset']))}: the label is {row['label']}; {words}")


def member_at(path: str, offset: int) -> str:
    """Name of the member whose data starts at `offset`, without its suffix, or where it is if the tar is damaged."""
    try:
        with Path(path).open("rb") as file:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            for member in walk_tar(lambda start, count: os.pread(descriptor, count, start), 0, size, path):
                if member.offset == offset and member.is_file:
                    return member.name.rpartition(".")[0]
    except (FormatError, OSError):
        pass
    return f"byte {offset}"


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """A member's key and lower-case suffix, split at the first dot of its file name; None where it has no two."""
    directory, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (directory + slash + stem, dot + suffix.lower()) if stem and dot else None


def _count(passed_over: PassedOver, kind: str, name: str, count: int = 1) -> None:
    kind = kind if kind in passed_over or len(passed_over) < MAX_KINDS else "others"
    before, first = passed_over.get(kind, (0, name))
    passed_over[kind] = (before + count, first)


class _Digest:
    """sha256 of a file, taken piece by piece while its headers are walked, so that a disk is read once."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor, self._path, self._hash, self._done = descriptor, path, hashlib.sha256(), 0

    def advance(self, end: int) -> None:
        """Take in the bytes up to `end`."""
        while self._done < end:
            piece = os.pread(self._descriptor, min(end - self._done, PIECE_BYTES), self._done)
            if not piece:
                raise FormatError(f"{self._path}: ends at byte {self._done}, it had {end}: it shrinks while it is read")
            self._hash.update(piece)
            self._done += len(piece)

    def finish(self, size: int) -> str:
        """64 hex digits of the whole file."""
        self.advance(size)
        return self._hash.hexdigest()


class _Samples:
    """Pairs the members of one shard to samples, and counts what belongs to none."""

    def __init__(self, path: Path, read_at: ReadAt, numbers: LabelNumbers) -> None:
        self._path, self._read_at, self._numbers = path, read_at, numbers
        self._jpegs: dict[str, tuple[int, int, int]] = {}
        self._labels: dict[str, int | None] = {}
        self._unusable: set[str] = set()
        self._other: str = ""
        self.passed_over: PassedOver = {}

    def add(self, member: TarMember) -> None:
        """Take `member` into account; raises FormatError where it cannot belong to a sample."""
        parts = key_and_suffix(member.name)
        if not member.is_file:
            name = f"{member.size:,} bytes" if member.kind == TRAILING else member.name
            _count(self.passed_over, member.kind, f"{name} -> {member.link}" if member.link else name)
            if parts is not None:
                self._unusable.add(parts[0])
        elif parts is None:
            _count(self.passed_over, "dotfile or name without extension", member.name)
        elif parts[1] in JPEG_SUFFIXES:
            self._add_image(parts[0], member)
        elif parts[1] == self._numbers.place.suffix:
            self._add_label(parts[0], member)
        else:
            dotted = parts[1].endswith((*JPEG_SUFFIXES, LABEL_SUFFIX))
            _count(self.passed_over, DOTTED if dotted else f"{parts[1][:20]} member", member.name)
            if dotted:
                self._unusable.add(parts[0])
            elif parts[1].endswith(OTHER_IMAGE_SUFFIXES):
                self._other = self._other or member.name

    def finish(self, number: int) -> tuple[IndexRows, tuple[str, ...]]:
        """((N,) rows that carry shard `number`, N keys), in the order of the tar."""
        if not self._jpegs:
            found = f"its images are like {self._other}" if self._other else "it has none"
            if self.passed_over and not self._other:
                found = "; ".join(f"{count} {kind}, as {name}" for kind, (count, name) in self.passed_over.items())[
                    :300
                ]
            raise FormatError(f"{self._path}: no KEY.jpg in this tar, {found}; expected JPEG samples, make it again")
        lost = next((key for key in self._labels if key not in self._jpegs and key not in self._unusable), None)
        if lost is not None:
            raise FormatError(
                f"{self._path}: {lost}{self._numbers.place.suffix} has no {lost}.jpg beside it; make the shard again"
            )
        rows = [
            (number, offset, size, self._label_of(key), crc32) for key, (offset, size, crc32) in self._jpegs.items()
        ]
        return np.array(rows, INDEX_DTYPE), tuple(self._jpegs)

    def _add_image(self, key: str, member: TarMember) -> None:
        # Of a file with holes the first piece is enough where only zeros follow: they come after the JPEG's end.
        offset, size = member.offset, member.size
        if member.extents:
            offset, size = member.extents[0][1:]
        if member.size > MAX_IMAGE_BYTES or len(member.extents) > 1 or (member.extents and member.extents[0][0]):
            _count(self.passed_over, TOO_LARGE if member.size > MAX_IMAGE_BYTES else WITH_HOLES, member.name)
            self._unusable.add(key)
        elif key not in self._jpegs:
            self._jpegs[key] = (offset, size, self._crc32(offset, size))
        elif self._jpegs[key][:2] == (offset, size):
            _count(self.passed_over, REPEATED, member.name)
        else:
            raise FormatError(
                f"{self._where(member)}: a second image of key {key}; every key may come once, make the shard again"
            )

    def _add_label(self, key: str, member: TarMember) -> None:
        label = self._read_label(member)
        if key in self._labels and not (member.link and self._labels[key] == label):
            raise FormatError(
                f"{self._where(member)}: a second label of key {key}; every key may come once, make the shard again"
            )
        self._labels[key] = label

    def _read_label(self, member: TarMember) -> int | None:
        if member.size > self._numbers.max_bytes:
            raise FormatError(
                f"{self._where(member)}: the label is of {member.size:,} bytes; expected a 0-based class number, make the "
                "shard again"
            )
        return self._numbers.read(read_member(self._read_at, member), self._where(member))

    def _label_of(self, key: str) -> int:
        label = self._labels.get(key)
        return NO_LABEL if label is None else label

    def _where(self, member: TarMember) -> str:
        return f"{self._path}: byte {member.offset}: {member.name}"

    def _crc32(self, offset: int, size: int) -> int:
        crc32, end = 0, offset + size
        while offset < end:
            piece = self._read_at(offset, min(end - offset, PIECE_BYTES))
            if not piece:
                raise FormatError(f"{self._path}: ends at byte {offset}, it had {end}: it shrinks while it is read")
            crc32, offset = zlib.crc32(piece, crc32), offset + len(piece)
        return crc32
