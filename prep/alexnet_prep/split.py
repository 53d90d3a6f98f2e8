"""One split of a source: every image's place, key and label, in an order that depends on nothing but the names."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_prep.archive import Members, Names, Sparse
from alexnet_prep.entries import Account
from alexnet_prep.keys import check_distinct, stems
from alexnet_shards.files import atomic_file
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact

Labels = npt.NDArray[np.int32]
ARRAYS = ("names", "keys", "locations", "labels", "patched")


@dataclass(frozen=True, kw_only=True)
class SplitSource:
    """The N images of a split, sorted by key.

    `names` (N,) are file names, `keys` (N,) the samples' keys, `locations` (N,) LOCATION_DTYPE into `containers`,
    `labels` (N,) int32 0-based or NO_LABEL, `patched` (N,) bool. `expected_counts` is the devkit's number of images a
    class where it states one. `notes` are lines for the report: what is missing, surplus or ignored. `account` is the sum
    over all entries of the source, `missing` the number of images that it should hold and does not, and `sparse` where
    images lie that an archive stores with holes. `image_column` is where the images of parquet files lie, "" for other
    containers; there `offset` is an image's row in its file and `size` about its length.
    """

    split: str
    edition: str
    label_order: str
    classes: tuple[ClassFact, ...]
    containers: tuple[Path, ...]
    names: Names
    keys: Names
    locations: npt.NDArray[np.void]
    labels: Labels
    patched: npt.NDArray[np.bool_]
    expected_counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    account: Account = field(default_factory=Account)
    missing: int = 0
    sparse: Sparse = field(default_factory=dict)
    image_column: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def key(self, row: int) -> str:
        """The key of image `row`."""
        return bytes(self.keys[row]).decode("utf-8", "surrogateescape")

    def identity(self) -> str:
        """64 hex digits that change when an image, its place, its label or the class list changes."""
        digest = hashlib.sha256(json.dumps([asdict(fact) for fact in self.classes]).encode())
        for array in (self.keys, self.locations, self.labels, self.patched):
            digest.update(np.ascontiguousarray(array).tobytes())
        if self.sparse:
            digest.update(json.dumps(_sparse_rows(self.sparse)).encode())
        return digest.hexdigest()

    def count_differences(self) -> list["CountDifference"]:
        """Classes whose number of images is not the devkit's."""
        if not self.expected_counts:
            return []
        found = np.bincount(self.labels, minlength=len(self.classes))
        return [
            CountDifference(wnid=fact.wnid, found=int(count), expected=expected)
            for fact, count, expected in zip(self.classes, found, self.expected_counts, strict=True)
            if count != expected
        ]


@dataclass(frozen=True, kw_only=True)
class CountDifference:
    """A class with another number of images than the devkit's."""

    wnid: str
    found: int
    expected: int


def sort_members(
    members: Members, labels: Labels, keys: Names | None = None, where: str = ""
) -> tuple[Members, Labels, Names]:
    """Members, labels and keys sorted by key; raises SourceError where a key stands twice, naming both files in `where`.

    The key is the file name's stem unless given: the stem of `n01440764_10026.JPEG` is `n01440764_10026`.
    """
    keys = stems(members.names) if keys is None else keys
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    ordered = replace(members, names=members.names[order], locations=members.locations[order])

    def shown(row: int) -> str:
        group = int(ordered.locations["group"][row])
        folder = f"{members.groups[group]}/" if 0 <= group < len(members.groups) else ""
        return f"{where}/{folder}".lstrip("/") + bytes(ordered.names[row]).decode("utf-8", "surrogateescape")

    check_distinct(keys, shown)
    return ordered, labels[order], keys


def relabel(official: Labels, classes: Sequence[ClassFact], label_order: str) -> tuple[Labels, tuple[ClassFact, ...]]:
    """0-based labels and class list in `label_order` ("devkit" or "wnid") from 0-based labels in devkit order."""
    if label_order == "devkit":
        return official, tuple(classes)
    order = sorted(range(len(classes)), key=lambda number: classes[number].wnid)
    rank = np.empty(len(classes), np.int32)
    rank[order] = np.arange(len(classes), dtype=np.int32)
    labels = np.where(official == NO_LABEL, np.int32(NO_LABEL), rank[official])
    return labels.astype(np.int32), tuple(classes[number] for number in order)


def apply_patches(members: Members, patches: Members) -> tuple[Members, npt.NDArray[np.bool_], list[str]]:
    """Members whose bytes come from `patches` where a patch has their name, (N,) bool of those, and unused patches."""
    place = {bytes(name): number for number, name in enumerate(members.names)}
    locations = members.locations.copy()
    patched = np.zeros(len(members.names), np.bool_)
    unused = []
    for name, location in zip(patches.names, patches.locations, strict=True):
        row = place.get(bytes(name))
        if row is None:
            unused.append(bytes(name).decode("utf-8", "surrogateescape"))
            continue
        for column in ("container", "offset", "size"):
            locations[column][row] = location[column]
        patched[row] = True
    return replace(members, locations=locations, sparse={**members.sparse, **patches.sparse}), patched, unused


def save_split(path: Path, source: SplitSource, key: str) -> None:
    """Keep `source` at `path` as .npz under the cache `key`, for `load_split`."""
    facts = {
        "key": key,
        "split": source.split,
        "edition": source.edition,
        "label_order": source.label_order,
        "classes": [asdict(fact) for fact in source.classes],
        "containers": [str(container) for container in source.containers],
        "expected_counts": source.expected_counts,
        "notes": source.notes,
        "account": asdict(source.account),
        "missing": source.missing,
        "sparse": _sparse_rows(source.sparse),
        "image_column": source.image_column,
    }
    arrays: dict[str, Any] = {name: getattr(source, name) for name in ARRAYS}
    with atomic_file(path) as file:
        np.savez(file, facts=np.asarray(json.dumps(facts)), **arrays)


def load_split(path: Path, key: str) -> SplitSource | None:
    """The split kept at `path`, None where there is none of that `key` (it is made again from the archives then)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            if facts.pop("key") != key:
                return None
            arrays = {name: archive[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # damaged, or of an earlier release
    facts["classes"] = tuple(ClassFact(**fact) for fact in facts["classes"])
    facts["containers"] = tuple(Path(name) for name in facts["containers"])
    facts["expected_counts"], facts["notes"] = tuple(facts["expected_counts"]), tuple(facts["notes"])
    account = facts["account"]
    account["named"] = {kind: tuple(names) for kind, names in account["named"].items()}
    facts["account"] = Account(**account)
    rows = facts["sparse"]
    facts["sparse"] = {(container, offset): tuple(map(tuple, pieces)) for container, offset, pieces in rows}
    return SplitSource(**facts, **arrays)


def _sparse_rows(sparse: Sparse) -> list[tuple[int, int, Any]]:
    return [(*place, pieces) for place, pieces in sorted(sparse.items())]
