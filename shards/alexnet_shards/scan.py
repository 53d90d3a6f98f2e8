"""Shards made elsewhere: their index rows and facts, from one pass over each tar."""

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_shards.errors import FormatError
from alexnet_shards.index import INDEX_DTYPE, NO_LABEL, IndexRows
from alexnet_shards.manifest import LABEL_SUFFIX, ShardFact
from alexnet_shards.processes import worker_pool
from alexnet_shards.tar import TarMember, walk_tar

# A sample is the members of one directory whose names agree up to the first dot, as the webdataset package has it.
MEMBER_NAME = re.compile(r"(?P<key>(?:.*/|)[^.]+)(?P<suffix>\.[^/]*)", re.DOTALL)
JPEG_SUFFIXES = (".jpg", ".jpeg")
OTHER_IMAGE_SUFFIXES = (".png", ".webp", ".ppm", ".gif", ".bmp", ".npy")
PIECE_BYTES = 1 << 20
MAX_LABEL_BYTES = 32
LARGEST_LABEL = 2**31 - 1

Progress = Callable[[ShardFact], None]


@dataclass(frozen=True, kw_only=True)
class ShardScan:
    """One scanned shard: its facts, its (N,) rows of INDEX_DTYPE in the order of the tar, and the N keys."""

    fact: ShardFact
    rows: IndexRows
    keys: tuple[str, ...]


def scan_shard(path: Path, number: int = 0) -> ShardScan:
    """Read the tar at `path` once; its rows carry shard `number`, and NO_LABEL where a JPEG has no .cls.

    Members that belong to no sample are passed over. Raises FormatError, naming the shard and the byte, for a damaged
    or truncated tar, a key that comes twice, a label without image or that is no number, and a tar without samples.
    """
    size = path.stat().st_size
    if size == 0:
        raise FormatError(f"{path}: an empty file; expected a tar of KEY.jpg and KEY.cls, fetch or make it again")
    with path.open("rb") as file:
        descriptor = file.fileno()
        digest, samples = _Digest(descriptor), _Samples(path, descriptor)
        for member in walk_tar(lambda offset, count: os.pread(descriptor, count, offset), 0, size, str(path)):
            digest.advance(member.offset + member.size)
            if member.is_file:
                samples.add(member)
        sha256 = digest.finish(size)
    rows, keys = samples.finish(number)
    return ShardScan(fact=ShardFact(name=path.name, samples=len(rows), bytes=size, sha256=sha256), rows=rows, keys=keys)


def scan_shards(
    paths: Sequence[Path], workers: int = 1, progress: Progress | None = None
) -> tuple[IndexRows, tuple[ShardFact, ...]]:
    """Scan `paths` with `workers` processes: (rows, facts), the shards numbered and the rows ordered as `paths` is.

    `progress(fact)` comes once a shard, in the order of `paths`. The result does not depend on `workers`. Raises
    FormatError as `scan_shard` does, for the first bad shard in the order of `paths`, and WorkerError where a worker is
    killed.
    """
    if workers <= 1 or len(paths) <= 1:
        return _join(map(scan_shard, paths, range(len(paths))), progress)
    with worker_pool(workers, len(paths), str(paths[0].parent)) as pool:
        return _join(pool.map(scan_shard, paths, range(len(paths))), progress)


def _join(scans: Iterable[ShardScan], progress: Progress | None) -> tuple[IndexRows, tuple[ShardFact, ...]]:
    rows, facts = [np.empty(0, INDEX_DTYPE)], []
    for scan in scans:
        rows.append(scan.rows)
        facts.append(scan.fact)
        if progress is not None:
            progress(scan.fact)
    return np.concatenate(rows), tuple(facts)


class _Digest:
    """sha256 of a file, taken piece by piece while its headers are walked, so that a disk is read once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._hash, self._done = descriptor, hashlib.sha256(), 0

    def advance(self, end: int) -> None:
        """Take in the bytes up to `end`."""
        while self._done < end:
            piece = os.pread(self._descriptor, min(end - self._done, PIECE_BYTES), self._done)
            if not piece:
                raise FormatError(f"the file ends at byte {self._done}, it had {end}: it shrinks while it is read")
            self._hash.update(piece)
            self._done += len(piece)

    def finish(self, size: int) -> str:
        """64 hex digits of the whole file."""
        self.advance(size)
        return self._hash.hexdigest()


class _Samples:
    """Pairs the members of one shard to samples."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self._jpegs: dict[str, tuple[int, int, int]] = {}
        self._labels: dict[str, int] = {}
        self._other: str = ""

    def add(self, member: TarMember) -> None:
        """Take `member` into account; raises FormatError where it cannot belong to a sample."""
        match = MEMBER_NAME.fullmatch(member.name)
        if match is None:
            return
        key, suffix = match["key"], match["suffix"].lower()
        where = f"{self._path}: byte {member.offset}: {member.name}"
        if suffix in JPEG_SUFFIXES:
            if key in self._jpegs:
                raise FormatError(
                    f"{where}: a second image of key {key}; every key may come once, make the shard again"
                )
            self._jpegs[key] = (member.offset, member.size, zlib.crc32(self._read(member)))
        elif suffix == LABEL_SUFFIX:
            if key in self._labels:
                raise FormatError(
                    f"{where}: a second label of key {key}; every key may come once, make the shard again"
                )
            self._labels[key] = _parse_label(self._read(member), where)
        elif suffix in OTHER_IMAGE_SUFFIXES:
            self._other = self._other or member.name

    def finish(self, number: int) -> tuple[IndexRows, tuple[str, ...]]:
        """((N,) rows that carry shard `number`, N keys), in the order of the tar."""
        if not self._jpegs:
            found = f"its images are like {self._other}" if self._other else "it has none"
            raise FormatError(f"{self._path}: no KEY.jpg in this tar, {found}; expected JPEG samples, make it again")
        lost = next((key for key in self._labels if key not in self._jpegs), None)
        if lost is not None:
            raise FormatError(f"{self._path}: {lost}{LABEL_SUFFIX} has no {lost}.jpg beside it; make the shard again")
        rows = [
            (number, offset, size, self._labels.get(key, NO_LABEL), crc32)
            for key, (offset, size, crc32) in self._jpegs.items()
        ]
        return np.array(rows, INDEX_DTYPE), tuple(self._jpegs)

    def _read(self, member: TarMember) -> bytes:
        return os.pread(self._descriptor, member.size, member.offset)


def _parse_label(text: bytes, where: str) -> int:
    digits = text.strip()
    if len(text) > MAX_LABEL_BYTES or not digits.isdigit() or int(digits) > LARGEST_LABEL:
        shown = text[:MAX_LABEL_BYTES].decode("ascii", "backslashreplace")
        raise FormatError(f"{where}: the label is {shown!r}; expected a 0-based class number, make the shard again")
    return int(digits)
